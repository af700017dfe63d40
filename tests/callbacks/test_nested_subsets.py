"""NestedSubsets: what it measures and writes, and that it leaves training alone."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger

from callbacks.nested_subsets import NestedSubsets, logged_numbers
from lightning_modules.regressor import EquivariantRegressor
from networks.restriction import keep_degrees
from records.nested import Estimate, NestedEpoch, read_nested
from tests.callbacks.synthetic import SyntheticMolecules

SMALL: dict[str, Any] = {
    "irreps": "3x0e+2x1o+2x2e",
    "num_layers": 2,
    "embedding_dim": 4,
    "num_radial": 4,
    "lr": 0.01,
}


def fit(
    tmp_path: Path,
    callbacks: list[Callback],
    epochs: int = 2,
    ckpt_path: Path | None = None,
    logger: Any = False,
    **options: Any,
) -> Trainer:
    seed_everything(0, verbose=False)
    model = EquivariantRegressor(**SMALL, **({"irrep_dropout": "uniform"} | options))
    trainer = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_epochs=epochs,
        callbacks=callbacks,
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = SyntheticMolecules(train=16)
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
    return trainer


def test_maes_are_those_of_restricted_networks_in_reporting_units(tmp_path: Path) -> None:
    trainer = fit(tmp_path, [NestedSubsets(num_molecules=20, batch_size=8, num_bootstrap=50)])
    model: Any = trainer.lightning_module
    data = SyntheticMolecules(train=16)
    batch = data.batch(data.splits["val_measure"][:20])
    nested = read_nested(tmp_path / "nested.csv")
    assert sorted(nested) == [0, 1]
    assert nested[1].num_molecules == 20
    network = model.network
    for degrees, estimate in nested[1].mae.items():
        alone = network.restricted(keep_degrees(network.kept, map(int, degrees.split(","))))
        with torch.no_grad():
            predicted = model.reference.restore(batch, alone(batch))
        expected = float((predicted - batch.y).abs().mean()) * 1000
        assert estimate.value == pytest.approx(expected, rel=1e-4)
    assert list(nested[1].mae) == ["0", "0,1", "0,2", "0,1,2"]
    pictures = sorted(path.name for path in (tmp_path / "nested").iterdir())
    assert pictures == ["epoch_000.png", "epoch_001.png"]


def test_the_full_set_is_what_validation_measures(tmp_path: Path) -> None:
    for ema_decay in (None, 0.5):
        root = tmp_path / str(ema_decay)
        trainer = fit(root, [NestedSubsets(num_molecules=24)], ema_decay=ema_decay)
        full = read_nested(root / "nested.csv")[1].mae["0,1,2"].value
        # The synthetic data validates and measures on the same molecules.
        assert full == pytest.approx(float(trainer.callback_metrics["val/mae"]), rel=1e-4)


def test_numbers_are_logged_by_degrees(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="", version="")
    fit(tmp_path, [NestedSubsets()], epochs=1, logger=logger)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        row = {k: v for r in csv.DictReader(file) for k, v in r.items() if v != ""}
    nested = read_nested(tmp_path / "nested.csv")[0]
    assert float(row["nested/0,1/mae"]) == pytest.approx(nested.mae["0,1"].value)
    assert float(row["nested/shapley/2"]) == pytest.approx(nested.shapley[2].value)


def test_of_many_subsets_the_smallest_and_the_largest_are_logged() -> None:
    estimate = Estimate(1.0, 0.5, 2.0)
    names = ("0", "0,1", "0,1,2", "0,1,2,3", "0,1,2,3,4")
    numbers = logged_numbers(
        NestedEpoch(dict.fromkeys(names, estimate), dict.fromkeys(range(1, 5), estimate), 9)
    )
    logged = {key.split("/")[1] for key in numbers if key.endswith("/mae")}
    assert logged == {"0", "0,1", "0,1,2,3", "0,1,2,3,4"}


def test_training_is_the_same_with_and_without(tmp_path: Path) -> None:
    one = fit(tmp_path, [NestedSubsets()]).lightning_module
    other = fit(tmp_path, []).lightning_module
    for a, b in zip(one.parameters(), other.parameters()):
        assert torch.equal(a, b)


def test_nothing_is_measured_without_nested_training(tmp_path: Path) -> None:
    fit(tmp_path, [NestedSubsets()], irrep_dropout="none")
    assert not (tmp_path / "nested.csv").exists()


def test_only_due_epochs_and_the_last_are_measured(tmp_path: Path) -> None:
    fit(tmp_path, [NestedSubsets(every_n_epochs=3)], epochs=5)
    assert sorted(read_nested(tmp_path / "nested.csv")) == [2, 4]


def test_a_resumed_run_forgets_the_epochs_that_it_trains_again(tmp_path: Path) -> None:
    path = tmp_path / "one.ckpt"
    fit(tmp_path, [NestedSubsets(num_bootstrap=50)], epochs=1).save_checkpoint(path)
    fit(tmp_path, [NestedSubsets(num_bootstrap=50)], epochs=3)
    before = read_nested(tmp_path / "nested.csv")
    fit(tmp_path, [NestedSubsets(num_bootstrap=50)], epochs=2, ckpt_path=path)
    after = read_nested(tmp_path / "nested.csv")
    assert (sorted(before), sorted(after)) == ([0, 1, 2], [0, 1])
    assert after[0] == before[0]


def test_a_damaged_table_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "nested.csv").write_text("epoch,quantity\n0,mae\n")
    with pytest.warns(UserWarning, match=r"damaged in line 2: moved to nested.csv.damaged"):
        fit(tmp_path, [NestedSubsets()], epochs=1)
    assert sorted(read_nested(tmp_path / "nested.csv")) == [0]


def test_a_failure_is_one_warning_and_training_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("no subsets today")

    monkeypatch.setattr("callbacks.nested_subsets.subset_errors", fails)
    with pytest.warns(UserWarning, match="no subsets today") as warned:
        trainer = fit(tmp_path, [NestedSubsets()], epochs=3)
    assert sum("no subsets today" in str(w.message) for w in warned) == 1
    assert trainer.current_epoch == 3


def test_a_number_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="every_n_epochs is 0: it must be at least 1"):
        NestedSubsets(every_n_epochs=0)
