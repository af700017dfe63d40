"""Which of several processes this one is.

Imports Lightning only.
"""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_only


def is_rank_zero() -> bool:
    """Whether this process is the one that writes files and prints.

    Returns
    -------
    bool
        True also where there is only one process. Known before a trainer exists, from the
        environment variables that launchers set.
    """
    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined]
