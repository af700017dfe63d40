"""A run's name from its configuration, so that the same command finds its own run again.

Imports the standard library only.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

NEUTRAL_KEYS = (
    "data.cache_dir",
    "data.device_resident",
    "data.eval_batch_size",
    "data.predict_split",
)
"""Options that change where or how fast a run goes, but not what it computes."""
TRAINER_KEYS = (
    "max_epochs",
    "max_steps",
    "min_epochs",
    "precision",
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "overfit_batches",
    "fast_dev_run",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "devices",
    "num_nodes",
)
"""The trainer's options that are part of a run's identity. The number of devices is one although
`data.batch_size` counts the molecules of all: the same sums in another order round otherwise."""


def identity(config: dict[str, Any]) -> dict[str, Any]:
    """Reduce a resolved configuration to what decides the result of training.

    Parameters
    ----------
    config : dict
        Nested, as written to ``config.yaml``.

    Returns
    -------
    dict
        Flat, dotted keys, sorted.
    """
    flat = flatten(config)
    return {
        key: value
        for key, value in sorted(flat.items())
        if key not in NEUTRAL_KEYS
        and (
            key == "seed_everything"
            or key.startswith(("model.", "data."))
            or key.removeprefix("trainer.") in TRAINER_KEYS
        )
    }


def configuration_hash(config: dict[str, Any]) -> str:
    """Six hexadecimal digits that stand for a configuration.

    Parameters
    ----------
    config : dict
        Nested, as written to ``config.yaml``.

    Returns
    -------
    str
        First digits of the SHA-256 of `identity`.
    """
    text = json.dumps(identity(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def default_run_name(config: dict[str, Any], irreps: str) -> str:
    """Name a run by target, irreps, seed and hash, e.g. ``U0-32x0e+32x1o-s0-3f9c1a``.

    Parameters
    ----------
    config : dict
        Nested resolved configuration.
    irreps : str
        Canonical irreps of the network.

    Returns
    -------
    str
    """
    target = config["data"]["target"]
    seed = config["seed_everything"]
    return f"{target}-{irreps}-s{seed}-{configuration_hash(config)}"


def check_run_name(name: str) -> str:
    """Refuse names that cannot be a directory's or a W&B run's.

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
        If it is empty, too long, starts with a dot or has other characters than letters,
        digits and ``._+=,-``.
    """
    if not re.fullmatch(r"[A-Za-z0-9_+=,-][A-Za-z0-9._+=,-]{0,199}", name):
        raise ValueError(
            f"run_name {name!r} is unusable: take 1 to 200 letters, digits or ._+=,- and no "
            "leading dot"
        )
    return name


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn a nested dictionary into one with dotted keys.

    Parameters
    ----------
    config : dict
        Nested.
    prefix : str
        Put before every key.

    Returns
    -------
    dict
        ``{"model.irreps": ...}``; empty dictionaries vanish.
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat
