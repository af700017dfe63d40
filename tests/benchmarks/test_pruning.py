"""The benchmark of pruning goes on where it stopped, chooses as a user would, and compares."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.pruning import SCRATCH, WHOLE, Result, Results, chosen_point, summary
from pruning.state import PointState


def row(way: str, level: float, run: int, before: float, mae: float) -> Result:
    return Result(way, level, run, level - 0.05 if level < 1 else 1.0, 12.0, before, mae, "8x0e")


def test_results_are_found_again_in_their_file(tmp_path: Path) -> None:
    results = Results(tmp_path / "benchmark.csv")
    results.note(row("missed", 0.5, 0, 80.0, 60.0))
    results.note(row(SCRATCH, 0.5, 2, math.nan, 61.0))
    again = Results(results.path)
    assert again.rows[0] == results.rows[0]
    assert math.isnan(again.rows[1].before)
    assert again.has("missed", 0.5, 0)
    assert not again.has("missed", 0.75, 0)
    assert not again.has("missed", 0.5, 1)


def test_the_point_with_the_smallest_validation_error_is_chosen_among_small_ones() -> None:
    increases = (0.0, 0.1, 0.05, 0.3)
    points = [PointState(i, None, "", "", 0, [], value) for i, value in enumerate(increases)]
    shares = {0: 1.0, 1: 0.5, 2: 0.7, 3: 0.4}
    chosen = [chosen_point(points, shares, level) for level in (1.0, 0.7, 0.5, 0.4, 0.3)]
    assert [point and point.number for point in chosen] == [0, 2, 1, 3, None]


def test_the_summary_compares_with_the_whole_network_of_the_same_run() -> None:
    rows = [
        row(WHOLE, 1.0, 0, 55.0, 50.0),
        row(WHOLE, 1.0, 1, 57.0, 40.0),
        row("taylor", 0.5, 0, 70.0, 60.0),
        row("taylor", 0.5, 1, 90.0, 44.0),
        row(SCRATCH, 0.5, 0, math.nan, 55.0),
        row(SCRATCH, 1.0, 0, math.nan, 44.0),
    ]
    _, _, whole, scratch, taylor, smaller = summary(rows)
    # A single pair has no interval, and log(1.2) and log(1.1) have the mean log(1.149).
    assert whole == "| 100% | whole | 100% | 56.0 | 45.0 ± 5.0 |  | +14 % |"
    assert scratch == "| 100% | scratch | 100% |  | 44.0 ± 0.0 | −12 % |  |"
    assert taylor.startswith("| 50% | taylor | 45% | 80.0 | 52.0 ± 8.0 | +15 [")
    assert smaller == "| 50% | scratch | 45% |  | 55.0 ± 0.0 | +10 % | +25 % |"
