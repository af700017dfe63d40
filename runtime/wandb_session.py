"""W&B's start and end, both bounded: an absent server costs a run seconds, never its numbers.

Imports wandb and this package only.
"""

from __future__ import annotations

import atexit
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wandb

from records.upload_command import upload_command
from records.wandb_files import repair_offline_files
from records.wandb_internals import (
    API_ERRORS,
    SERVICE_GONE,
    forget_inherited_service,
    start_service,
)
from runtime.signals import StopRequestedError
from runtime.wandb_server import PROBE_SECONDS, examine_server, server_url

PREEMPTED_SECONDS = 20.0
"""Longest wait for uploads in a preempted process, which must be gone within 30 s."""
MAX_ARTIFACT_NAME = 128
"""Characters that W&B takes."""
FLUSH_SECONDS = 1.0
"""How often W&B's service writes its data to disk. What it has not written, a kill takes away."""
RAISED = ("Timed out finishing", "Problem finishing run")
"""Messages that W&B prints before it raises an error, which `WandbSession` answers."""


class Messages:
    """Receives what W&B would print, so that a run can say it once and in one place.

    Attributes
    ----------
    upload_failed : bool
        Whether W&B has given up uploading. Everything is on disk then.
    """

    def __init__(self) -> None:
        self.upload_failed = False

    def listen(self) -> None:
        """Receive W&B's messages from now until its `teardown`."""
        wandb.termsetup(wandb.Settings(silent=True), self)

    def info(self, msg: str) -> None:
        """Drop the message: a run prints its own lines instead."""

    def warning(self, msg: str) -> None:
        """Remember a failed upload for the end, and print everything else.

        Parameters
        ----------
        msg : str
            Message with W&B's own prefix.
        """
        if "Fatal error while uploading" in msg:
            self.upload_failed = True
        elif not any(text in msg for text in RAISED):
            print(msg, file=sys.stderr, flush=True)

    error = warning


