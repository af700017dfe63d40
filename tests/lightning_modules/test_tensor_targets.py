"""Vectors and tensors as targets of the regressor: options, reference, metrics, predictions."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, root_mean_squared_error
from torch_geometric.data import Batch

from lightning_modules.options import check_inner_irreps
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from lightning_modules.target_reference import TargetReference
from runtime import evaluation
from tests.lightning_modules.made_up import SMALL, Molecules, quiet_trainer

VECTOR: dict[str, Any] = {**SMALL, "target": "charge_dipole"}
MOST = {"train_size": 60, "val_size": 30, "test_size": 20}


class Vectors(Molecules):
    """Molecules with a random vector each."""

    molecule_columns = ("index", "smiles")

    def __init__(self) -> None:
        super().__init__("charge_dipole")
        for seed, data in enumerate(self.sets.values()):
            generator = torch.Generator().manual_seed(seed)
            for molecule in data:
                molecule.y = torch.randn(1, 3, generator=generator, dtype=torch.float64) + 0.5


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[EquivariantRegressor, Any, Any]:
    torch.manual_seed(0)
    model, data = EquivariantRegressor(**VECTOR), Vectors()
    trainer = quiet_trainer(tmp_path_factory.mktemp("run"), max_epochs=2)
    trainer.fit(model, datamodule=data)
    return model, data, dict(trainer.callback_metrics)


def test_metrics_are_of_components_of_the_deviation_and_of_the_norm(trained: Any) -> None:
    model, data, metrics = trained
    model.eval()
    with torch.no_grad():
        found = torch.cat([model.predict_target(batch) for batch in data.val_dataloader()]).numpy()
    target = data.targets("val")
    assert found.shape == target.shape == (7, 3)
    expected = {
        "mae": mean_absolute_error(target, found),
        "rmse": root_mean_squared_error(target.ravel(), found.ravel()),
        "vector_error": np.linalg.norm(target - found, axis=1).mean(),
        "norm_mae": np.abs(np.linalg.norm(target, axis=1) - np.linalg.norm(found, axis=1)).mean(),
    }
    for name, value in expected.items():
        assert float(metrics[f"val/{name}"]) == pytest.approx(value, rel=1e-5)


def test_one_unit_is_the_root_mean_square_and_nothing_is_subtracted(trained: Any) -> None:
    model, data, _ = trained
    assert model.reference.kind == "none"
    rms = np.sqrt(np.square(data.targets("train")).mean())
    assert float(model.target_std) == pytest.approx(rms)
    batch = Batch.from_data_list(data.sets["train"])
    assert model.reference_of(batch).tolist() == [[0.0]] * 24
    standardized = model.reference.standardize(batch)
    np.testing.assert_allclose(
        model.reference.restore(batch, standardized), data.targets("train"), rtol=1e-6
    )


@pytest.mark.parametrize("network", ["convnet", "gated"])
def test_predictions_of_a_regressor_turn_with_the_molecule(network: Any) -> None:
    torch.manual_seed(1)
    model = EquivariantRegressor(**{**VECTOR, "network": network}).double().eval()
    batch = Batch.from_data_list(Vectors().sets["test"])
    batch.pos = batch.pos.double()
    turned = batch.clone()
    matrix = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    turned.pos = batch.pos @ matrix.T
    with torch.no_grad():
        difference = model.predict_target(turned) - model.predict_target(batch) @ matrix.T
    assert difference.abs().max() < 1e-10 * model.predict_target(batch).abs().max()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"irreps": "8x0e"}, "8x0e has no 1o: target charge_dipole is a vector.*add it, e.g. "),
        ({"irreps": "8x0e+8x1e"}, "1e keeps its sign under inversion, which a vector does not"),
        ({"irreps": "8x0e+8x2e", "edge_irreps": "0e+1o+2e"}, "has no 1o"),
        ({"target": "quadrupole"}, "4x0e\\+4x1o has no 2e: target quadrupole is a tensor"),
        ({"edge_irreps": "0e"}, "cannot reach the readout"),
        ({"reference": "mean"}, "reference mean: target charge_dipole is a vector.*choose ref"),
        ({"reference": "composition"}, "element counts have no direction"),
        ({"irrep_dropout": "uniform"}, "needs l=1 always: choose irrep_dropout none"),
        ({"force_weight": 1.0}, "is a vector and has no forces"),
    ],
)
def test_options_that_a_vector_excludes_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EquivariantRegressor(**{**VECTOR, **options})


def test_a_reference_is_for_scalars() -> None:
    with pytest.raises(ValueError, match="choose none for a vector or tensor"):
        TargetReference("mean", 10, rank=1)


def test_inner_layers_may_lack_what_the_readout_takes() -> None:
    model = EquivariantRegressor(
        **{**VECTOR, "irreps": "4x0e+4x1o+2x2e", "num_layers": 3}, inner_irreps="4x0e+2x2e"
    )
    network = model.network
    assert [str(irreps) for irreps in network.layer_irreps] == ["4x0e+2x2e", "4x0e+2x2e", "4x1o"]
    assert [str(edges) for edges in network.layer_edge_irreps[:2]] == ["1x0e+1x2e"] * 2
    assert model.hparams["inner_irreps"] == "4x0e+2x2e"


@pytest.mark.parametrize(
    ("inner", "kept", "message"),
    [
        ("8x0e", None, "has 8x0e, and irreps '4x0e\\+4x1o' has 4x0e: give a part of irreps"),
        ("4x0e+1x2e", None, "has 1x2e"),
        ("4x0e", [], "both say what stays"),
    ],
)
def test_inner_irreps_are_a_part_of_irreps(inner: str, kept: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_inner_irreps("4x0e+4x1o", inner, None, 3, kept)


def test_predictions_have_a_column_for_every_component(trained: Any, tmp_path: Path) -> None:
    model, data, _ = trained
    checkpoint, output = tmp_path / "best.ckpt", tmp_path / "predictions.csv"
    trainer = quiet_trainer(tmp_path)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(checkpoint, weights_only=True)
    assert evaluation.predict(quiet_trainer(tmp_path), model, data, checkpoint, output) == 7
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [name for name in rows[0] if name.startswith("prediction")] == [
        "prediction_x",
        "prediction_y",
        "prediction_z",
    ]
    found = np.array([[float(row[f"target_{axis}"]) for axis in "xyz"] for row in rows])
    np.testing.assert_allclose(found, data.targets("test"), rtol=1e-5)
    assert {row["unit"] for row in rows} == {"D"}


def test_a_tensors_columns_are_named_by_its_components() -> None:
    model = SimpleNamespace(target=EquivariantRegressor("4x0e+4x2e", "quadrupole").target)
    columns = evaluation.prediction_columns(model)  # type: ignore[arg-type]
    assert columns[:5] == tuple(f"prediction_{c}" for c in ("xz", "xy", "yy", "yz", "zz-xx"))
    assert len(columns) == 11


def test_qm9_gives_vectors_and_their_baseline_is_zero() -> None:
    data = QM9DataModule("charge_dipole", **MOST)
    data.prepare_data()
    data.setup()
    assert data.batch(data.splits["test"]).y.shape == (20, 3)
    assert (data.target_mean, data.targets("train").shape) == (0.0, (60, 3))
    expected = np.abs(data.targets("test")).mean()
    assert data.baselines()["baseline/mean_mae"] == pytest.approx(expected)
    assert set(data.baselines()) == {"baseline/mean_mae", "baseline/val_mean_mae"}
    assert evaluation._mae_of_mean(data) == pytest.approx(expected)
