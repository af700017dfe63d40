"""`RunProgressBar`: a bar over the steps of an epoch, with units and the time of the whole run.

Imports Lightning and this package only.
"""

from __future__ import annotations

import sys
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.callbacks.progress.tqdm_progress import Tqdm
from typing_extensions import override

from callbacks.time_left import TimeLeft, in_words


class _Bar(Tqdm):
    """Writes ``val/mae 2,420 meV`` where tqdm would write ``val/mae=2,420 meV``."""

    @override
    def set_postfix(self, ordered_dict: Any = None, refresh: bool = True, **kwargs: Any) -> None:
        shown = {**(ordered_dict or {}), **kwargs}
        self.set_postfix_str("  ".join(f"{k} {v}" for k, v in shown.items()), refresh)


class RunProgressBar(TQDMProgressBar):
    """Lightning's progress bar, with the reporting unit and an estimate for the whole run.

    The metrics of the last epoch are read once per epoch, so that the bar does not wait for a GPU
    at every step. `EpochLines` writes the line of every epoch above it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._left = TimeLeft()
        self._metrics: dict[str, str] = {}

    @override
    def init_train_tqdm(self) -> Tqdm:
        return _Bar(
            position=0,
            disable=self.is_disabled,
            leave=False,  # the lines of the epochs stay
            dynamic_ncols=True,
            file=sys.stdout,
            smoothing=0,
            bar_format=self.BAR_FORMAT,
        )

    @override
    def on_train_epoch_start(self, trainer: Trainer, *args: Any) -> None:
        super().on_train_epoch_start(trainer, *args)
        self._left.start(trainer.current_epoch)
        last = trainer.max_epochs or -1
        of = f" ({trainer.current_epoch + 1} of {last})" if last > 0 else ""
        self.train_progress_bar.set_description(f"epoch {trainer.current_epoch}{of}")

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics
        self._metrics = {}
        if "val/mae" in metrics:
            unit = pl_module.target.reporting_unit  # type: ignore[union-attr]
            self._metrics["val/mae"] = f"{float(metrics['val/mae']):,.4g} {unit}"
        if "train/loss" in metrics:
            self._metrics["train/loss"] = f"{float(metrics['train/loss']):.4g}"
        super().on_train_epoch_end(trainer, pl_module)

    @override
    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Say what is shown beside the bar: last epoch's metrics, and the time of the whole run."""
        batches = trainer.num_training_batches
        done = trainer.fit_loop.epoch_loop.batch_progress.current.completed
        within = done / batches if batches and not trainer.validating else 1.0
        left = self._left.estimate(trainer.current_epoch + min(within, 1.0), trainer.max_epochs)
        time_left = {} if left is None else {"run": f"{in_words(left)} left"}
        return {**self._metrics, **time_left}
