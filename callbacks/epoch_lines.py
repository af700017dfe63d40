"""`EpochLines`: progress where there is no terminal for a progress bar.

Imports Lightning only.
"""

from __future__ import annotations

import time

from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override


class EpochLines(Callback):
    """Print one line per epoch: errors in reporting units, the loss, and the time it took.

    A progress bar that is redrawn at every step would fill a log file (of Slurm, of a sweep) with
    megabytes of unreadable text. Only the process of rank zero prints.
    """

    def __init__(self) -> None:
        self._start = 0.0

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.perf_counter()

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
        if trainer.is_global_zero:
            print("  ".join(parts), flush=True)
