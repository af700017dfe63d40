"""The same configuration has the same name; what changes the result changes the name."""

from copy import deepcopy
from typing import Any

import pytest

from records.configuration import configuration_hash, flatten, identity
from runtime.run_name import check_run_name, default_run_name

CONFIG: dict[str, Any] = {
    "seed_everything": 0,
    "runs_dir": "runs",
    "fresh": False,
    "model": {"irreps": "8x0e", "lr": 0.001},
    "data": {"target": "U0", "cache_dir": None, "train_size": 100},
    "trainer": {"max_epochs": 3, "enable_progress_bar": True},
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model.lr", 0.01),
        ("data.train_size", 200),
        ("trainer.max_epochs", 4),
        ("seed_everything", 1),
    ],
)
def test_what_changes_the_result_changes_the_hash(key: str, value: float) -> None:
    assert configuration_hash(_with(key, value)) != configuration_hash(CONFIG)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("runs_dir", "elsewhere"),
        ("fresh", True),
        ("data.cache_dir", "/scratch"),
        ("trainer.enable_progress_bar", False),
    ],
)
def test_what_does_not_change_the_result_keeps_the_hash(key: str, value: Any) -> None:
    assert configuration_hash(_with(key, value)) == configuration_hash(CONFIG)


def test_default_name_says_target_irreps_seed_and_hash() -> None:
    name = default_run_name(CONFIG, "8x0e")
    assert name == f"U0-8x0e-s0-{configuration_hash(CONFIG)}"
    assert check_run_name(name) == name


def test_identity_is_flat_and_has_no_paths() -> None:
    assert identity(CONFIG) == {
        "data.target": "U0",
        "data.train_size": 100,
        "model.irreps": "8x0e",
        "model.lr": 0.001,
        "seed_everything": 0,
        "trainer.max_epochs": 3,
    }


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "x" * 201, "ä", "..", "a\n"])
def test_unusable_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="run_name .* is unusable"):
        check_run_name(name)


def _with(key: str, value: Any) -> dict[str, Any]:
    config = deepcopy(CONFIG)
    *parents, last = key.split(".")
    target = config
    for parent in parents:
        target = target[parent]
    target[last] = value
    assert key in flatten(config)
    return config
