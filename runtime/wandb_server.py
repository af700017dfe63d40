"""Whether W&B's server can be used, asked before anything is sent to it.

Imports wandb, requests and this package only.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from dataclasses import dataclass
from http import HTTPStatus

import requests
import wandb

from records.wandb_internals import client_settings, stored_api_key

PROBE_SECONDS = 5.0
"""Longest wait for the server's answer to one question."""
MODES = ("online", "offline", "disabled")
_UNREACHABLE = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH)


@dataclass(frozen=True)
class Problem:
    """Why the server cannot be used.

    Attributes
    ----------
    cause : str
        Words for the user.
    final : bool
        Whether trying again is pointless: nothing listens there, or the key is not accepted.
    """

    cause: str
    final: bool


def choose_mode(start_timeout: float = PROBE_SECONDS) -> tuple[str, str]:
    """Decide on W&B's mode before anything is sent.

    ``WANDB_MODE`` decides if it is set. Otherwise the mode is online if there is an API key or an
    agent started this process, and the server can be used; else it is offline.

    Parameters
    ----------
    start_timeout : float
        Seconds to wait for the server's answer; at most `PROBE_SECONDS` are used.

    Returns
    -------
    mode : {"online", "offline", "disabled"}
    reason : str
        One line for the user.

    Raises
    ------
    ValueError
        If ``WANDB_MODE`` is not one of W&B's modes, or another of its variables is unusable.
    """
    given = os.environ.get("WANDB_MODE")
    if given == "":
        # The user means "unset", but W&B would refuse the empty string.
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
    """Refuse project names that W&B does not accept.

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
        raise ValueError(
            f"project {name!r} is not a name that W&B accepts for a project: {error}"
        ) from error
    if not name.strip():
        raise ValueError("project is empty: give the name of a W&B project")
    return name


def server_url() -> str:
    """Give the URL of W&B's server.

    Raises
    ------
    ValueError
        If one of W&B's variables or its settings file is unusable.
    """
    return str(_settings().base_url)


def examine_server(seconds: float) -> Problem | None:
    """Ask W&B's server whose API key this is.

    Parameters
    ----------
    seconds : float
        Longest wait for the answer, name resolution included.

    Returns
    -------
    Problem or None
        None if the server answers as it should.
    """
    url = server_url()
    found: list[Problem | None] = []
    # Name resolution has no timeout of its own, hence the thread.
    thread = threading.Thread(
        target=lambda: found.append(_ask(url, _api_key(), seconds)), name="wandb-probe", daemon=True
    )
    thread.start()
    thread.join(seconds)
    return found[0] if found else _too_slow(url, seconds)


def _ask(url: str, key: str | None, seconds: float) -> Problem | None:
    try:
        response = requests.post(
            f"{url}/graphql",
            json={"query": "query Viewer { viewer { id } }"},
            auth=("api", key) if key else None,
            headers={"User-Agent": f"wandb/{wandb.__version__}"},
            timeout=seconds,
        )
    except requests.RequestException as error:
        return _connection_problem(url, error, seconds)
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        cause = (
            f"{url} does not accept the API key (HTTP {response.status_code}); see `wandb login`"
        )
        return Problem(cause, final=True)
    if not response.ok:
        # Other refusals are not final. A firewall's 403, for one, may concern this question only,
        # so W&B's own client is to find out.
        return Problem(f"{url} answers with HTTP {response.status_code}", final=False)
    return None


def _connection_problem(url: str, error: requests.RequestException, seconds: float) -> Problem:
    root = _root_cause(error)
    if isinstance(error, requests.Timeout) or isinstance(root, TimeoutError):
        return _too_slow(url, seconds)
    if not isinstance(root, OSError) or isinstance(root, requests.RequestException):
        return Problem(f"{url} does not answer as W&B does ({type(root).__name__})", final=False)
    text = root.strerror or root
    if isinstance(root, socket.gaierror) or root.errno in _UNREACHABLE:
        return Problem(f"{url} cannot be reached from here ({text})", final=True)
    return Problem(f"{url} breaks connections off ({text})", final=False)


def _root_cause(error: BaseException) -> BaseException:
    """Find the operating system's error under those that requests and urllib3 wrap around it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def _too_slow(url: str, seconds: float) -> Problem:
    return Problem(f"{url} has not answered within {seconds:g} s", final=False)


def has_api_key() -> bool:
    """Whether there is an API key for W&B's server."""
    return bool(_api_key())


def _settings() -> wandb.Settings:
    try:
        settings = client_settings()
    except ValueError as error:
        text = " ".join(str(error).partition("For further information")[0].split())
        raise ValueError(
            f"W&B refuses a setting ({text}): correct the variable WANDB_... or its settings file"
        ) from error
    return settings


def _api_key() -> str | None:
    settings = _settings()
    return settings.api_key or stored_api_key(settings.base_url)
