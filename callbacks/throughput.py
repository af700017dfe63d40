"""`Throughput`: molecules per second in training, once per epoch.

Imports Lightning and torch only.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from typing_extensions import override


class Throughput(Callback):
    """Log ``throughput/molecules_per_s``, measured over an epoch's training batches.

    Waiting for data counts, validation does not: the clock stops when a validation starts, and
    starts again with the next training batch. A GPU is synchronized only when the clock stops.
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
        if self._started is None:  # a validation within the epoch has stopped the clock
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
