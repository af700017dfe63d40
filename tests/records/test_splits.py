"""splits.npz: read back as written, compared part by part, and named when damaged."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.splits import Splits, read_splits, write_splits

PART = st.lists(st.integers(0, 2**62), max_size=5).map(lambda n: np.array(n, dtype=np.int64))
SPLITS = Splits(train=np.array([3, 1]), val=np.array([2]), test=np.array([5, 4]))


@given(st.builds(Splits, train=PART, val=PART, test=PART))
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, splits: Splits
) -> None:
    path = tmp_path_factory.mktemp("splits") / "splits.npz"
    write_splits(path, splits)
    assert read_splits(path).first_difference(splits) is None


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_the_first_part_that_differs_is_named(part: str) -> None:
    order_changed = replace(SPLITS, test=SPLITS.test[::-1])
    assert SPLITS.first_difference(replace(order_changed, **{part: np.array([9])})) == part
    assert SPLITS.first_difference(order_changed) == "test"


def archive(**arrays: Any) -> bytes:
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def single_array() -> bytes:
    content = io.BytesIO()
    np.save(content, np.arange(3))
    return content.getvalue()


WHOLE = {"train": [0], "val": [1], "test": [2]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        single_array(),
        archive(**WHOLE)[:-40],
        archive(train=[0], val=[1]),
        archive(**{**WHOLE, "test": [0.5]}),
        archive(**{**WHOLE, "test": [[2]]}),
        archive(**{**WHOLE, "test": ["two"]}),
        archive(**{**WHOLE, "test": np.array([{"pickled": True}])}),
    ],
    ids=["empty", "text", "npy", "truncated", "part", "float", "matrix", "words", "object"],
)
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "splits.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"splits\.npz cannot be read as a saved split.*remove it"):
        read_splits(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"splits\.npz cannot be read"):
        read_splits(tmp_path / "splits.npz")
