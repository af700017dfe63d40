"""W&B as the second sink of a run's numbers: mode, start, one history row an epoch.

Imports wandb, Lightning and this package only.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from typing_extensions import override
from wandb.sdk.lib import wbauth

from runtime.metrics_csv import Row

PROBE_SECONDS = 5.0
INIT_SECONDS = 60.0
MODES = ("online", "offline", "disabled")


def choose_mode() -> tuple[str, str]:
    """Decide W&B's mode before anything is sent: a failed online start cannot be turned offline.

    ``WANDB_MODE`` decides where it is set; otherwise online if there is an API key or an agent
    started this process, and the server accepts a connection; otherwise offline.

    Returns
    -------
    mode : {"online", "offline", "disabled"}
    reason : str
        One line for the user.

    Raises
    ------
    ValueError
        If ``WANDB_MODE`` is none of W&B's modes.
    """
    given = os.environ.get("WANDB_MODE")
    if given:
        if given == "dryrun":
            given = "offline"
        if given not in MODES:
            raise ValueError(f"WANDB_MODE={given}: choose one of {', '.join(MODES)}, or unset it")
        return given, f"W&B is {given} (WANDB_MODE)."
    settings = wandb.setup().settings
    base_url = settings.base_url
    by_agent = bool(os.environ.get("WANDB_SWEEP_ID"))
    key = settings.api_key or wbauth.read_netrc_auth(host=base_url)
    if not key and not by_agent:
        return "offline", "W&B is offline (no API key). Go online with `wandb login`."
    if not _accepts_connection(base_url):
        return "offline", f"W&B is offline: {base_url} cannot be reached from here."
    return "online", "W&B is online."


def _accepts_connection(base_url: str) -> bool:
    url = urlsplit(base_url)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        with socket.create_connection((url.hostname or "localhost", port), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def start_wandb(
    mode: str,
    directory: Path,
    run_id: str,
    name: str,
    project: str,
    config: dict[str, Any],
    stop: Callable[[], None],
) -> wandb.Run:
    """Start or continue a W&B run.

    Parameters
    ----------
    mode : {"online", "offline", "disabled"}
        From `choose_mode`.
    directory : Path
        W&B writes below ``directory/wandb``.
    run_id : str
        The same run goes on when the id exists.
    name, project : str
        As shown in W&B. Inside a sweep the sweep's project counts.
    config : dict
        Flat, dotted keys.
    stop : callable
        Called, in a thread, when the server ends the run early.

    Returns
    -------
    wandb.Run
        With ``epoch`` as the step metric of every key.
    """
    settings = wandb.Settings(
        init_timeout=INIT_SECONDS, console="off", disable_git=True, silent=True, stop_fn=stop
    )
    run = wandb.init(
        mode=mode,  # type: ignore[arg-type]
        dir=str(directory),
        id=run_id,
        name=name,
        project=None if os.environ.get("WANDB_SWEEP_ID") else project,
        resume="allow",
        settings=settings,
    )
    run.config.update(config, allow_val_change=True)
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    run.define_metric("val/mae", summary="min", step_metric="epoch")
    return run


class EpochWandbLogger(WandbLogger):
    """One history row an epoch, sent when the epoch's checkpoint is safe on disk.

    A run that is stopped between two epochs so leaves a history that its continuation extends
    without gap or repetition. What arrives late for an earlier epoch (pictures and measures
    computed beside training) is sent at once as a row of its own.

    Parameters
    ----------
    run : wandb.Run
        Started by `start_wandb`; None in processes other than rank zero.
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

    @property
    def logged_through(self) -> int:
        """Last epoch of which the row has been sent; -2 if none has."""
        return self._sent

    @override
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `start_wandb` has sent the whole configuration."""

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
            if late:
                self.experiment.log({**late, "epoch": epoch})
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
        self.experiment.log({**row, "epoch": epoch, "epochs": epoch + 1})
        self._sent = max(self._sent, epoch)
        if self._record is not None:
            self._record(epoch)
