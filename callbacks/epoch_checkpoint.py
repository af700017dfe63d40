"""`EpochCheckpoint`: best and last checkpoint, and W&B's row once they are on disk.

Imports Lightning and `runtime` only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from typing_extensions import override

from runtime.signals import StopSignals
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
        """Complete the epoch's row, write the checkpoints, then send the row."""
        with self._signals.deferred():
            self._log_training(trainer)
            super().on_train_epoch_end(trainer, pl_module)
            if not self._should_skip_saving_checkpoint(trainer):
                # Lightning writes `last` beside a new best only; a resumed run would train all
                # epochs since then again.
                self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
            for logger in trainer.loggers:
                if isinstance(logger, EpochWandbLogger):
                    logger.send_through(trainer.current_epoch)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the best score so far, also in a run directory that was moved."""
        best = str(Path(str(self.dirpath)) / "best.ckpt")
        score = state_dict["best_model_score"]
        super().load_state_dict(
            {
                **state_dict,
                "dirpath": self.dirpath,
                "best_model_path": best,
                "best_k_models": {best: score} if state_dict["best_k_models"] else {},
                "kth_best_model_path": best,
                "last_model_path": str(Path(str(self.dirpath)) / "last.ckpt"),
            }
        )

    def _log_training(self, trainer: Trainer) -> None:
        """Log what training has measured before the checkpoint that says the epoch is finished.

        Lightning does so after it, where a kill in between would leave a gap for good.
        """
        metrics = {
            key: float(value)
            for key, value in trainer.logged_metrics.items()
            if not key.startswith("val/")  # logged after validation, which not every epoch has
        }
        for logger in trainer.loggers:
            logger.log_metrics({**metrics, "epoch": trainer.current_epoch}, trainer.global_step)
