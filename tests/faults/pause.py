"""Stop `train.py` at an exact point, as a debugger does, so that a test can end it just there.

A process in such a state stays in it until it gets SIGCONT or SIGKILL, however busy the machine is.
``python -m tests.faults.pause ARGUMENTS`` is ``train.py`` with the pause that the environment names
by a phase and an epoch, such as ``training:2``.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import callbacks.irrep_utilization
import latents.client
import lightning_modules.regressor
import qm9.cache
import runtime.checkpoints
import train
from lightning_modules.denoising import DenoisingSteps
from tests.faults.trains import PAUSE_VARIABLE

PHASES = ("preparation", "training", "validation", "utilization", "checkpoint", "umap", "test")
PRETRAINING = "pretraining"
"""A further phase of runs that have it; its epoch does not count."""


def pause() -> None:
    """Stop all threads of this process."""
    os.kill(os.getpid(), signal.SIGSTOP)


def pause_at(phase: str, epoch: int) -> None:
    """Stop this process once, in a phase of the first epoch that is not before `epoch`.

    In the phase "checkpoint" the temporary file is complete, and not yet moved to its place; in
    "umap" the worker has just got a job.
    """
    module = lightning_modules.regressor.EquivariantRegressor
    if phase == "preparation":
        _before(qm9.cache, "prepare", lambda *_: True)
    elif phase == PRETRAINING:
        steps: list[object] = []
        _before(DenoisingSteps, "step", lambda *_: steps.append(None) or len(steps) == 5)
    elif phase == "training":
        _before(module, "training_step", lambda m, _, batch: batch == 1 and _epoch(m) >= epoch)
    elif phase == "validation":
        _before(module, "validation_step", lambda m, _, batch: batch == 1 and _epoch(m) >= epoch)
    elif phase == "utilization":
        measuring = callbacks.irrep_utilization.IrrepUtilization
        _before(measuring, "_measure", lambda _, __, ___, measured: measured >= epoch)
    elif phase == "checkpoint":
        _while_writing(epoch)
    elif phase == "umap":
        client = latents.client.UmapClient
        _after(client, "submit", lambda _, job: _frame_epoch(job) >= epoch)
    elif phase == "test":
        _before(module, "test_step", lambda *_: True)
    else:
        raise ValueError(f"unknown phase {phase!r}; use one of {', '.join(PHASES)}")


def _frame_epoch(job: dict[str, Any]) -> int:
    frame = job.get("frame")
    return frame if isinstance(frame, int) else -1


def _epoch(module: Any) -> int:
    """Epoch that is being trained; -1 during the measurement of the untrained network."""
    return -1 if module.global_step == 0 and not module.training else module.current_epoch


def _once(reached: Callable[..., bool]) -> Callable[..., None]:
    done: list[bool] = []

    def check(*arguments: Any) -> None:
        if not done and reached(*arguments):
            done.append(True)
            pause()

    return check


def _before(owner: Any, name: str, reached: Callable[..., bool]) -> None:
    original, check = getattr(owner, name), _once(reached)

    @functools.wraps(original)
    def replacement(*arguments: Any, **options: Any) -> Any:
        check(*arguments)
        return original(*arguments, **options)

    setattr(owner, name, replacement)


def _after(owner: Any, name: str, reached: Callable[..., bool]) -> None:
    original, check = getattr(owner, name), _once(reached)

    @functools.wraps(original)
    def replacement(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        check(*arguments)
        return result

    setattr(owner, name, replacement)


def _while_writing(epoch: int) -> None:
    original, check = runtime.checkpoints.write_checkpoint, _once(lambda: True)

    def replacement(path: Path, checkpoint: dict[str, Any]) -> None:
        move = os.replace

        def pause_and_move(*arguments: Any) -> None:
            check()
            move(*arguments)

        if checkpoint["epoch"] < epoch:
            original(path, checkpoint)
        else:
            with mock.patch("os.replace", pause_and_move):
                original(path, checkpoint)

    runtime.checkpoints.write_checkpoint = replacement


def prepare() -> None:
    """Set up what the environment says, if anything."""
    phase, _, epoch = os.environ.pop(PAUSE_VARIABLE, "").partition(":")
    if phase:
        pause_at(phase, int(epoch))


if __name__ == "__main__":
    prepare()
    sys.exit(train.main(sys.argv[1:]))
