"""utilization.csv."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from records.utilization import (
    BlockUtilization,
    Effect,
    Utilization,
    UtilizationTable,
    read_table,
)


def utilization(reliance: float = 41.2, half: float = 6.0) -> Utilization:
    effect = Effect(reliance, reliance - half, reliance + half, "relied on")
    nothing = Effect(0.0, 0.0, 0.0, "unreachable")
    rows = [
        BlockUtilization(
            "layer3", "1o", 32, True, 0.1, 0.25, 3.5, -0.01, 2.0, {"reliance": effect}
        ),
        BlockUtilization("layer4", "1o", 0, False, effects={"reliance": nothing}),
        BlockUtilization(
            "network", "1o&2e", 64, True, effects={"reliance": effect, "interaction": effect}
        ),
    ]
    return Utilization(rows, mae=123.456, num_molecules=1000)


def test_table_comes_back_as_written(tmp_path: Path) -> None:
    table = UtilizationTable(tmp_path / "utilization.csv", "meV")
    table.add(-1, utilization(1 / 3))
    table.add(0, utilization(2.0))
    back = read_table(table.path)
    assert list(back) == [-1, 0]
    assert back[-1].rows[0] == utilization(1 / 3).rows[0]
    assert back[-1].rows[2].effects == utilization(1 / 3).rows[2].effects
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


@pytest.mark.parametrize("damage", [",1.5,", ",abc,", ",False,,,,,,1.0,2.0,3.0,used"])
def test_damaged_file_is_named_with_its_line(tmp_path: Path, damage: str) -> None:
    table = UtilizationTable(tmp_path / "utilization.csv", "meV")
    table.add(0, utilization())
    lines = table.path.read_text().splitlines()
    lines[2] = lines[2].replace(",False,", damage)
    table.path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match="utilization.csv is damaged in line 3"):
        read_table(table.path)
