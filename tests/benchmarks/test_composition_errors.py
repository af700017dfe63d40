"""What is planted in the errors as composition is found there, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.composition_errors import mae_after_formula, mae_after_linear, measure
from benchmarks.study.composition import CompositionErrors, composition_table
from lightning_modules.regressor import EquivariantRegressor
from tests.programs import run_train

TINY = [
    "--model.irreps=4x0e", "--model.num_layers=2", "--model.embedding_dim=4",
    "--data.train_size=64", "--data.val_size=40", "--data.test_size=300", "--data.split_seed=3",
    "--trainer.max_epochs=1", "--trainer.accelerator=cpu",
    "--utilization.enabled=false", "--latent.enabled=false",
]  # fmt: skip


@pytest.fixture
def molecules() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Element counts and noise with a mean absolute value of about 0.8."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 4, (4000, 3)), generator.normal(size=4000)


def test_a_linear_part_is_taken_away(molecules: Any) -> None:
    counts, noise = molecules
    errors = counts @ [30.0, -20.0, 5.0] + 7 + noise
    assert mae_after_linear(errors, counts) == pytest.approx(np.abs(noise).mean(), rel=0.02)
    assert mae_after_formula(errors, counts) == pytest.approx(np.abs(noise).mean(), rel=0.05)


def test_only_the_formula_takes_away_what_is_not_linear(molecules: Any) -> None:
    counts, noise = molecules
    errors = 20.0 * (counts.sum(axis=1) % 2) + noise
    assert mae_after_linear(errors, counts) > 9
    assert mae_after_formula(errors, counts) == pytest.approx(np.abs(noise).mean(), rel=0.05)


def test_errors_apart_from_composition_stay(molecules: Any) -> None:
    counts, noise = molecules
    assert mae_after_linear(noise, counts) == pytest.approx(np.abs(noise).mean(), rel=0.02)
    # By brute force: without the molecules of that formula themselves the correction is noise.
    first = [
        abs(noise[i] - noise[(counts == counts[i]).all(axis=1) & (np.arange(4000) != i)].mean())
        for i in range(4000)
    ]
    assert mae_after_formula(noise, counts) == pytest.approx(np.mean(first))


def test_formulas_of_single_molecules_are_refused() -> None:
    with pytest.raises(ValueError, match="same element counts"):
        mae_after_formula(np.zeros(3), np.arange(3)[:, None])


def test_molecules_of_a_run_meet_their_own_composition(
    prepared_qm9: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [f"--runs_dir={tmp_path}", "--run_name=tiny"]
    code, output = run_train([*TINY, *places], WANDB_MODE="disabled")
    assert code == 0, output

    def wrong_by_composition(self: EquivariantRegressor, batch: Any) -> torch.Tensor:
        atoms = torch.zeros(len(batch.y), dtype=torch.float64)
        atoms.index_add_(0, batch.batch, (100 * (batch.z == 6) - 50 * (batch.z == 8)).double())
        return batch.y.double() * self.target.reporting_factor + atoms

    monkeypatch.setattr(EquivariantRegressor, "predict_target", wrong_by_composition)
    found = measure(tmp_path / "tiny")
    assert (found.reference, found.irreps, found.seed) == ("composition", "4x0e", 3)
    assert found.molecules == 300
    assert found.mae > 300
    assert found.after_linear < 1e-3
    assert found.after_formula < 1e-3


def test_seeds_of_a_set_share_a_line_and_the_raw_target_is_first() -> None:
    rows = [
        CompositionErrors("composition", "8x0e", 0, "c", 10, 50.0, 50.0, 51.0),
        CompositionErrors("mean", "8x0e", 0, "a", 10, 200.0, 190.0, 180.0),
        CompositionErrors("mean", "8x0e", 1, "b", 10, 220.0, 200.0, 190.0),
    ]
    _, _, raw, without = composition_table(rows).splitlines()
    assert raw == "| raw | 0 (8) | 2 | 210.0 | 195.0 | 185.0 |"
    assert without == "| without composition | 0 (8) | 1 | 50.00 | 50.00 | 51.00 |"
