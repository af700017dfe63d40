"""A run on a vector, end to end: files, measures, pruning and prediction."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import prune
import report
from records.names import NETWORK
from records.summary import read_summary
from records.utilization import read_table
from tests.programs import run_program, run_train

TINY = [
    "--data.target=charge_dipole",
    "--model.irreps=4x0e+4x1o+2x2e",
    "--model.num_layers=2",
    "--model.embedding_dim=8",
    "--data.train_size=96",
    "--data.val_size=80",
    "--data.test_size=50",
    "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--utilization.num_molecules=20",
    "--utilization.num_bootstrap=50",
    "--utilization.missed_share=0.5",
    "--latent.enabled=false",
]


@pytest.fixture(scope="module")
def run(prepared_qm9: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    runs = tmp_path_factory.mktemp("runs")
    code, output = run_train([*TINY, f"--runs_dir={runs}"])
    assert code == 0, output
    (directory,) = runs.iterdir()
    return directory, output


def test_the_summary_names_rank_unit_and_method(run: tuple[Path, str]) -> None:
    directory, output = run
    summary = read_summary(directory / "summary.json")
    assert summary is not None
    assert (summary.target, summary.rank, summary.unit) == ("charge_dipole", 1, "D")
    assert (summary.method, summary.reference) == ("B3LYP/6-31G(2df,p)", "none")
    assert summary.layer_irreps[-1] == "4x1o"
    results = summary.results
    assert results["test/mae"] < results["test/vector_error"] < 3 * results["test/mae"]
    assert results["test/norm_mae"] <= results["test/vector_error"]
    assert "baseline/bonds_mae" not in results
    assert f"{results['baseline/mean_mae']:.4g} D from predicting zero" in output
    assert "warn" not in output.lower()


def test_every_measure_but_two_is_there(run: tuple[Path, str]) -> None:
    directory, output = run
    (best,) = read_table(directory / "utilization_best.csv").values()
    measures = {name for row in best.rows if row.layer == NETWORK for name in row.effects}
    assert measures == {"reliance", "resampled", "refitted", "missed", "interaction"}
    missed = [row.irrep for row in best.rows if "missed" in row.effects]
    assert missed == ["2e"], "nothing is left of a vector without l = 1"
    assert "(best checkpoint): mean norm of the deviation " in output
    assert "No decomposition: a 1o needs its own degree" in output
    assert not (directory / "decomposition.csv").exists()


def test_a_run_is_pruned_reported_and_predicted_with(run: tuple[Path, str], tmp_path: Path) -> None:
    directory, _ = run
    arguments = ["--irreps=4x0e+4x1o", "--num-molecules=20", "--fine-tune=1", f"{directory}"]
    code, output = run_program(prune.main, arguments)
    assert code == 0, output
    (smaller,) = (directory / "pruned" / "chosen").glob("point_01.ckpt")
    predictions = tmp_path / "predictions.csv"
    code, output = run_train(["predict", f"--ckpt_path={smaller}", f"--output={predictions}"])
    assert code == 0, output
    rows = list(csv.DictReader(predictions.read_text().splitlines()))
    assert len(rows) == 50
    assert all(np.isfinite(float(row[f"prediction_{axis}"])) for row in rows for axis in "xyz")
    arguments = ["--irreps=4x0e", "--output", str(tmp_path / "none"), f"{directory}"]
    code, output = run_program(prune.main, arguments)
    assert (code, "nothing is left that reaches the readout's 1o" in output) == (2, True)
    page = tmp_path / "report.html"
    code, output = run_program(report.main, [str(directory), f"--output={page}"])
    assert code == 0, output
    assert "dipole moment of the Mulliken charges (vector)" in page.read_text()
