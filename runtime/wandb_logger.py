"""W&B as the second sink of a run's numbers: one history row per epoch.

Imports wandb, Lightning, `records` and this package only.
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
from records.names import UNTRAINED
from runtime.wandb_internals import SERVICE_GONE

NOTHING_SENT = UNTRAINED - 1


class EpochWandbLogger(WandbLogger):
    """Send one history row per epoch, once the epoch's checkpoint is on disk.

    A run that is stopped between two epochs therefore leaves a history that its continuation
    extends without gap or repetition. What arrives later for an epoch already sent (pictures and
    measures that are computed beside training) is sent at once, as a row of its own.

    Parameters
    ----------
    run : wandb.Run
        Started by `runtime.wandb_session.start_wandb`; None in processes other than rank zero.
    logged_through : int, optional
        Last epoch that an earlier process has sent, if this run continues one.
    record : callable, optional
        Called with each epoch that has been sent, so that it can be given as `logged_through` to
        the next process.
    """

    def __init__(
        self,
        run: wandb.Run | None,
        logged_through: int | None = None,
        record: Callable[[int], None] | None = None,
    ) -> None:
        super().__init__(experiment=run)
        self._record = record
        self._sent_before = NOTHING_SENT if logged_through is None else logged_through
        self._sent = self._sent_before
        self._pending: dict[int, dict[str, Any]] = {}
        self._last_row: dict[str, Any] = {}

    @property
    def logged_through(self) -> int:
        """Last epoch whose row has been sent, or `NOTHING_SENT`."""
        return self._sent

    @override
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `runtime.wandb_session.start_wandb` has sent the whole configuration."""

    @override
    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
        """Collect metrics of the current epoch, or send late metrics of an earlier one.

        Parameters
        ----------
        metrics : dict of str to float
            With the key ``epoch``.
        step : int, optional
            Optimizer step.
        """
        epoch = int(metrics["epoch"])
        if epoch <= self._sent:
            self._send_late(epoch, metrics)
            return
        self._pending.setdefault(epoch, {"epoch": epoch}).update(metrics)
        if step is not None:
            self._pending[epoch]["trainer/global_step"] = step

    def _send_late(self, epoch: int, metrics: dict[str, float]) -> None:
        late: dict[str, Any] = dict(metrics)
        if epoch <= self._sent_before:
            # An earlier process has sent this epoch's row. Only the latent space's measures, which
            # are computed beside training, can be new.
            late = {key: value for key, value in late.items() if "latent/" in key}
        if epoch == self._last_row.get("epoch"):
            # Lightning logs an epoch's training metrics once more after the checkpoint.
            late = {key: value for key, value in late.items() if self._last_row.get(key) != value}
        if late:
            self._log({**late, "epoch": epoch})

    @rank_zero_only
    def on_epoch_saved(self, epoch: int) -> None:
        """Send the rows of all epochs up to one whose checkpoint is on disk.

        Parameters
        ----------
        epoch : int
            Epoch of the checkpoint.
        """
        for pending in sorted(e for e in self._pending if e <= epoch):
            self._send(pending, self._pending.pop(pending))

    @rank_zero_only
    def fill(self, rows: dict[int, Row], through: int) -> None:
        """Send rows of metrics.csv that an interrupted process could not send.

        Parameters
        ----------
        rows : dict of int to dict
            Rows by epoch.
        through : int
            Last epoch to send.
        """
        for epoch in sorted(rows):
            if self._sent < epoch <= through:
                self._send(epoch, rows[epoch])
        self._sent_before = max(self._sent_before, self._sent)

    def _send(self, epoch: int, row: dict[str, Any]) -> None:
        # "epochs" counts finished epochs. Unlike "epoch", it never decreases in W&B's summary when
        # a late row arrives.
        self._last_row = {**row, "epoch": epoch, "epochs": epoch + 1}
        self._log(self._last_row)
        self._sent = max(self._sent, epoch)
        if self._record is not None:
            self._record(epoch)

    def _log(self, row: dict[str, Any]) -> None:
        # If W&B's service process is gone, `WandbSession.finish` says so once, at the end.
        with contextlib.suppress(*SERVICE_GONE):
            self.experiment.log(row)
