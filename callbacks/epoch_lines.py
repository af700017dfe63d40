"""`EpochLines`: one line per epoch that stays in the terminal or in a log file.

Imports Lightning and this package only.
"""

from __future__ import annotations

import time

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from typing_extensions import override

from callbacks.time_left import TimeLeft, in_words


class EpochLines(Callback):
    """Print one line per epoch: errors in reporting units, the loss, its time, and what is left.

    Where there is a progress bar, the lines stay above it. Without a terminal, they stand alone: a
    bar that is redrawn at every step would fill a log file (of Slurm, of a sweep) with megabytes of
    unreadable text. Only the process of rank zero prints.
    """

    def __init__(self) -> None:
        self._start = 0.0
        self._left = TimeLeft()

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.perf_counter()
        self._left.start(trainer.current_epoch)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        epoch, last = trainer.current_epoch, trainer.max_epochs or -1
        parts = [f"epoch {epoch} ({epoch + 1} of {last})" if last > 0 else f"epoch {epoch}"]
        if "val/mae" in metrics:
            unit = pl_module.target.reporting_unit  # type: ignore[union-attr]
            parts.append(f"val/mae {float(metrics['val/mae']):,.4g} {unit}")
        if "train/loss" in metrics:
            parts.append(f"train/loss {float(metrics['train/loss']):.4g}")
        parts.append(f"{time.perf_counter() - self._start:,.0f} s")
        left = self._left.estimate(epoch + 1, last)
        if left:
            parts.append(f"about {in_words(left)} left")
        if trainer.is_global_zero:
            self._print(trainer, "  ".join(parts))

    def _print(self, trainer: Trainer, line: str) -> None:
        bar = trainer.progress_bar_callback
        if isinstance(bar, ProgressBar):
            bar.print(line)
        else:
            print(line, flush=True)
