"""`RunJournal`: what a run says of itself, in summary.json, to W&B and on standard output.

Imports `records` and this package only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import wandb

from records.configuration import differences
from records.irreps import canonical_irreps
from records.names import PREEMPTED
from records.summary import Summary, read_summary, write_summary
from runtime.configuration import RunConfiguration
from runtime.extension import KEY, check_extendable, check_not_extended
from runtime.run_directory import RunDirectory
from runtime.wandb_handover import hand_trial_back
from runtime.wandb_history import NO_EPOCH, ReceivedHistory, received_history
from runtime.wandb_logger import EpochWandbLogger
from runtime.wandb_server import choose_mode
from runtime.wandb_session import WandbSession, start_wandb

LONGEST_START = 8.0
"""Seconds for which a process that is asked to stop waits for W&B's start. The run can be marked as
preempting only after it."""


class RunJournal:
    """Record a run's status and results. Only the process of rank zero writes and prints.

    Parameters
    ----------
    configuration : RunConfiguration
    directory : RunDirectory
    stop : callable
        Called in another thread when W&B's server ends the run early.
    deferring_stop : callable
        Returns a context manager inside which a request to stop waits, for some seconds at most.
    is_writer : bool
        Whether this is the process of rank zero.

    Attributes
    ----------
    summary : Summary
        What summary.json holds.
    mode, reason : str
        Of W&B, see `runtime.wandb_server.choose_mode`.
    """

    def __init__(
        self,
        configuration: RunConfiguration,
        directory: RunDirectory,
        stop: Callable[[], None],
        deferring_stop: Callable[[float], AbstractContextManager[None]],
        is_writer: bool,
    ) -> None:
        self.configuration = configuration
        self.directory = directory
        self.is_writer = is_writer
        self.summary = Summary()
        self.mode, self.reason = "disabled", ""
        self._stop = stop
        self._deferring_stop = deferring_stop
        self._wandb: WandbSession | None = None
        self._logger: EpochWandbLogger | None = None
        self._wandb_ended = False

    def open(self) -> None:
        """Read what an earlier process has recorded, and decide on W&B's mode.

        Raises
        ------
        ValueError
            If summary.json is damaged, the run exists with another configuration, or a variable of
            W&B is unusable.
        """
        self.mode, self.reason = choose_mode(self.configuration.wandb_start_timeout)
        self.read()

    def read(self) -> None:
        """Read what an earlier process has recorded. A run that starts over forgets it.

        Raises
        ------
        ValueError
            If summary.json is damaged, the run exists with another configuration, or it cannot be
            extended.
        """
        if not self.configuration.starts_over:
            self.summary = read_summary(self.directory.summary) or Summary()
        if self.configuration.ckpt_path is None:
            self._check_same_configuration()

    def _check_same_configuration(self) -> None:
        if self.configuration.extend:
            check_extendable(self.summary, self.configuration.identity, self.directory.name)
            return
        before = dict(self.summary.configuration)
        if not before:
            return
        if isinstance(irreps := before.get("model.irreps"), str):
            # Earlier versions recorded the irreps as they were given.
            before["model.irreps"] = canonical_irreps(irreps)
        changes = differences(before, self.configuration.identity)
        if changes:
            raise ValueError(
                f"run {self.directory.name} exists with another configuration "
                f"({', '.join(changes[:4])}): give another --run_name, start over with --fresh, or "
                f"take its own with --config {self.directory.config}"
            )
        if self.configuration.subcommand == "fit":
            check_not_extended(self.summary, self.directory.name)

    @property
    def is_complete(self) -> bool:
        """Whether the run was trained to the end that is asked for."""
        if not self.configuration.extend or not self.summary.finished:
            return self.summary.finished
        return (self.summary.epochs or 0) >= int(self.configuration.identity[KEY])

    def record(self, **values: Any) -> None:
        """Change values in summary.json.

        Parameters
        ----------
        **values : Any
            See `records.summary.Summary.updated`.
        """
        if self.is_writer:
            self.summary = self.summary.updated(**values)
            write_summary(self.directory.summary, self.summary)

    def describe(self, results: dict[str, float]) -> None:
        """Record what is known of the data, in summary.json and in W&B's configuration.

        Parameters
        ----------
        results : dict of str to float
            Results by key.
        """
        self.record(**results)
        if self._wandb is not None:
            self._wandb.update_config(results)

    def say(self, text: str) -> None:
        """Print to standard output.

        Parameters
        ----------
        text : str
            One or more lines.
        """
        if self.is_writer:
            print(text, flush=True)
            self.write_log(text)

    def complain(self, text: str) -> None:
        """Print to standard error.

        Parameters
        ----------
        text : str
            One line.
        """
        if self.is_writer:
            print(text, file=sys.stderr, flush=True)
            self.write_log(text)

    def write_log(self, text: str) -> None:
        """Add lines to the run's Logs tab in W&B, if the run is open there.

        Parameters
        ----------
        text : str
            One or more lines.
        """
        if self._wandb is not None:
            self._wandb.write_log(text)

    def log_checkpoint(self) -> None:
        """Give W&B the best checkpoint, if that was asked for and the run is open there."""
        path = self.directory.best
        if self._wandb is None or not self.configuration.wandb_checkpoint or not path.is_file():
            return
        metadata = {"test/mae": self.summary.results.get("test/mae"), "unit": self.summary.unit}
        metadata |= {"irreps": self.summary.irreps, "target": self.summary.target}
        problem = self._wandb.log_checkpoint(path, self.directory.name, metadata)
        if problem is not None:
            self.complain(f"warning: {problem}; the file stays in {path.parent}")

    def start_wandb(self, run_id: str) -> WandbSession:
        """Start or continue the run in W&B; `mode` and `reason` then say how that went.

        Parameters
        ----------
        run_id : str
            W&B's id of the run.
        """
        with self._deferring_stop(LONGEST_START):
            self._wandb = start_wandb(
                mode=self.mode,
                reason=self.reason,
                directory=self.directory.path,
                run_id=run_id,
                name=self.directory.name,
                project=self.configuration.project,
                config=self.configuration.for_wandb,
                stop=self._stop,
                start_timeout=self.configuration.wandb_start_timeout,
                finish_timeout=self.configuration.wandb_finish_timeout,
                tags=self.configuration.tags,
                notes=self.configuration.notes,
            )
            self.mode, self.reason = self._wandb.mode, self._wandb.reason
        return self._wandb

    def wandb_logger(self, resume: bool) -> EpochWandbLogger:
        """Start the run in W&B, and return the logger for its epochs.

        Parameters
        ----------
        resume : bool
            Whether an interrupted run is continued.
        """
        if not self.is_writer:
            return EpochWandbLogger(None)
        session = self.start_wandb(self.summary.wandb_run_id or "")
        received = self._received(session.run) if resume else None
        logger = EpochWandbLogger(session.run, received)
        session.on_restart = lambda run: logger.reconnect(run, self._received(run))
        self._logger = logger
        return logger

    def log_results(self, run_id: str) -> None:
        """Log the results of a finished run as those of another run in W&B.

        Parameters
        ----------
        run_id : str
            W&B's id of the other run.
        """
        last = (self.summary.epochs or 1) - 1
        session = self.start_wandb(run_id)
        logger = EpochWandbLogger(session.run)

        def reconnect(run: wandb.Run) -> None:
            has_row = bool(run.starting_step)
            logger.reconnect(run, ReceivedHistory({}, last if has_row else NO_EPOCH))

        session.on_restart = reconnect
        logger.log_metrics({**self.summary.results, "epoch": last})
        logger.on_epoch_saved(last)
        self.finish_wandb(0)

    def _received(self, run: wandb.Run) -> ReceivedHistory:
        folder = self.directory.path / "wandb"
        return received_history(run, self.mode, folder, self.summary.wandb_epoch)

    def end(self, status: str, exit_code: int, error: str | None = None) -> None:
        """Record how the run has ended, and end it in W&B.

        Parameters
        ----------
        status : str
            One of `records.names`.
        exit_code : int
            Of this process.
        error : str, optional
            Why the run has failed, in one line.
        """
        try:
            self.record(status=status, error=error)
        finally:
            self.finish_wandb(exit_code, preempted=status == PREEMPTED)

    def finish_wandb(self, exit_code: int, preempted: bool = False) -> None:
        """End the run in W&B, if it was started there, and warn if W&B has not received all of it.

        Parameters
        ----------
        exit_code : int
            Of this process.
        preempted : bool
            Whether the run will be requeued.
        """
        if self._wandb is None:
            if preempted and not self._wandb_ended and self.is_writer and self.mode == "online":
                hand_trial_back(exit_code)
            return
        session, self._wandb, self._wandb_ended = self._wandb, None, True
        # W&B's summary of the run holds the last row of its history. Test results are not in it.
        tested = not preempted and "test/mae" in self.summary.results
        results = dict(self.summary.results) if tested else None
        if warning := session.finish(exit_code, preempted, results):
            self.complain(f"warning: {warning}")
        elif self._logger is not None:
            self.record(wandb_epoch=self._logger.logged_through)