@dataclass
class WandbSession:
    """A started W&B run, and how to end it in bounded time.

    Attributes
    ----------
    run : wandb.Run
    mode : {"online", "offline", "disabled"}
        "offline" also if "online" was wanted and the server could not be used, and "disabled" if
        W&B's service process could not be used either.
    reason : str
        One line for the user.
    finish_timeout : float
        Longest wait for uploads at the end, in seconds.
    messages : Messages
    config : dict
        What W&B has been told of the run's configuration.
    restart : callable
        Starts the same W&B run once more, in a new service process.
    on_restart : callable, optional
        Called with the restarted run before it is ended.
    preempted_timeout : float
        Longest wait in a process that is being preempted, in seconds.
    service_gone : bool
        Whether the end could not be told to W&B because its service process ended again and again.
    """

    run: wandb.Run
    mode: str
    reason: str
    finish_timeout: float
    messages: Messages
    config: dict[str, Any]
    restart: Callable[[], wandb.Run]
    on_restart: Callable[[wandb.Run], None] | None = None
    preempted_timeout: float = PREEMPTED_SECONDS
    service_gone: bool = False
    _timed_out: bool = False

    def update_config(self, values: dict[str, Any]) -> None:
        """Add to the run's configuration in W&B.

        Parameters
        ----------
        values : dict
            Flat, with dotted keys.
        """
        self.config.update(values)
        with suppress(*SERVICE_GONE):
            self.run.config.update(values, allow_val_change=True)  # type: ignore[no-untyped-call]

    def write_log(self, text: str) -> None:
        """Add lines to the run's Logs tab. W&B does not capture what a run prints.

        Parameters
        ----------
        text : str
            One or more lines.
        """
        with suppress(*SERVICE_GONE):
            self.run.write_logs(text)

    def log_checkpoint(self, path: Path, name: str, metadata: dict[str, Any]) -> str | None:
        """Give W&B a checkpoint as an artifact of type ``model`` with the alias ``best``.

        Parameters
        ----------
        path : Path
            The file, which W&B copies.
        name : str
            Of the artifact; characters that W&B does not take become underscores.
        metadata : dict
            Shown beside it.

        Returns
        -------
        str or None
            One line if W&B could not take it.
        """
        online = not self.run.offline
        if online and (problem := examine_server(PROBE_SECONDS)) is not None:
            return f"{path.name} is not in W&B ({problem.cause})"
        safe = re.sub(r"[^\w.-]", "_", name)[-MAX_ARTIFACT_NAME:]
        try:
            artifact = wandb.Artifact(safe, type="model", metadata=metadata)
            artifact.add_file(str(path))
            self.run.log_artifact(artifact, aliases=["best"])
        except (wandb.Error, OSError, ValueError, *API_ERRORS, *SERVICE_GONE) as error:
            return f"{path.name} is not in W&B ({' '.join(str(error).split())})"
        return None

    def finish(
        self, exit_code: int, preempted: bool = False, summary: dict[str, Any] | None = None
    ) -> str | None:
        """End the run and wait for its uploads, at most `finish_timeout` seconds.

        If W&B's service process has ended, another one is started to end the run: a cluster may
        send SIGTERM to every process of a job, and the service does not survive it.

        Parameters
        ----------
        exit_code : int
            0 for a finished run.
        preempted : bool
            Whether the run will be requeued. `preempted_timeout` is a limit then, too.
        summary : dict, optional
            Values to add to W&B's summary of the run.

        Returns
        -------
        str or None
            One line if W&B has not received everything: why, and how to upload the rest.
        """

        def end() -> bool:
            return self._end_surely(exit_code, preempted, summary or {})

        if preempted and self.finish_timeout > self.preempted_timeout:
            complete = self._within(self.preempted_timeout, end, exit_code)
        else:
            complete = end()
        if self.service_gone:
            _skip_wandbs_exit_hook(exit_code)
            return (
                "W&B's service process has ended. What W&B lacks of this run is in metrics.csv and "
                "the other files beside it"
            )
        return None if complete or self.mode != "online" else self._incomplete()

    def _end_surely(self, exit_code: int, preempted: bool, summary: dict[str, Any]) -> bool:
        """End the run in W&B, with another service process if there is none any more."""
        try:
            return self._end(exit_code, preempted, summary)
        except SERVICE_GONE:
            _forget_service()
        try:
            self.run = self.restart()
            if self.on_restart is not None:
                self.on_restart(self.run)
            return self._end(exit_code, preempted, summary)
        except SERVICE_GONE:
            _forget_service()
            self.service_gone = True
        except wandb.Error:
            pass  # `_incomplete` asks the server why
        return False

    def _end(self, exit_code: int, preempted: bool, summary: dict[str, Any]) -> bool:
        if preempted:
            self.run.mark_preempting()
        self.run.summary.update(summary)
        try:
            self.run.finish(exit_code=exit_code)
        except TimeoutError:
            self._timed_out = True
            return False
        return not self.messages.upload_failed

    def _incomplete(self) -> str:
        """Say why W&B has not received everything, and how to upload the rest."""
        directory = Path(self.run.dir).parent
        problem = examine_server(min(PROBE_SECONDS, self.finish_timeout))
        if problem is not None:
            cause = problem.cause
        elif self._timed_out:
            cause = "uploads took longer than --wandb_finish_timeout"
        else:
            cause = f"it refused some of it; see {directory}/logs/debug-internal.log"
        return (
            f"W&B has not received everything ({cause}). Nothing is lost; upload the rest later: "
            f"`{upload_command(directory.parents[1])}`"
        )

    def _within(self, seconds: float, end: Callable[[], bool], exit_code: int) -> bool:
        complete: list[bool] = []
        thread = threading.Thread(
            target=lambda: complete.append(end()), name="wandb-finish", daemon=True
        )
        thread.start()
        thread.join(seconds)
        if not complete:
            self._timed_out = True
            _skip_wandbs_exit_hook(exit_code)
        return bool(complete and complete[0])


def _forget_service() -> None:
    """Let the next call start another service process."""
    with suppress(*SERVICE_GONE):
        wandb.teardown()


