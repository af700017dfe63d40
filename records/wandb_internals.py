"""The only place of the project that imports private parts of wandb.

`tests/records/test_wandb_internals.py` fails when a release of wandb changes them.
Imports wandb only.
"""

from __future__ import annotations

import os
from pathlib import Path

import wandb
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]
from wandb.sdk import wandb_setup
from wandb.sdk.data_types._private import MEDIA_TMP
from wandb.sdk.lib.service.service_connection import WandbApiFailedError
from wandb.sdk.lib.service.service_port_file import ServicePollForTokenError
from wandb.sdk.lib.service.service_token import WandbServiceConnectionError
from wandb.sdk.lib.wbauth import read_netrc_auth
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

SERVICE_GONE = (
    ConnectionError,
    HandleAbandonedError,
    MailboxClosedError,
    ServicePollForTokenError,
    WandbServiceConnectionError,
)
"""What W&B's calls raise when its service process has been killed, or is killed as it starts."""

API_ERRORS = (WandbApiFailedError,)
"""What W&B's public API raises beside `wandb.Error` when its server refuses or fails."""

MEDIA_FOLDER = Path(MEDIA_TMP.name)
"""In which W&B's client prepares pictures and tables, made once per process. On some machines such
folders are removed when they are some days old."""

__all__ = [
    "API_ERRORS",
    "MEDIA_FOLDER",
    "SERVICE_GONE",
    "FileTable",
    "Record",
    "client_settings",
    "forget_inherited_service",
    "start_service",
    "stored_api_key",
]


class FileTable(wandb.Table):
    """A table that W&B keeps as a file of the run alone.

    A `wandb.Table` becomes an artifact too, for which the client asks the server, and waits 19 s if
    that does not answer.
    """

    _log_type = "table-file"


def client_settings() -> wandb.Settings:
    """Read the settings of W&B's client, without starting its service process."""
    return wandb_setup._setup(start_service=False).settings


def forget_inherited_service() -> None:
    """Let W&B start a service process of its own in this process.

    A process above this one may have left the address of its service, which may be gone, and which
    does not outlive a signal to the job as a service that is started here does. A service that this
    process has started stays known.
    """
    os.environ.pop("WANDB_SERVICE", None)


def start_service() -> None:
    """Start W&B's service process, if there is none.

    `wandb.setup` does that under a lock which it takes a second time, and so hangs for ever, if the
    service process is killed as it starts.

    Raises
    ------
    *SERVICE_GONE
        If the service process has ended.
    """
    wandb_setup._setup(start_service=False).ensure_service()


def stored_api_key(url: str) -> str | None:
    """Look up the API key that ``wandb login`` has stored.

    Parameters
    ----------
    url : str
        Base URL of W&B's server.

    Returns
    -------
    str or None
        None if no key is stored for this server.
    """
    return read_netrc_auth(host=url)
