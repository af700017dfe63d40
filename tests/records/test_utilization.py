"""utilization.csv and its wording."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from records.utilization import (
    BlockUtilization,
    Utilization,
    UtilizationTable,
    in_words,
    read_table,
)

NAN = float("nan")


def utilization(ablation: float = 41.2, half: float = 6.0) -> Utilization:
    numbers = (0.1, 0.25, 3.5, 0.01, ablation, ablation - half, ablation + half)
    rows = [
        BlockUtilization("layer3", "1o", 32, *numbers, True, "used"),
        BlockUtilization(
            "layer4", "1o", 0, NAN, NAN, NAN, NAN, 0.0, 0.0, 0.0, False, "unreachable"
        ),
        BlockUtilization("network", "1o", 32, NAN, NAN, NAN, NAN, *numbers[4:], True, "used"),
    ]
    return Utilization(rows, mae=123.456, num_molecules=1000)


def test_table_comes_back_as_written(tmp_path: Path) -> None:
    table = UtilizationTable(tmp_path / "utilization.csv", "meV")
    table.add(-1, utilization(1 / 3))
    table.add(0, utilization(2.0))
    back = read_table(table.path)
    assert list(back) == [-1, 0]
    assert back[-1].rows[0] == utilization(1 / 3).rows[0]
    assert (back[0].mae, back[0].num_molecules) == (123.456, 1000)
    assert math.isnan(back[0].rows[1].power)
    assert [path.name for path in tmp_path.iterdir()] == ["utilization.csv"]


def test_an_epoch_is_written_once_and_later_ones_can_be_dropped(tmp_path: Path) -> None:
    table = UtilizationTable(tmp_path / "utilization.csv", "meV")
    for epoch in (-1, 0, 1, 1, 2):
        table.add(epoch, utilization(epoch + 2.0))
    assert len(table.path.read_text().splitlines()) == 1 + 4 * 3
    again = UtilizationTable(table.path, "meV")
    again.drop_after(0)
    assert list(read_table(table.path)) == [-1, 0]
    assert again.last_epoch == 0
    again.drop_after(-2)
    assert read_table(table.path) == {}


@pytest.mark.parametrize("damage", [",1.5,", ",abc,"])
def test_damaged_file_is_named_with_its_line(tmp_path: Path, damage: str) -> None:
    table = UtilizationTable(tmp_path / "utilization.csv", "meV")
    table.add(0, utilization())
    lines = table.path.read_text().splitlines()
    lines[2] = lines[2].replace(",False,", damage)
    table.path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="utilization.csv is damaged in line 3"):
        read_table(table.path)


def test_words_name_layer_irrep_verdict_effect_and_baseline() -> None:
    assert in_words(utilization(), "meV", utilization(2.2, 0.04)).splitlines() == [
        "layer 3, 1o: used, +41 meV [35, 47] when removed (untrained: +2.20)",
        "layer 4, 1o: unreachable",
        "all layers, 1o: used, +41 meV [35, 47] when removed (untrained: +2.20)",
    ]


@pytest.mark.parametrize(
    ("ablation", "half", "expected"),
    [
        (-0.2, 3.0, "0 D [-3, 3]"),
        (-12.0, 3.0, "-12 D [-15, -9]"),
        (0.00123, 0.0004, "+0.0012 D [0.0008, 0.0016]"),
        (12345.6, 100.0, "+12,346 D [12,246, 12,446]"),
        (0.0, 0.0, "0 D [0, 0]"),
        (1.0, NAN, "+1 D [nan, nan]"),
    ],
)
def test_numbers_have_the_digits_that_the_interval_supports(
    ablation: float, half: float, expected: str
) -> None:
    line = in_words(utilization(ablation, half), "D").splitlines()[0]
    assert line == f"layer 3, 1o: used, {expected} when removed"
