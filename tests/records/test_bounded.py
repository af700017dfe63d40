"""Files made to exhaust time, memory or the stack are refused in one line that names them."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from records.bounded import LONGEST_LINE
from records.configuration import read_configuration
from records.metrics import read_metrics
from records.splits import read_splits
from records.summary import read_summary
from records.utilization import read_table
from sweeping.file import load_sweep_file

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij")
)
HOSTILE_YAML = {
    "nested lists": "a: " + "[" * 900 + "]" * 900,
    "nested mappings": "a: " + "{b: " * 100_000,
    "billion laughs": LAUGHS,
    "sexagesimal number": "a: " + "1:" * 50_000 + "1",
    "contains itself": "a: &a [*a]",
    "tag without value": "a: !!int ''",
    "long": "a: [" + "1," * 600_000 + "1]",
}


@pytest.mark.parametrize("text", HOSTILE_YAML.values(), ids=HOSTILE_YAML)
def test_hostile_yaml_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    for read in (read_configuration, load_sweep_file):
        with pytest.raises(ValueError, match="a.yaml") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_summary_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text('{"a": ' + "[" * 100_000)
    with pytest.raises(ValueError, match="summary.json is damaged .*too deeply"):
        read_summary(path)


@pytest.mark.parametrize("content", ["epoch\n" + "1" * (LONGEST_LINE + 1), "epoch\n\0\n"])
def test_a_hostile_line_of_a_table_is_refused(content: str, tmp_path: Path) -> None:
    for name, read in (("metrics.csv", read_metrics), ("utilization.csv", read_table)):
        (tmp_path / name).write_text(content)
        with pytest.raises(ValueError, match=f"{name} is damaged in line"):
            read(tmp_path / name)


@pytest.mark.parametrize("read", [read_metrics, read_table, read_summary, read_splits])
def test_nobody_waits_for_a_pipe_or_reads_a_huge_file(read: object, tmp_path: Path) -> None:
    pipe, huge = tmp_path / "pipe", tmp_path / "huge"
    os.mkfifo(pipe)
    huge.touch()
    os.truncate(huge, 2**40)  # takes no room on the disk
    for path in (pipe, huge):
        with pytest.raises(ValueError, match=path.name):
            read(path)  # type: ignore[operator]


def test_arrays_that_unpack_to_more_than_fits_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "splits.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({10**15},), }}"
        archive.writestr(
            "train.npy", b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(117).encode() + b"\n"
        )
    with pytest.raises(ValueError, match="splits.npz cannot be read"):
        read_splits(path)
