"""Whether W&B has of a run what metrics.csv has."""

from __future__ import annotations

from pathlib import Path

import pytest

from records.metrics import read_metrics
from tests.wandb_records import RunRecord


def assert_every_cell_arrived_once(run: RunRecord, metrics: Path, epochs: int) -> None:
    """Hold W&B's history against metrics.csv: no number missing, none there twice."""
    rows = read_metrics(metrics)
    assert sorted(epoch for epoch in rows if epoch >= 0) == list(range(epochs))
    arrived: dict[tuple[int, str], list[float]] = {}
    for row in run.history:
        for name, value in row.items():
            if isinstance(value, int | float) and name[0] != "_":
                arrived.setdefault((row["epoch"], name), []).append(value)
    for epoch, row in rows.items():
        for name in row.keys() - {"step", "epoch"}:
            found = arrived.get((epoch, name), [])
            assert found == [pytest.approx(row[name], nan_ok=True)], (epoch, name, found)
    counts = {cell: len(values) for cell, values in arrived.items() if cell[1] == "epochs"}
    assert counts == {(epoch, "epochs"): 1 for epoch in rows}
    steps = [row["_step"] for row in run.history]
    assert steps == sorted(set(steps)), "W&B takes rows with growing steps only"
    assert run.rewritten == []
