"""Names that several files of a run share. Imports nothing."""

from __future__ import annotations

UNTRAINED = -1
"""Epoch of the baseline: the network before its first optimizer step."""
UNTRAINED_ERROR = "pretraining/untrained_error"
PRETRAINED_ERROR = "pretraining/error"
"""Results: mean squared error of the noise predicted in positions, before and after pretraining by
denoising, relative to that of predicting none."""
PRETRAINING_SECONDS = "pretraining/seconds"
NETWORK = "network"
"""Layer name of the rows in which an irrep is taken out of all layers at once."""

OPERATIONS = "cost/operations"
MEMORY = "cost/memory"
EXTENDED_TO = "extended_to"
"""In the summary of a run that was trained on after its end: the epochs that it then had."""
"""Result: multiply-adds per molecule of one prediction."""

RUNNING = "running"
"""Status of a run that is being trained, or whose process was killed."""
FINISHED = "finished"
"""Status of a run that was trained to its end."""
FAILED = "failed"
"""Status of a run that ended with an error."""
PREEMPTED = "preempted"
"""Status of a run that SIGTERM or Ctrl-C stopped; the same command continues it."""
STOPPED = "stopped"
"""Status of a run that W&B's server stopped."""
