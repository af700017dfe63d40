"""``config.yaml``: a run's resolved configuration, and the part of it that determines its result.

Imports the standard library and this package only.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from records.bounded import read_text
from records.bounded_yaml import LARGEST_YAML, parse_yaml
from records.files import write_text
from records.irreps import canonical_irreps

NEUTRAL_KEYS = (
    "data.cache_dir",
    "data.device_resident",
    "data.eval_batch_size",
    "data.predict_split",
)
"""Options that change where a run reads its data or how fast it is, but not what it computes."""
PRETRAINING = "pretraining.epochs"
PRETRAINING_KEYS = (PRETRAINING, "pretraining.sigma", "pretraining.lr")
"""Options of pretraining; without pretraining they are no part of a run's identity."""
DEVICES = "trainer.devices"
LATER_KEYS = {
    "data_class": None,
    "init_from": None,
    "model.edge_irreps": None,
    "model.kept": None,
    "model.inner_irreps": None,
    "model.network": "convnet",
    "model.network_args": None,
    "model.kernel": "auto",
    "model.group_lasso": 0.0,
    "model.power_balance": 0.0,
    "model.unit": None,
    "model.force_weight": 0.0,
}
"""Options that older runs do not know. At these defaults a run's identity is as before."""
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
"""Options of the trainer that are part of a run's identity. The number of devices is among them:
`data.batch_size` counts the molecules of all devices together, but sums in another order round
differently."""


def identity(config: dict[str, Any]) -> dict[str, Any]:
    """Reduce a resolved configuration to the options that determine the result of training.

    Parameters
    ----------
    config : dict
        Nested, as written to ``config.yaml``.

    Returns
    -------
    dict
        Flat, dotted keys, sorted. Irreps are in their canonical spelling, so that a network has one
        identity.
    """
    flat = _with_one_device(flatten(config))
    if isinstance(irreps := flat.get("model.irreps"), str):
        flat["model.irreps"] = canonical_irreps(irreps)
    return {
        key: value
        for key, value in sorted(flat.items())
        if key not in NEUTRAL_KEYS
        and not (key in LATER_KEYS and value == LATER_KEYS[key])
        and (
            key in ("seed_everything", "init_from", "data_class")
            or key.startswith(("model.", "data."))
            or (key in PRETRAINING_KEYS and flat.get(PRETRAINING))
            or key.removeprefix("trainer.") in TRAINER_KEYS
        )
    }


def configuration_hash(config: dict[str, Any]) -> str:
    """Hash the `identity` of a configuration.

    Parameters
    ----------
    config : dict
        Nested, as written to ``config.yaml``.

    Returns
    -------
    str
        First six hexadecimal digits of the SHA-256.
    """
    text = json.dumps(identity(config), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Compare two flat configurations.

    Parameters
    ----------
    before, now : dict
        With dotted keys, as returned by `identity`.

    Returns
    -------
    list of str
        ``"model.lr 0.001 -> 0.01"`` for every key that differs, sorted by key.
    """
    before, now = _with_one_device(before), _with_one_device(now)
    changed = sorted(key for key in {**before, **now} if before.get(key) != now.get(key))
    return [f"{key} {before.get(key)} -> {now.get(key)}" for key in changed]


def _with_one_device(flat: dict[str, Any]) -> dict[str, Any]:
    """Write one device as older runs do, whose default was ``auto``: nearly all had one device."""
    return {**flat, DEVICES: "auto"} if flat.get(DEVICES) in (1, "1") else flat


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn a nested dictionary into one with dotted keys.

    Parameters
    ----------
    config : dict
        Nested.
    prefix : str
        Prepended to every key.

    Returns
    -------
    dict
        ``{"model.irreps": …}``; empty dictionaries are left out.
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def read_configuration(path: Path) -> dict[str, Any]:
    """Read ``config.yaml``.

    Parameters
    ----------
    path : Path
        May be missing.

    Returns
    -------
    dict
        Nested; empty if there is no such file.

    Raises
    ------
    ValueError
        If the file is damaged. The message names it.
    """
    try:
        config = parse_yaml(read_text(path, LARGEST_YAML))
        if not isinstance(config, dict):
            raise ValueError("it is not a mapping")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())})") from error
    return config


def write_configuration(path: Path, text: str) -> None:
    """Write ``config.yaml``, to a temporary file that takes its place.

    Parameters
    ----------
    path : Path
        Destination.
    text : str
        YAML as written by the command line's parser, so that ``--config`` accepts it.
    """
    write_text(path, text)
