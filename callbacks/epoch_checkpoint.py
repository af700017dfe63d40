"""`EpochCheckpoint`: best and last checkpoint, and W&B's row once they are on disk.

Imports Lightning and `runtime` only.
"""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from typing_extensions import override

from runtime.stop_signals import StopSignals
from runtime.wandb_logger import EpochWandbLogger


class EpochCheckpoint(ModelCheckpoint):
    """Lightning's checkpoints at the end of every epoch: ``best`` by validation MAE, and ``last``.

    Parameters
    ----------
    directory : Path
        Where ``best.ckpt`` and ``last.ckpt`` go.
    signals : StopSignals
        A stop is put off until checkpoint and history row are both out.
    monitor : str
        Metric that the best checkpoint minimizes.
    """

    def __init__(self, directory: Path, signals: StopSignals, monitor: str = "val/mae") -> None:
        super().__init__(
            dirpath=directory,
            filename="best",
            monitor=monitor,
            mode="min",
            save_top_k=1,
            save_last=True,
            auto_insert_metric_name=False,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self._signals = signals

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the checkpoints, then send the epoch's row."""
        with self._signals.deferred():
            super().on_train_epoch_end(trainer, pl_module)
            for logger in trainer.loggers:
                if isinstance(logger, EpochWandbLogger):
                    logger.send_through(trainer.current_epoch)
