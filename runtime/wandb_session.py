"""W&B's start and end, both bounded: a server that is away costs a run seconds, never its numbers.

Imports wandb and the standard library only.
"""

from __future__ import annotations

import atexit
import base64
import errno
import http.client
import json
import os
import shlex
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wandb
from wandb.sdk.lib import wbauth
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

PROBE_SECONDS = 5.0
PREEMPTED_SECONDS = 20.0
"""A preempted process has to be gone within 30 s, whatever the options say. Not less: W&B's service
writes what it holds to its file every 15 s only."""
SERVICE_GONE = (ConnectionError, HandleAbandonedError, MailboxClosedError)
"""What W&B's calls raise when its service process has been killed."""
MODES = ("online", "offline", "disabled")
_NOBODY = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH)


@dataclass(frozen=True)
class Problem:
    """Why the server cannot be used.

    Attributes
    ----------
    cause : str
        For the user.
    final : bool
        Whether trying again is no use: nothing listens there, or the key is not accepted.
    """

    cause: str
    final: bool


class Messages:
    """Takes what W&B would print, so that a run can say it once and in one place.

    Attributes
    ----------
    upload_failed : bool
        Whether W&B has given up uploading; everything is on disk then.
    """

    def __init__(self) -> None:
        self.upload_failed = False

    def listen(self) -> None:
        """Take W&B's messages from now on, until its `teardown`."""
        wandb.termsetup(wandb.Settings(silent=True), self)

    def info(self, msg: str) -> None:
        """Drop it: a run has its own lines for these."""

    def warning(self, msg: str) -> None:
        """Keep a failed upload for the end; show anything else.

        Parameters
        ----------
        msg : str
            With W&B's own prefix.
        """
        if "Fatal error while uploading" in msg:
            self.upload_failed = True
        elif "Timed out finishing" not in msg:
            print(msg, file=sys.stderr, flush=True)

    error = warning


@dataclass
class WandbSession:
    """A started W&B run and what its end needs.

    Attributes
    ----------
    run : wandb.Run
    mode : {"online", "offline", "disabled"}
        "offline" also where "online" was wanted and the server could not be used.
    reason : str
        One line for the user.
    finish_timeout : float
        Seconds that the end may wait for uploads.
    messages : Messages
    preempted_timeout : float
        Likewise for a process that is being preempted.
    """

    run: wandb.Run
    mode: str
    reason: str
    finish_timeout: float
    messages: Messages
    preempted_timeout: float = PREEMPTED_SECONDS
    _timed_out: bool = False

    def finish(
        self, exit_code: int, preempted: bool = False, summary: dict[str, Any] | None = None
    ) -> str | None:
        """End the run and wait for its uploads, no longer than `finish_timeout`.

        Parameters
        ----------
        exit_code : int
            0 for a finished run.
        preempted : bool
            Whether the run is to be requeued; `preempted_timeout` counts then too.
        summary : dict, optional
            To add to W&B's summary of the run.

        Returns
        -------
        str or None
            One line if W&B has not got everything: the cause, and how to upload the rest.
        """
        try:
            if preempted:
                self.run.mark_preempting()
            self.run.summary.update(summary or {})
        except SERVICE_GONE:
            # W&B would only fail once more when Python exits.
            atexit.register(_leave_at_once, exit_code)
            return (
                "W&B's service process has ended: what W&B lacks of this run is in metrics.csv and "
                "the other files beside it"
            )
        if preempted and self.finish_timeout > self.preempted_timeout:
            complete = self._finish_within(self.preempted_timeout, exit_code)
        else:
            complete = self._finish(exit_code)
        if complete or self.mode != "online":
            return None
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
            f"`wandb sync --no-skip-online {shlex.quote(str(directory))}`"
        )

    def _finish(self, exit_code: int) -> bool:
        try:
            self.run.finish(exit_code=exit_code)
        except TimeoutError:
            self._timed_out = True
            return False
        return not self.messages.upload_failed

    def _finish_within(self, seconds: float, exit_code: int) -> bool:
        complete = []
        thread = threading.Thread(
            target=lambda: complete.append(self._finish(exit_code)),
            name="wandb-finish",
            daemon=True,
        )
        thread.start()
        thread.join(seconds)
        if not complete:
            self._timed_out = True
            # W&B waits once more when Python exits. This hook comes before its, being younger.
            atexit.register(_leave_at_once, exit_code)
        return bool(complete and complete[0])


