"""The benchmark of nested training goes on where it stopped, and compares correctly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.nested import RECIPES, SEPARATE, Result, Results, parsed, summary

SETS = ("0", "0,1", "0,2", "0,1,2")


def rows(way: str, seed: int, maes: tuple[float, ...], seconds: float) -> list[Result]:
    return [Result("quickstart", way, name, seed, 6, mae, seconds) for name, mae in zip(SETS, maes)]


def test_results_are_found_again_in_their_file(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.csv"
    results = Results(path)
    results.note(rows(SEPARATE, 0, (4.0, 3.0, 2.0, 1.0), 10.0))
    results.note(rows("uniform", 1, (5.5, 3.0, 2.0, 1.0), 40.0))
    again = Results(path)
    assert again.rows == results.rows
    assert [row.degrees for row in again.find("quickstart", "uniform", 1)] == list(SETS)
    assert again.find("quickstart", "uniform", 0) == again.find("reading", SEPARATE, 0) == []


def test_the_summary_compares_order_level_and_cost() -> None:
    found = [
        *rows(SEPARATE, 0, (200.0, 130.0, 100.0, 80.0), 10.0),
        *rows(SEPARATE, 1, (210.0, 140.0, 90.0, 70.0), 10.0),
        *rows("uniform", 0, (210.0, 140.0, 110.0, 90.0), 20.0),  # the same order, 10 meV worse
        *rows("uniform", 1, (80.0, 100.0, 130.0, 200.0), 20.0),  # the opposite order
    ]
    lines = list(summary(found))
    assert lines[0].startswith("quickstart separate: 2 seeds, 4 sets; Spearman 1.000")
    assert lines[2] == (
        "quickstart uniform: 2 seeds, 4 sets; Spearman 0.000, Kendall 0.000; +5.0 meV (+22%); "
        "cost 0.50 of the separate trainings"
    )
    assert lines[3] == "  [0] 145.0  [0,1] 120.0  [0,2] 120.0  [0,1,2] 145.0"


def test_ways_of_training_are_parsed() -> None:
    assert parsed("uniform") == ("uniform", 1.0, False)
    assert parsed("sandwich@0.25-tuned") == ("sandwich", 0.25, True)
    for way in ("none", "half", "uniform-long"):
        with pytest.raises(ValueError, match=f"way '{way}' is unknown: give e.g. uniform"):
            parsed(way)


def test_every_scale_compares_its_sets() -> None:
    sizes = {scale: len(recipe.compared) for scale, recipe in RECIPES.items()}
    assert sizes == {"quickstart": 8, "reading": 8, "nine": 9}
    for recipe in RECIPES.values():
        assert recipe.compared[0] == ()
        assert recipe.compared[-1] == recipe.degrees
    nine = RECIPES["nine"]
    assert replace(nine, degrees=(1, 2, 3), sets=()) == RECIPES["quickstart"]
    assert nine.compared[:-1] == RECIPES["quickstart"].compared
