"""nested.csv: what is written is read back, and damage is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from records.nested import Estimate, NestedEpoch, NestedTable, read_nested, write_nested


def epoch(shift: float = 0.0) -> NestedEpoch:
    estimates = [Estimate(value + shift, value - 1, value + 2) for value in (9.5, 7.0, 6.0, 3.25)]
    names = ("0", "0,1", "0,2", "0,1,2")
    return NestedEpoch(dict(zip(names, estimates)), {1: estimates[1], 2: estimates[2]}, 500)


def test_a_table_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "nested.csv"
    assert read_nested(path) == {}
    write_nested(path, {3: epoch(0.1), 0: epoch()}, "meV")
    assert read_nested(path) == {0: epoch(), 3: epoch(0.1)}
    lines = path.read_text().splitlines()
    assert lines[0] == "epoch,quantity,degrees,value,low,high,unit,num_molecules"
    assert lines[2] == '0,mae,"0,1",7.0,6.0,9.0,meV,500'


def test_epochs_that_are_trained_again_are_dropped_and_replaced(tmp_path: Path) -> None:
    table = NestedTable(tmp_path / "nested.csv", "meV")
    for number in range(3):
        table.add(number, epoch(number))
    table.drop_after(1)
    assert sorted(read_nested(table.path)) == [0, 1]
    table.add(1, epoch(7.0))
    assert NestedTable(table.path, "meV").epochs == {0: epoch(), 1: epoch(7.0)}


@pytest.mark.parametrize(
    "damaged", ["0,mae,0,x,1,2,meV,5", "0,mean,0,1,1,2,meV,5", "0,shapley,a,1,1,2,meV,5", "0,mae"]
)
def test_a_damaged_line_is_named(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "nested.csv"
    write_nested(path, {0: epoch()}, "meV")
    path.write_text(path.read_text() + damaged + "\n")
    with pytest.raises(ValueError, match=r"nested.csv is damaged in line 8"):
        read_nested(path)
