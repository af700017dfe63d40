"""The table of what degrees are worth, against a calculation by hand from the kept results."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.tensor_targets import errors_by_target, tables, worth
from records.summary import read_summary
from reporting.read.runs import find_runs, read_run

RESULTS = Path(__file__).parents[2] / "results" / "tasks_small"


def test_worth_is_the_mean_ratio_over_paired_seeds() -> None:
    runs = [read_run(path) for path in find_runs([RESULTS])]
    by_set: dict[str, list[float]] = {"with": [], "without": []}
    for seed in range(3):
        for path in RESULTS.glob(f"quadrupole-*-s{seed}-*"):
            summary = read_summary(path / "summary.json")
            assert summary is not None
            inner = summary.configuration.get("model.inner_irreps")
            if summary.irreps == "8x0e+8x1o+8x2e":
                if inner is None:
                    by_set["with"].append(summary.results["test/mae"])
                elif inner == "8x0e+8x1o":
                    by_set["without"].append(summary.results["test/mae"])
    expected = np.mean(np.array(by_set["without"]) / np.array(by_set["with"])) - 1
    found = worth(errors_by_target(runs)["quadrupole"], 2)[1, 2]
    assert (found.count, found.mean) == (3, pytest.approx(expected))
    assert found.low < expected < found.high


def test_every_target_and_set_is_in_the_tables_of_the_document() -> None:
    text = tables([read_run(path) for path in find_runs([RESULTS])])
    document = (RESULTS.parents[1] / "docs" / "tensor_targets.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 12
    assert [row for row in rows if row not in document] == []
    assert "|  |" not in text, "no cell is empty"
