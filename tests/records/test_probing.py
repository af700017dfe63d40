"""probe.csv and linear_probes.csv: what is written is read, and damage is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.verdicts import rejudged
from records.probing import (
    LinearProbe,
    Probing,
    read_linear_probes,
    read_probing,
    write_linear_probes,
    write_probing,
)
from records.utilization import BlockUtilization, Effect, Utilization

EFFECTS = {
    "reliance": Effect(3.0, 2.0, 4.0, "relied on"),
    "probe": Effect(0.1, -1.0, 1.0, "undecided"),
}
ROWS = [
    BlockUtilization("layer0", "1e", 64, True, 0.5, 0.25, 12.0, 1.5, 2.5, EFFECTS),
    BlockUtilization("network", "1e&2e", 96, True, effects={}),
]
FOUND = Probing(
    "sevenn:7net-0", "QM9, 2", "shift", "energy", "meV", 50.0, Utilization(ROWS, 50.0, 99)
)
LINEAR = LinearProbe("gap", "meV", "l = 1", 9, 99, 1.0, 0.5, 1.5, 0.9, 0.8, 1.0, 2.0, 1.0, 3.0, "")


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "probe.csv"
    write_probing(path, FOUND)
    # NaN is not equal to itself, so texts are compared.
    assert repr(read_probing(path)) == repr(FOUND)
    write_linear_probes(path, [LINEAR, replace(LINEAR, target="U0")])
    assert read_linear_probes(path) == [LINEAR, replace(LINEAR, target="U0")]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("relied on", "liked", "in line 2"),
        ("shift", "drift", "in line 2"),
        ("True", "maybe", "in line 2"),
        ("quantity", "quality", "no such table"),
    ],
)
def test_damage_is_named(tmp_path: Path, before: str, after: str, words: str) -> None:
    path = tmp_path / "probe.csv"
    write_probing(path, FOUND)
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(ValueError, match=words):
        read_probing(path)


def test_missing_and_cut_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"probe\.csv is missing: probe\.py writes it"):
        read_probing(tmp_path / "probe.csv")
    path = tmp_path / "linear_probes.csv"
    write_linear_probes(path, [LINEAR])
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match="is damaged"):
        read_linear_probes(path)


def test_verdicts_follow_the_scale() -> None:
    judged = rejudged(FOUND.utilization, 1000.0)
    assert judged.mae == 1000.0
    assert [e.verdict for e in judged.rows[0].effects.values()] == ["negligible", "negligible"]
    unreachable = replace(ROWS[0], effects={"reliance": Effect(0, 0, 0, "unreachable")})
    (row,) = rejudged(Utilization([unreachable], 1.0, 99), 5.0).rows
    assert row.effects["reliance"].verdict == "unreachable"
