"""`EpochCheckpoint`: the best and the last checkpoint, and telling loggers once they are on disk.

Imports Lightning only.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from typing_extensions import override


@runtime_checkable
class EpochListener(Protocol):
    """A logger that wants to be told when an epoch's checkpoint is on disk."""

    def on_epoch_saved(self, epoch: int) -> None:
        """Take note that `epoch` will not be trained again.

        Parameters
        ----------
        epoch : int
            The epoch of ``last.ckpt``.
        """


class EpochCheckpoint(ModelCheckpoint):
    """Save ``best.ckpt``, by validation MAE, and ``last.ckpt`` at the end of every epoch.

    Lightning itself updates ``last.ckpt`` only together with a new best checkpoint. A resumed run
    would then repeat every epoch since.

    Parameters
    ----------
    directory : Path
        Where ``best.ckpt`` and ``last.ckpt`` go.
    deferring_stop : callable
        Returns a context manager inside which a request to stop waits, so that a run never stops
        between an epoch's checkpoint and its row of metrics.
    monitor : str
        Metric that the best checkpoint minimizes.
    """

    def __init__(
        self,
        directory: Path,
        deferring_stop: Callable[[], AbstractContextManager[None]] = nullcontext,
        monitor: str = "val/mae",
    ) -> None:
        super().__init__(
            dirpath=directory,
            filename="best",
            monitor=monitor,
            mode="min",
            save_top_k=1,
            auto_insert_metric_name=False,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
        self._deferring_stop = deferring_stop

    def _path(self, name: str) -> str:
        # Lightning resolves links in `dirpath`. Its paths and ours must agree, or it would take
        # the best checkpoint for a second, outdated one and remove it.
        return str(Path(str(self.dirpath)) / name)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Complete the epoch's row of metrics, write the checkpoints, then tell the loggers."""
        with self._deferring_stop():
            self._log_training(trainer)
            super().on_train_epoch_end(trainer, pl_module)
            if not trainer.fast_dev_run:  # type: ignore[attr-defined]
                self._save_last(trainer)
            for logger in trainer.loggers:
                if isinstance(logger, EpochListener):
                    logger.on_epoch_saved(trainer.current_epoch)

    def _save_last(self, trainer: Trainer) -> None:
        self.last_model_path = self._path("last.ckpt")
        trainer.save_checkpoint(self.last_model_path)
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.after_save_checkpoint(self)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score so far, also in a run directory that was moved."""
        best = self._path("best.ckpt")
        score = state_dict["best_model_score"]
        super().load_state_dict(
            {
                **state_dict,
                "dirpath": self.dirpath,
                "best_model_path": best,
                "best_k_models": {best: score} if state_dict["best_k_models"] else {},
                "kth_best_model_path": best,
                "last_model_path": self._path("last.ckpt"),
            }
        )

    def _log_training(self, trainer: Trainer) -> None:
        """Log the training metrics before the checkpoint that marks the epoch as finished.

        Lightning logs them after it. A kill in between would leave a row that is never completed.
        """
        metrics = {
            key: float(value)
            for key, value in trainer.logged_metrics.items()
            if not key.startswith("val/")  # logged after validation, which not every epoch has
        }
        for logger in trainer.loggers:
            logger.log_metrics({**metrics, "epoch": trainer.current_epoch}, trainer.global_step)
