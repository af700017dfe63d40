"""`Throughput`: molecules trained on per second, an epoch at a time.

Imports Lightning and torch only.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override


class Throughput(Callback):
    """Log ``throughput/molecules_per_s``: training batches only, without validation.

    The clock stops between the end of a batch and the start of the next only for validation and
    other callbacks; waiting for data counts. On a GPU the queue is drained once an epoch.
    """

    def __init__(self) -> None:
        self._molecules = 0
        self._seconds = 0.0
        self._started: float | None = None

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._molecules, self._seconds = 0, 0.0
        self._started = time.perf_counter()

    @override
    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if self._started is None:  # a validation in mid-epoch has stopped the clock
            self._started = time.perf_counter()

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self._molecules += batch.num_graphs

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop(pl_module)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop(pl_module)
        if self._seconds > 0:
            rate = self._molecules * trainer.world_size / self._seconds
            pl_module.log("throughput/molecules_per_s", rate, rank_zero_only=True)

    def _stop(self, pl_module: LightningModule) -> None:
        if self._started is None:
            return
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        self._seconds += time.perf_counter() - self._started
        self._started = None
