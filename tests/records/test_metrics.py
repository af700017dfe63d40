"""metrics.csv: rows survive to the last bit, and a damaged one is named with its line."""

from __future__ import annotations

from pathlib import Path

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.metrics import Row, read_metrics, write_metrics

KEYS = st.sampled_from(["val/mae", "train/loss", 'a "quoted", key', "über/maß", "two\nlines"])
TABLES = st.dictionaries(
    st.integers(-1, 10**6),
    st.dictionaries(KEYS, st.floats(allow_nan=False), max_size=4),
    max_size=6,
).map(lambda rows: {epoch: {"epoch": float(epoch), **row} for epoch, row in rows.items()})


@given(TABLES)
def test_what_is_written_is_read_back_to_the_last_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[int, Row]
) -> None:
    path = tmp_path_factory.mktemp("metrics") / "metrics.csv"
    write_metrics(path, rows)
    assert read_metrics(path) == rows
    assert list(read_metrics(path)) == sorted(rows)


def test_pandas_reads_the_same_table(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics(path, {0: {"epoch": 0, "val/mae": 3.5}, -1: {"epoch": -1, "power": 0.1}})
    table = pandas.read_csv(path)
    assert table["epoch"].tolist() == [-1, 0]
    assert table["val/mae"][1] == 3.5
    assert table["power"].isna().tolist() == [False, True]


def test_numbers_that_are_not_finite_survive(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write_metrics(path, {0: {"epoch": 0, "a": float("nan"), "b": float("-inf")}})
    assert repr(read_metrics(path)[0]) == "{'epoch': 0, 'a': nan, 'b': -inf}"


def test_a_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.csv") == {}


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    read_metrics(tmp_path / "metrics.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        b"1,half-writ", b"0,1.0", b"1", b"1,2,3", b"1,\xff", b"1,\x00", b'1,"2',
        b"inf,1", b"-inf,1", b"nan,1", b"0.5,1", b",1",
    ],
)  # fmt: skip
def test_a_damaged_row_is_named_with_its_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"epoch,val/mae\n0,1.0\n" + line + b"\n")
    with pytest.raises(ValueError, match=r"metrics\.csv is damaged in line 3.*--fresh"):
        read_metrics(path)


def test_rows_without_an_epoch_are_damaged(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,val/mae\n0,1.0\n")
    with pytest.raises(ValueError, match=r"metrics\.csv is damaged in line 2"):
        read_metrics(path)