def _skip_wandbs_exit_hook(exit_code: int) -> None:
    """Leave Python before W&B's exit hook, which would wait for the service once more.

    Exit hooks run in reverse order of registration. Ours is registered later, so it runs first.
    """

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)

    atexit.register(leave)


def start_wandb(
    mode: str,
    reason: str,
    directory: Path,
    run_id: str,
    name: str,
    project: str,
    config: dict[str, Any],
    stop: Callable[[], None],
    start_timeout: float,
    finish_timeout: float,
    tags: Sequence[str] = (),
    notes: str = "",
) -> WandbSession:
    """Start or continue a W&B run, offline if the server does not accept it in time.

    Parameters
    ----------
    mode : {"online", "offline", "disabled"}
        From `runtime.wandb_server.choose_mode`.
    reason : str
        Likewise.
    directory : Path
        W&B writes below ``directory/wandb``.
    run_id : str
        If W&B has a run with this id, it is continued.
    name, project : str
        As shown in W&B. Inside a sweep the sweep's project is used instead.
    config : dict
        Flat, with dotted keys.
    stop : callable
        Called in another thread when the server ends the run early.
    start_timeout, finish_timeout : float
        Longest wait for the server, now and at the end, in seconds.
    tags : sequence of str
        Added to the run's tags; those that a user has given stay.
    notes : str
        Shown beside the run, unless it has notes already.

    Returns
    -------
    WandbSession
        Its run has ``epoch`` as the step metric of every key.

    Raises
    ------
    StopRequestedError
        If the process is asked to stop and that could wait no longer.
    """
    messages = Messages()
    config = dict(config)
    forget_inherited_service()

    def start(mode: str) -> wandb.Run:
        # An unfinished file would keep `wandb sync` from uploading this one.
        repair_offline_files(directory / "wandb")
        if mode != "disabled":
            start_service()
            messages.listen()
        settings = wandb.Settings(
            init_timeout=start_timeout,
            finish_timeout=finish_timeout,
            finish_timeout_raises=True,
            console="off",
            disable_git=True,
            silent=True,
            stop_fn=stop,
            x_transaction_log_flush_interval=FLUSH_SECONDS,
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
        # W&B warns of each value that a sweep has set, even if it stays the same.
        new = {k: v for k, v in config.items() if k not in run.config or run.config[k] != v}
        run.config.update(new, allow_val_change=True)  # type: ignore[no-untyped-call]
        given = run.tags or ()
        if any(tag not in given for tag in tags):
            run.tags = tuple(dict.fromkeys([*given, *tags]))
        if notes and not run.notes:
            run.notes = notes
        run.define_metric("epoch")
        run.define_metric("*", step_metric="epoch")
        run.define_metric("val/mae", summary="min", step_metric="epoch")
        return run

    def start_surely(mode: str) -> wandb.Run:
        """Start the run, with another service process if the first one ends meanwhile."""
        try:
            return start(mode)
        except SERVICE_GONE:
            _forget_service()
        return start(mode)

    began = time.monotonic()
    try:
        run = start_surely(mode)
    except SERVICE_GONE:
        _forget_service()
        mode, reason = "disabled", "W&B is disabled: its service process ends whenever it starts."
        run = start(mode)
    except wandb.Error as error:
        if mode != "online":
            raise
        waited = time.monotonic() - began
        cause = _cause(error, min(PROBE_SECONDS, start_timeout))
        reason = f"W&B is offline: {cause} (given up after {waited:.0f} s)."
        # W&B's service process remembers the run that it could not start; a new one does not.
        wandb.teardown()
        mode = "offline"
        run = start_surely(mode)
    except StopRequestedError as stop:
        _skip_wandbs_exit_hook(stop.exit_code)
        raise
    return WandbSession(run, mode, reason, finish_timeout, messages, config, lambda: start(mode))


def _cause(error: wandb.Error, seconds: float) -> str:
    """Say why a run could not be started online."""
    problem = examine_server(seconds)
    if problem is not None:
        return problem.cause
    text = " ".join(str(error).split())
    if text.startswith("Timed out"):
        return f"{server_url()} answers too slowly for --wandb_start_timeout"
    return text
