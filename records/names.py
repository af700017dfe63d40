"""Names that several files of a run share. Imports nothing."""

from __future__ import annotations

UNTRAINED = -1
"""Epoch of the baseline: the network before its first step."""
NETWORK = "network"
"""Layer name of the rows in which an irrep is taken out of all layers at once."""
FINISHED = "finished"
"""Status of a run that was trained to its end."""
