"""The benchmark of growth measures sizes apart, goes on where it stopped, and computes right."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from benchmarks.result_rows import ResultRows
from benchmarks.scale import __main__ as program
from benchmarks.scale.axes import AXES, measure
from benchmarks.scale.costs import Cost, Meter, exponent, table
from benchmarks.scale.runs import write_runs
from benchmarks.scale.structures import crystal
from reporting.build import read_runs
from reporting.compare.groups import group_runs

NAN = math.nan


def cost(size: int, number: int, cpu: float, peak: float, output: float = NAN) -> Cost:
    return Cost("report", "report.py", size, number, cpu, peak, output)


def test_exponents_are_those_of_powers() -> None:
    for power in (1, 2, 2.5):
        assert exponent((8, 3 * 8**power), (24, 3 * 24**power)) == pytest.approx(power)


def test_the_table_shows_medians_and_exponents() -> None:
    rows = [
        *(cost(10, n, cpu, 5.0, 1.0) for n, cpu in enumerate((1.0, 1.1, 9.0))),
        *(cost(20, n, cpu, 10.0, 2.0) for n, cpu in enumerate((4.3, 4.4, 4.5))),
        cost(40, 0, 4.4, 0.0, 4.0),
    ]
    assert list(table(rows, "runs")) == [
        "| report.py, 1 … 4 MB written | 10 … 40 runs | 1.1 … 4.4 | 110 | 2.0 0.0 | 5 … 0 | 1.0 – |"
    ]


def test_a_meter_sees_time_and_memory() -> None:
    meter = Meter("report", 1, 0, [])
    found = meter.measure("work", lambda: bytearray(b"\1") * 50_000_000, lambda b: len(b) / 1e6)
    assert len(found) == 50_000_000
    (row,) = meter.costs
    assert row.cpu_seconds > 0
    assert row.peak_mb > 40
    assert row.output_mb == 50


def test_what_was_measured_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def apart(axis: str, size: int, number: int) -> list[Cost]:
        asked.append((size, number))
        return [cost(size, number, size / 100, 1.0)]

    monkeypatch.setattr(program, "measure_apart", apart)
    path = tmp_path / "benchmark.csv"
    options = ["--axes", "report", "--rounds", "1", "--largest", "64", "--results", str(path)]
    program.main(options)
    program.main([*options, "--rounds", "2"])
    assert asked == [(size, number) for number in (0, 1) for size in (16, 32, 64)]
    assert len(ResultRows(Cost, path).rows) == 6
    printed = capsys.readouterr().out
    assert "| one comparison: report.py | 16 … 64 runs | 0.16 … 0.64 | 10 | 1.0 1.0 |" in printed


@pytest.mark.parametrize(
    ("axis", "size", "parts"),
    [
        ("report", 8, ["`report.py`"]),
        ("groups", 20, ["`report.py`"]),
        ("sweep", 8, ["planning", "starting and ending trials", "planning, all finished"]),
        ("atoms", 16, ["reading the file", "finding edges", "collating"]),
        ("convnet", 16, ["training step"]),
        ("gated", 16, ["training step"]),
        ("molecules", 100, ["radius graph", "bonds"]),
    ],
)
def test_every_axis_can_be_measured(
    axis: str, size: int, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = measure(axis, size, 3, tmp_path)
    assert [row.part for row in costs] == parts
    assert {(row.axis, row.size, row.round) for row in costs} == {(axis, size, 3)}


def test_sizes_go_in_steps_of_two() -> None:
    for axis in AXES.values():
        for size, following in zip(axis.sizes, axis.sizes[1:]):
            assert following / size == pytest.approx(2, abs=1e-4)


def test_made_runs_form_the_groups_that_were_asked_for(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs", 40, 16)
    groups = group_runs(read_runs([tmp_path / "runs"]).runs)
    assert [len(group.counted_runs) for group in groups] == [16, 16, 8]
    assert [len(group.sets) for group in groups] == [4, 4, 4]


def test_crystals_are_cubes_of_cells() -> None:
    assert len(crystal(2048)) == 2048
    lengths = crystal(512).cell.lengths()
    assert lengths.max() / lengths.min() == pytest.approx(2)
    for wrong in (100, 12):
        with pytest.raises(ValueError, match=f"{wrong} atoms are no crystal"):
            crystal(wrong)
