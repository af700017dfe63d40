"""config.yaml: read back as written, and reduced to what determines a result."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from records.configuration import (
    configuration_hash,
    differences,
    flatten,
    identity,
    read_configuration,
    write_configuration,
)

CONFIG: dict[str, Any] = {
    "seed_everything": 0,
    "runs_dir": "runs",
    "fresh": False,
    "model": {"irreps": "8x0e", "lr": 0.001},
    "data": {"target": "U0", "cache_dir": None, "train_size": 100},
    "trainer": {"max_epochs": 3, "enable_progress_bar": True},
}
NAMES = st.text("abc", min_size=1, max_size=3)
LEAVES = st.none() | st.booleans() | st.integers() | st.text("xyz é:#", max_size=5)
NESTED = st.dictionaries(NAMES, LEAVES | st.dictionaries(NAMES, LEAVES, min_size=1), max_size=4)


def with_option(key: str, value: Any) -> dict[str, Any]:
    """`CONFIG` with one option changed."""
    config = deepcopy(CONFIG)
    *parents, last = key.split(".")
    target = config
    for parent in parents:
        target = target[parent]
    assert last in target
    target[last] = value
    return config


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
    assert configuration_hash(with_option(key, value)) != configuration_hash(CONFIG)


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
    assert configuration_hash(with_option(key, value)) == configuration_hash(CONFIG)


def test_options_of_pretraining_matter_where_there_is_any() -> None:
    def hashed(**options: Any) -> str:
        off = {"epochs": 0, "sigma": 0.05, "lr": None, "num_molecules": 500}
        return configuration_hash({**CONFIG, "pretraining": {**off, **options}})

    without = configuration_hash(CONFIG)  # as of runs that do not know the option
    assert hashed() == hashed(sigma=0.1, lr=0.01) == without
    one = hashed(epochs=1)
    assert hashed(epochs=1, num_molecules=10) == one
    assert len({without, one, hashed(epochs=2), hashed(epochs=1, sigma=0.1)}) == 4
    assert hashed(epochs=1, lr=0.01) not in (without, one)


def test_the_hash_does_not_depend_on_the_order_of_options() -> None:
    assert configuration_hash(dict(reversed(CONFIG.items()))) == configuration_hash(CONFIG)


def test_identity_is_flat_sorted_and_has_no_paths() -> None:
    assert list(identity(CONFIG).items()) == [
        ("data.target", "U0"),
        ("data.train_size", 100),
        ("model.irreps", "8x0e"),
        ("model.lr", 0.001),
        ("seed_everything", 0),
        ("trainer.max_epochs", 3),
    ]


def test_differences_name_what_changed_was_added_and_was_removed() -> None:
    before, now = {"a": 1, "b": 2, "d": 4}, {"a": 1, "b": 3, "c": 5}
    assert differences(before, now) == ["b 2 -> 3", "c None -> 5", "d 4 -> None"]
    assert differences(before, dict(before)) == []


def test_flatten_joins_keys_with_dots() -> None:
    config = {"a": 1, "b": {"c": {"d": None}, "e": [1, {"f": 2}]}, "g": {}}
    assert flatten(config) == {"a": 1, "b.c.d": None, "b.e": [1, {"f": 2}]}


@given(NESTED)
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("configuration") / "config.yaml"
    write_configuration(path, yaml.safe_dump(config))
    assert read_configuration(path) == config


def test_a_missing_file_is_empty(tmp_path: Path) -> None:
    assert read_configuration(tmp_path / "config.yaml") == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"model: [",
        b"- a\n- b\n",
        b"just words",
        b"\xff\xfe\x00",
        b"model: !!python/object/apply:os.system ['touch PWNED']",
    ],
)
def test_a_damaged_file_is_named_in_one_line(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.yaml is damaged") as caught:
        read_configuration(path)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yaml"], "a tag was executed"


def test_one_device_is_the_same_run_as_before_it_was_the_default() -> None:
    of_old, of_now, of_two = ({"trainer": {"devices": devices}} for devices in ("auto", 1, 2))
    assert identity(of_now) == identity(of_old) != identity(of_two)
    assert configuration_hash(of_now) == configuration_hash(of_old) != configuration_hash(of_two)
    # Runs whose command line said so have recorded the number itself.
    assert differences({"trainer.devices": 1}, identity(of_now)) == []
    assert differences({"trainer.devices": 2}, identity(of_now)) == ["trainer.devices 2 -> auto"]