def _leave_at_once(exit_code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


def choose_mode(start_timeout: float = PROBE_SECONDS) -> tuple[str, str]:
    """Decide W&B's mode before anything is sent.

    ``WANDB_MODE`` decides where it is set; otherwise online if there is an API key or an agent
    started this process, and the server can be used; otherwise offline.

    Parameters
    ----------
    start_timeout : float
        Seconds to wait for the server's answer, and never more than `PROBE_SECONDS`.

    Returns
    -------
    mode : {"online", "offline", "disabled"}
    reason : str
        One line for the user.

    Raises
    ------
    ValueError
        If ``WANDB_MODE`` is none of W&B's modes, or another of its variables is unusable.
    """
    given = os.environ.get("WANDB_MODE")
    if given == "":
        # As good as unset, but not to W&B.
        del os.environ["WANDB_MODE"]
    elif given is not None:
        if given == "dryrun":
            given = "offline"
        if given not in MODES:
            raise ValueError(f"WANDB_MODE={given}: choose one of {', '.join(MODES)}, or unset it")
        return given, f"W&B is {given} (WANDB_MODE)."
    if not _api_key() and not os.environ.get("WANDB_SWEEP_ID"):
        return "offline", "W&B is offline (no API key). Go online with `wandb login`."
    problem = examine_server(min(PROBE_SECONDS, start_timeout))
    if problem is not None and problem.final:
        return "offline", f"W&B is offline: {problem.cause}."
    return "online", "W&B is online."


def check_project(name: str) -> str:
    """Refuse project names that W&B does not take.

    Parameters
    ----------
    name : str
        Given by the user.

    Returns
    -------
    str
        The name.

    Raises
    ------
    ValueError
        With W&B's own reason.
    """
    try:
        wandb.Settings(project=name)
    except (ValueError, wandb.Error) as error:
        raise ValueError(f"project {name!r} is not a W&B project's name: {error}") from error
    if not name.strip():
        raise ValueError("project is empty: give the name of a W&B project")
    return name


def check_timeout(name: str, seconds: float) -> float:
    """Refuse waits that would have no bound.

    Parameters
    ----------
    name : str
        Option.
    seconds : float
        Given by the user.

    Returns
    -------
    float
        The seconds.

    Raises
    ------
    ValueError
        If they are not more than 0, or longer than a day.
    """
    if not 0 < seconds <= 86_400:
        raise ValueError(f"{name} is {seconds:g}: give seconds, more than 0 and at most a day")
    return seconds


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
) -> WandbSession:
    """Start or continue a W&B run; offline, if the server does not take it in time.

    Parameters
    ----------
    mode : {"online", "offline", "disabled"}
        From `choose_mode`.
    reason : str
        Likewise.
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
    start_timeout, finish_timeout : float
        Seconds to wait for the server, now and at the end.

    Returns
    -------
    WandbSession
        Its run has ``epoch`` as the step metric of every key.
    """
    messages = Messages()

    def start(mode: str) -> wandb.Run:
        wandb.setup()
        messages.listen()
        settings = wandb.Settings(
            init_timeout=start_timeout,
            finish_timeout=finish_timeout,
            finish_timeout_raises=True,
            console="off",
            disable_git=True,
            silent=True,
            stop_fn=stop,
        )
        return wandb.init(
            mode=mode,  # type: ignore[arg-type]
            dir=str(directory),
            id=run_id,
            name=name,
            project=None if os.environ.get("WANDB_SWEEP_ID") else project,
            resume="allow",
            settings=settings,
        )

    began = time.monotonic()
    try:
        run = start(mode)
    except wandb.Error as error:
        if mode != "online":
            raise
        waited = time.monotonic() - began
        cause = _cause(error, min(PROBE_SECONDS, start_timeout))
        reason = f"W&B is offline: {cause} (given up after {waited:.0f} s)."
        # Only a new service process forgets the run that it could not start.
        wandb.teardown()
        mode = "offline"
        run = start(mode)
    run.config.update(config, allow_val_change=True)
    run.define_metric("epoch")
    run.define_metric("*", step_metric="epoch")
    run.define_metric("val/mae", summary="min", step_metric="epoch")
    return WandbSession(run, mode, reason, finish_timeout, messages)


def _cause(error: wandb.Error, seconds: float) -> str:
    problem = examine_server(seconds)
    if problem is not None:
        return problem.cause
    text = " ".join(str(error).split())
    if text.startswith("Timed out"):
        return f"{_settings().base_url} answers too slowly for --wandb_start_timeout"
    return text


def examine_server(seconds: float) -> Problem | None:
    """Ask W&B's server who the API key belongs to.

    Parameters
    ----------
    seconds : float
        To wait for the answer, name resolution included.

    Returns
    -------
    Problem or None
        None if it answers as it should.
    """
    url = _settings().base_url
    found: list[Problem | None] = []
    thread = threading.Thread(
        target=lambda: found.append(_ask(url, _api_key(), seconds)), name="wandb-probe", daemon=True
    )
    thread.start()
    thread.join(seconds)
    return found[0] if found else Problem(f"{url} has not answered within {seconds:g} s", False)


def _ask(url: str, key: str | None, seconds: float) -> Problem | None:
    request = urllib.request.Request(
        f"{url}/graphql",
        data=json.dumps({"query": "query Viewer { viewer { id } }"}).encode(),
        headers={"Content-Type": "application/json", "User-Agent": f"wandb/{wandb.__version__}"},
    )
    if key:
        token = base64.b64encode(f"api:{key}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    try:
        with urllib.request.urlopen(request, timeout=seconds):
            return None
    except urllib.error.HTTPError as error:
        # Of other refusals W&B's own client is the judge: a firewall's 403 may be about this probe.
        if error.code == http.HTTPStatus.UNAUTHORIZED:
            cause = f"{url} does not accept the API key (HTTP {error.code}); see `wandb login`"
            return Problem(cause, True)
        return Problem(f"{url} answers with HTTP {error.code}", False)
    except OSError as error:
        inner = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(inner, TimeoutError):
            return Problem(f"{url} has not answered within {seconds:g} s", False)
        text = inner.strerror if isinstance(inner, OSError) and inner.strerror else inner
        if isinstance(inner, socket.gaierror) or getattr(inner, "errno", None) in _NOBODY:
            return Problem(f"{url} cannot be reached from here ({text})", True)
        return Problem(f"{url} breaks connections off ({text})", False)
    except http.client.HTTPException as error:
        return Problem(f"{url} does not answer as W&B does ({type(error).__name__})", False)


def _settings() -> wandb.Settings:
    try:
        settings: wandb.Settings = wandb.setup().settings
    except ValueError as error:
        text = " ".join(str(error).partition("For further information")[0].split())
        raise ValueError(
            f"W&B refuses a setting ({text}): correct the variable WANDB_... or its settings file"
        ) from error
    return settings


def _api_key() -> str | None:
    settings = _settings()
    return settings.api_key or wbauth.read_netrc_auth(host=settings.base_url)
