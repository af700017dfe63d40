"""The only place of this package that imports private parts of wandb.

`tests/runtime/test_wandb_internals.py` fails when a release of wandb changes them.
Imports wandb only.
"""

from __future__ import annotations

from wandb.sdk.lib.wbauth import read_netrc_auth
from wandb.sdk.mailbox import HandleAbandonedError, MailboxClosedError

SERVICE_GONE = (ConnectionError, HandleAbandonedError, MailboxClosedError)
"""What W&B's calls raise when its service process has been killed."""


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
