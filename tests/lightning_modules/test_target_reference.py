"""The target's reference: what is subtracted, and that predictions are of the whole target."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from torch_geometric.data import Batch

from lightning_modules.regressor import EquivariantRegressor
from lightning_modules.target_reference import TargetReference
from tests.lightning_modules.made_up import ELEMENTS, SMALL, Molecules, quiet_trainer

COLUMNS = ELEMENTS.tolist()


def fitted(kind: Any, data: Molecules) -> TargetReference:
    reference = TargetReference(kind, num_elements=100)
    reference.fit(data)
    return reference


def batch_of(data: Molecules, part: str) -> Batch:
    return Batch.from_data_list(data.sets[part])


def test_composition_is_scikit_learns_fit_on_the_training_part_alone() -> None:
    data = Molecules()
    reference, counts, y = (
        fitted("composition", data),
        data.element_counts("train"),
        data.targets("train"),
    )
    theirs = LinearRegression().fit(counts[:, COLUMNS], y)
    expected = theirs.predict(data.element_counts("test")[:, COLUMNS])
    found = reference.of(batch_of(data, "test"))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert float(reference.std) == pytest.approx(np.std(y - theirs.predict(counts[:, COLUMNS])))


@pytest.mark.parametrize(("kind", "shift"), [("none", 0.0), ("mean", 1.0)])
def test_mean_centres_and_none_does_not(kind: str, shift: float) -> None:
    data = Molecules()
    reference, y = fitted(kind, data), data.targets("train")
    expected = np.full(7, shift * y.mean())
    np.testing.assert_allclose(reference.of(batch_of(data, "test")), expected, rtol=1e-12)
    assert float(reference.std) == pytest.approx(np.std(y))


@pytest.mark.parametrize("kind", ["none", "mean", "composition"])
def test_standardizing_and_restoring_give_the_whole_target(kind: str) -> None:
    data = Molecules()
    reference, batch = fitted(kind, data), batch_of(data, "train")
    standardized = reference.standardize(batch)
    assert float(standardized.std(correction=0)) == pytest.approx(1.0, rel=1e-5)
    restored = reference.restore(batch, standardized)
    np.testing.assert_allclose(restored, data.targets("train"), rtol=1e-6)


@pytest.mark.parametrize(
    ("target", "kind"),
    [("U0", "composition"), ("G", "composition"), ("gap", "mean"), ("alpha", "mean")],
)
def test_atomization_energies_take_composition_by_default(target: str, kind: str) -> None:
    assert EquivariantRegressor(**SMALL, target=target).reference.kind == kind


def test_a_target_without_spread_is_not_divided_by_zero() -> None:
    data = Molecules()
    for molecule in data.sets["train"]:
        molecule.y = molecule.z.ne(1).sum().double()[None] - 76
    assert float(fitted("composition", data).std) == 1.0
    data.sets["train"] = data.sets["train"][:1]
    assert float(fitted("mean", data).std) == 1.0


@pytest.mark.parametrize("part", ["val", "test"])
def test_an_element_that_training_lacks_is_named_with_its_molecule(
    part: str, tmp_path: Any
) -> None:
    data = Molecules()
    data.sets[part][3].z[1] = 9
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    message = rf"molecule 103 \(CCCC\) of the {part} part has F, which no training molecule has"
    with pytest.raises(ValueError, match=message):
        trainer.fit(EquivariantRegressor(**SMALL), datamodule=data)
    quiet_trainer(tmp_path, max_epochs=1).fit(
        EquivariantRegressor(**SMALL, reference="mean"), datamodule=data
    )


def test_an_evaluation_of_other_molecules_is_refused_alike(tmp_path: Any) -> None:
    model, data = EquivariantRegressor(**SMALL), Molecules()
    quiet_trainer(tmp_path, max_epochs=1).fit(model, datamodule=data)
    data.sets["test"][0].z[0] = 17
    with pytest.raises(ValueError, match=r"molecule 100 \(C\) of the test part has Z=17"):
        quiet_trainer(tmp_path).predict(model, datamodule=data)


def test_too_few_training_molecules_are_refused(tmp_path: Any) -> None:
    data = Molecules()
    data.sets["train"] = data.sets["train"][:3]
    with pytest.raises(ValueError, match="3 training molecules do not determine"):
        quiet_trainer(tmp_path, max_epochs=1).fit(EquivariantRegressor(**SMALL), datamodule=data)


def test_composition_of_an_intensive_target_is_a_warning(tmp_path: Any) -> None:
    model = EquivariantRegressor(**SMALL, target="gap", reference="composition")
    with pytest.warns(UserWarning, match="gap does not grow with the molecule"):
        quiet_trainer(tmp_path, max_epochs=1).fit(model, datamodule=Molecules("gap"))


def test_data_without_compositions_are_refused(tmp_path: Any) -> None:
    data = Molecules()
    with pytest.raises(TypeError, match="needs a data module with splits, targets, element_counts"):
        quiet_trainer(tmp_path, max_epochs=1).fit(
            EquivariantRegressor(**SMALL), data.train_dataloader(), data.val_dataloader()
        )


def test_an_unknown_reference_names_those_there_are() -> None:
    with pytest.raises(ValueError, match="'median' is unknown: choose one of none, mean, compos"):
        EquivariantRegressor(**SMALL, reference="median")


@pytest.mark.parametrize("kind", ["none", "mean", "composition"])
def test_a_reloaded_checkpoint_gives_identical_predictions(kind: Any, tmp_path: Any) -> None:
    model, data = EquivariantRegressor(**SMALL, reference=kind), Molecules()
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    loaded = EquivariantRegressor.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    batch = batch_of(data, "test")
    for module in (model, loaded):
        module.eval()
    with torch.no_grad():
        assert torch.equal(loaded.predict_target(batch), model.predict_target(batch))
        whole = model(batch).double() * model.target_std + model.reference_of(batch)
        assert torch.equal(1000 * whole, model.predict_target(batch))


def test_older_checkpoints_with_mean_and_deviation_alone_still_load() -> None:
    model, batch = EquivariantRegressor(**SMALL), batch_of(Molecules(), "test")
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("reference.")}
    state["target_mean"] = torch.tensor(-76.0, dtype=torch.float64)
    state["target_std"] = torch.tensor(10.0, dtype=torch.float64)
    model.load_state_dict(state)
    assert set(state) >= {"target_mean", "target_std"}
    with torch.no_grad():
        expected = 1000 * (model(batch).double() * 10 - 76)
        np.testing.assert_allclose(model.predict_target(batch), expected, rtol=1e-12)
