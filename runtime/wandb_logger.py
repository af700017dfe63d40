"""W&B as the second sink of a run's numbers, and the sink of its pictures and tables.

Imports wandb, Lightning, `records` and this package only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from typing_extensions import override

from records.metrics import Row
from records.wandb_internals import API_ERRORS, SERVICE_GONE
from records.wandb_media import Media, Table, save_file, to_wandb
from runtime.wandb_history import COUNT, ReceivedHistory
from runtime.wandb_server import examine_server

LINE = ("val/mae", "train/loss", "test/mae", "lr")
"""What the Logs tab shows of every epoch."""
TABLE_SECONDS = 2.0
"""Longest wait for the server's answer before a table is logged."""


class EpochWandbLogger(WandbLogger):
    """Send one history row per epoch, once the epoch's checkpoint is on disk.

    A run that is stopped between two epochs therefore leaves a history that its continuation
    extends without gap or repetition. What arrives later for an epoch already sent (pictures and
    measures that are computed beside training) is sent at once, as a row of its own. When W&B's
    service process is gone, nothing fails; `reconnect` sends again what it has not received.

    Parameters
    ----------
    run : wandb.Run
        Started by `runtime.wandb_session.start_wandb`; None in processes other than rank zero.
    received : ReceivedHistory, optional
        What W&B has already, if this run continues one.
    """

    def __init__(self, run: wandb.Run | None, received: ReceivedHistory | None = None) -> None:
        super().__init__(experiment=run)
        self._run = run
        self._received = received or ReceivedHistory()
        self._sent_before = self._sent = self._received.last_row
        self._pending: dict[int, dict[str, Any]] = {}
        self._last_row: dict[str, Any] = {}
        self._logged: list[dict[str, Any]] = []
        self._summary: dict[str, float] = {}
        self._files: dict[str, Path] = {}
        self._has_warned = False

    @property
    @override
    def experiment(self) -> Any:
        """The W&B run; in processes other than rank zero, an object that ignores every call."""
        return super().experiment if self._run is None else self._run

    @property
    def logged_through(self) -> int:
        """Last epoch whose row has been sent, or `runtime.wandb_history.NO_EPOCH`."""
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
        late: dict[str, Any] = {key: value for key, value in metrics.items() if key != "epoch"}
        if epoch <= self._sent_before:
            # An earlier process has sent this epoch's row. Only the latent space's measures, which
            # are computed beside training, can be new.
            late = {
                key: value
                for key, value in late.items()
                if "latent/" in key and not self._received.has_cell(epoch, key)
            }
        if epoch == self._last_row.get("epoch"):
            # Lightning logs an epoch's training metrics once more after the checkpoint.
            late = {key: value for key, value in late.items() if self._last_row.get(key) != value}
        if late:
            self._log({**late, "epoch": epoch})

    @rank_zero_only
    def log_media(self, media: Mapping[str, Media], epoch: int) -> None:
        """Send pictures and tables of an epoch at once, as a row of their own.

        Parameters
        ----------
        media : mapping
            By key.
        epoch : int
            What they show.
        """
        self._log({**media, "epoch": epoch})

    @rank_zero_only
    def log_summary(self, values: Mapping[str, float]) -> None:
        """Set values of W&B's summary of the run.

        Parameters
        ----------
        values : mapping
            By key.
        """
        self._summary.update(values)
        with contextlib.suppress(*SERVICE_GONE):
            self.experiment.summary.update(dict(values))

    @rank_zero_only
    def log_files(self, root: Path, names: Sequence[str]) -> None:
        """Name files to W&B, which uploads them when the run ends or is synchronized.

        Parameters
        ----------
        root : Path
            The run's directory.
        names : sequence of str
            Paths below it.
        """
        self._files.update(dict.fromkeys(names, root))
        with contextlib.suppress(*SERVICE_GONE):
            for name in names:
                save_file(self.experiment, root, name)

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
        """Send what metrics.csv has and W&B lacks, because an interrupted process could not.

        Parameters
        ----------
        rows : dict of int to dict
            Rows by epoch.
        through : int
            Last epoch to send.
        """
        for epoch in sorted(epoch for epoch in rows if epoch <= through):
            values = {_wandb_key(key): value for key, value in rows[epoch].items()}
            missing = {k: v for k, v in values.items() if not self._received.has_cell(epoch, k)}
            if not self._received.has_row(epoch):
                self._send(epoch, missing)
            elif missing:
                self._log({**missing, "epoch": epoch})
        self._sent_before = self._sent

    @rank_zero_only
    def reconnect(self, run: wandb.Run, received: ReceivedHistory) -> None:
        """Go on with a restarted W&B run; send again what this process has logged in vain.

        Parameters
        ----------
        run : wandb.Run
            The same run, started anew.
        received : ReceivedHistory
            What W&B has of it.
        """
        self._run = run
        logged, self._logged = self._logged, []
        for row in logged:
            epoch = row["epoch"]
            missing = {k: v for k, v in row.items() if not received.has_cell(epoch, k)}
            if missing:
                self._log({**missing, "epoch": epoch})
        if self._summary:
            self.log_summary(self._summary)
        for name, root in self._files.items():
            self.log_files(root, [name])

    def _send(self, epoch: int, row: dict[str, Any]) -> None:
        # Unlike "epoch", the count never decreases in W&B's summary when a late row arrives.
        self._last_row = {**row, "epoch": epoch, COUNT: epoch + 1}
        self._log(self._last_row)
        self._write_line(epoch, row)
        self._sent = max(self._sent, epoch)

    def _write_line(self, epoch: int, row: Mapping[str, Any]) -> None:
        """Show an epoch's errors in the Logs tab."""
        shown = [f"{key} {row[key]:.6g}" for key in LINE if isinstance(row.get(key), int | float)]
        if shown:
            with contextlib.suppress(*SERVICE_GONE):
                self.experiment.write_logs(f"epoch {epoch}  {'  '.join(shown)}")

    def _log(self, row: dict[str, Any]) -> None:
        self._logged.append(row)
        # If W&B's service process is gone, `WandbSession.finish` starts another, at the end.
        try:
            self._transmit(row)
        except SERVICE_GONE:
            pass
        except OSError as error:
            if not self._has_warned:  # later ones have the same cause
                self._has_warned = True
                rank_zero_warn(f"pictures or tables do not reach W&B ({error}); training goes on")

    def _transmit(self, row: dict[str, Any]) -> None:
        if self._may_make_artifacts(row):
            # Should the server begin to hang just now, this fails after 19 s.
            with contextlib.suppress(wandb.Error, *API_ERRORS):
                self.experiment.log(to_wandb(row, artifacts=True))
                return
        self.experiment.log(to_wandb(row, artifacts=False))

    def _may_make_artifacts(self, row: dict[str, Any]) -> bool:
        """Whether a row's tables may become artifacts: W&B's client then asks the server."""
        if not any(isinstance(value, Table) for value in row.values()):
            return False
        return bool(self.experiment.offline) or examine_server(TABLE_SECONDS) is None


def _wandb_key(key: str) -> str:
    return "trainer/global_step" if key == "step" else key
