"""Naming a run after its configuration, so that the same command finds its own run again.

Imports `records` only.
"""

from __future__ import annotations

import re
from typing import Any

from records.configuration import configuration_hash


def default_run_name(config: dict[str, Any], irreps: str) -> str:
    """Name a run by target, irreps, seed and hash, e.g. ``U0-32x0e+32x1o-s0-3f9c1a``.

    Parameters
    ----------
    config : dict
        Nested resolved configuration.
    irreps : str
        Canonical irreps of the network.
    """
    target = config["data"]["target"]
    seed = config["seed_everything"]
    return f"{target}-{irreps}-s{seed}-{configuration_hash(config)}"


def check_run_name(name: str) -> str:
    """Refuse names that are unusable for a directory or a W&B run.

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
        If the name is empty, too long, starts with a dot, or has characters other than letters,
        digits and ``._+=,-``.
    """
    if not re.fullmatch(r"[A-Za-z0-9_+=,-][A-Za-z0-9._+=,-]{0,199}", name):
        raise ValueError(
            f"run_name {name!r} is unusable: take 1 to 200 letters, digits or ._+=,- and no "
            "leading dot"
        )
    return name
