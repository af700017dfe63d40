"""W&B as the second sink of a run's numbers: one history row an epoch.

Imports wandb, Lightning and this package only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override

from records.metrics import Row
from runtime.wandb_session import SERVICE_GONE


class EpochWandbLogger(WandbLogger):
    """One history row an epoch, sent when the epoch's checkpoint is safe on disk.

    A run that is stopped between two epochs so leaves a history that its continuation extends
    without gap or repetition. What arrives late for an earlier epoch (pictures and measures
    computed beside training) is sent at once as a row of its own.

    Parameters
    ----------
    run : wandb.Run
        Started by `runtime.wandb_session.start_wandb`; None in processes other than rank zero.
    logged_through : int, optional
        Last epoch that an earlier process sent, if this run goes on.
    record : callable, optional
        Told the last epoch that has been sent, for the next process of an offline run.
    """

    def __init__(
        self,
        run: wandb.Run | None,
        logged_through: int | None = None,
        record: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(experiment=run)
        self._record = record
        self._earlier = -2 if logged_through is None else logged_through
        self._sent = self._earlier
        self._pending: dict[int, dict[str, Any]] = {}
        self._last_row: dict[str, Any] = {}

    @property
    def logged_through(self) -> int:
        """Last epoch of which the row has been sent; -2 if none has."""
        return self._sent

    @override
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `runtime.wandb_session.start_wandb` has sent the whole configuration."""

    @override
    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
        """Collect metrics of the current epoch, or send late ones of an earlier epoch.

        Parameters
        ----------
        metrics : dict of str to float
            With the key ``epoch``.
        step : int, optional
            Optimizer step.
        """
        epoch = int(metrics["epoch"])
        if epoch <= self._sent:
            late = {k: v for k, v in metrics.items() if epoch > self._earlier or "latent/" in k}
            if epoch == self._last_row.get("epoch"):
                # Lightning logs the training part of an epoch once more after its checkpoint.
                late = {k: v for k, v in late.items() if self._last_row.get(k) != v}
            if late:
                self._log({**late, "epoch": epoch})
            return
        self._pending.setdefault(epoch, {"epoch": epoch}).update(metrics)
        if step is not None:
            self._pending[epoch]["trainer/global_step"] = step

    @rank_zero_only
    def send_through(self, epoch: int) -> None:
        """Send the rows of all epochs up to one.

        Parameters
        ----------
        epoch : int
            Of the checkpoint that has just been written.
        """
        for pending in sorted(e for e in self._pending if e <= epoch):
            self._send(pending, self._pending.pop(pending))

    @rank_zero_only
    def fill(self, rows: dict[int, Row], through: int) -> None:
        """Send rows of metrics.csv that an interrupted process could not.

        Parameters
        ----------
        rows : dict of int to dict
            Epoch to row.
        through : int
            Last epoch to send.
        """
        for epoch in sorted(rows):
            if self._sent < epoch <= through:
                self._send(epoch, rows[epoch])
        self._earlier = max(self._earlier, self._sent)

    def _send(self, epoch: int, row: dict[str, Any]) -> None:
        # "epochs" counts finished epochs; unlike "epoch" no late row sets it back.
        self._last_row = {**row, "epoch": epoch, "epochs": epoch + 1}
        self._log(self._last_row)
        self._sent = max(self._sent, epoch)
        if self._record is not None:
            self._record(epoch)

    def _log(self, row: dict[str, Any]) -> None:
        # The end of the run tells of it, once.
        with contextlib.suppress(*SERVICE_GONE):
            self.experiment.log(row)
