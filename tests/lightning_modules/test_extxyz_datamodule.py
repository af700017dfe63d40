from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.io import write

from lightning_modules.extxyz_datamodule import ExtXYZDataModule
from lightning_modules.forces import energy_and_forces
from lightning_modules.regressor import EquivariantRegressor
from lightning_modules.target_reference import TargetReference
from tests.structures.made import copper, ethanol, labelled, rattled

SMALL: dict[str, Any] = {"irreps": "4x0e+4x1o", "num_layers": 2, "embedding_dim": 4, "cutoff": 4.0}


def module(folder: Path, structures: list[Atoms], **options: Any) -> ExtXYZDataModule:
    path = folder / "my.extxyz"
    write(path, structures, format="extxyz")
    return ExtXYZDataModule(str(path), cache_dir=str(folder / "cache"), **options)


def loaded(folder: Path, structures: list[Atoms], **options: Any) -> ExtXYZDataModule:
    data = module(folder, structures, **options)
    data.setup()
    return data


@pytest.fixture(scope="module")
def crystals() -> list[Atoms]:
    return copper(20)


# ---- parts ----------------------------------------------------------------------------------


def rows(data: ExtXYZDataModule) -> dict[str, list[int]]:
    return {part: data.splits[part].tolist() for part in ("train", "val", "test")}


def test_parts_are_disjoint_complete_and_drawn_from_the_seed(tmp_path: Path, crystals):
    first, again, other = (
        rows(loaded(tmp_path, crystals, split_seed=seed, cutoff=3.0)) for seed in (0, 0, 1)
    )
    assert first == again != other
    assert sorted(row for part in first.values() for row in part) == list(range(20))
    assert [len(first[part]) for part in ("train", "val", "test")] == [16, 2, 2]


def test_the_test_part_stays_when_the_others_change(tmp_path: Path, crystals):
    whole = rows(loaded(tmp_path, crystals, cutoff=3.0))
    smaller = rows(loaded(tmp_path, crystals, cutoff=3.0, val_size=5, train_size=7))
    assert smaller["test"] == whole["test"]
    assert len(smaller["val"]) == 5
    assert len(smaller["train"]) == 7


def test_frames_may_say_their_part(tmp_path: Path, crystals):
    for k, atoms in enumerate(crystals):
        atoms.info["split"] = ("train", "val", "test")[min(k // 4, 2)]
    said = rows(loaded(tmp_path, crystals, cutoff=3.0))
    assert said == {"train": [0, 1, 2, 3], "val": [4, 5, 6, 7], "test": list(range(8, 20))}
    drawn = rows(loaded(tmp_path, crystals, cutoff=3.0, split="random"))
    assert len(drawn["train"]) == 16
    del crystals[3].info["split"]
    with pytest.raises(ValueError, match=r"frame 4 \(line 19\) has no split, though other frames"):
        loaded(tmp_path, crystals, cutoff=3.0)
    for atoms in crystals:
        atoms.info.pop("split", None)


def test_parts_may_have_files_of_their_own(tmp_path: Path, crystals):
    write(tmp_path / "test.xyz", crystals[:3], format="extxyz")
    data = loaded(tmp_path, crystals[3:], test_path=str(tmp_path / "test.xyz"), cutoff=3.0)
    assert rows(data)["test"] == [17, 18, 19]
    assert sorted(rows(data)["train"] + rows(data)["val"]) == list(range(17))
    assert data.molecule(17) == (18, "Cu4")


@pytest.mark.parametrize(
    ("count", "options", "words"),
    [
        (3, {}, "3 structures are too few for 2 in the val part after 1 in the test part"),
        (20, {"val_size": 1}, "val_size 1 is out of range: give at least 2"),
        (20, {"test_size": 20}, "20 structures are too few for 20 in the test part"),
        (20, {"train_size": 17}, "train_size 17 is out of range: give 1 to 16"),
    ],
)
def test_parts_that_cannot_be_are_refused(tmp_path: Path, crystals, count, options, words):
    with pytest.raises(ValueError, match=words):
        loaded(tmp_path, crystals[:count], **options)


# ---- options --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cutoff": 0}, "cutoff 0 is out of range"),
        ({"graph": "knn"}, "graph 'knn' is unknown: choose one of bonds, radius"),
        ({"unit": ""}, "unit '' is unusable"),
        ({"target": "a\nb"}, "target .* is unusable"),
        ({"unit": None}, "target 'energy' is unknown: choose one of U0.*--data.path"),
        ({"val_path": "nowhere.xyz"}, "data.val_path 'nowhere.xyz' is no file"),
        ({"split_seed": -1}, "split_seed -1 is negative"),
    ],
)
def test_unusable_options_are_refused_before_anything_is_read(tmp_path, crystals, options, words):
    with pytest.raises(ValueError, match=words):
        module(tmp_path, crystals[:1], **options)


def test_energies_in_ev_are_reported_in_mev_and_others_as_given(tmp_path: Path, crystals):
    assert module(tmp_path, crystals, unit="eV").target.reporting_unit == "meV"
    target = module(tmp_path, crystals, unit="furlong").target
    assert (target.unit, target.reporting_unit, target.reporting_factor) == ("furlong",) * 2 + (1,)


# ---- references -----------------------------------------------------------------------------


def test_references_per_element_recover_additive_energies(tmp_path: Path):
    names = ["CH4", "H2O", "NH3", "CH3OH", "C2H6", "H2", "CO", "N2", "HCN", "C2H4", "CO2", "NH3"]
    structures = [molecule(name) for name in names]
    weights = np.zeros(100)
    weights[[1, 6, 7, 8]] = -13.6, -1030.0, -1485.0, -2042.0
    for atoms in structures:
        atoms.info["e"] = float(weights[atoms.numbers].sum())
    data = loaded(tmp_path, structures, target="e", test_size=1, val_size=2)
    reference = TargetReference("composition", 100)
    reference.fit(data)
    np.testing.assert_allclose(reference.weights[[1, 6, 7, 8]], weights[[1, 6, 7, 8]], atol=1e-6)
    assert reference.intercept.item() == 0.0
    assert (~reference.weights.isnan()).nonzero().flatten().tolist() == [1, 6, 7, 8]
    mean = TargetReference("mean", 100)
    mean.fit(data)
    assert (mean.weights == 0).nonzero().flatten().tolist() == [1, 6, 7, 8]
    twice = data.batch([0, 0])
    assert reference.of(twice).sum().item() == pytest.approx(2 * structures[0].info["e"])


def test_one_composition_has_its_mean_as_reference_and_this_is_said(tmp_path: Path, caplog):
    data = loaded(tmp_path, ethanol(12), cutoff=3.0)
    reference = TargetReference("composition", 100)
    with caplog.at_level("INFO"):
        reference.fit(data)
    assert "(1 independent) do not determine a reference of each of H, C, O" in caplog.text
    assert reference.of(data.batch([0])).item() == pytest.approx(data.target_mean)


def test_elements_without_training_structures_are_refused_with_frame_and_line(tmp_path: Path):
    structures = copper(9)
    structures[4].numbers[0] = 13
    for atoms, part in zip(structures, ["train"] * 4 + ["test"] + ["val"] * 4):
        atoms.info["split"] = part
    with pytest.raises(
        ValueError, match=r"frame 5 \(line 25\) is in the test part and has Al, which no training"
    ):
        module(tmp_path, structures).check()


def test_elements_beyond_the_embedding_are_refused(tmp_path: Path, crystals):
    data = loaded(tmp_path, crystals, cutoff=3.0)
    model = EquivariantRegressor(**SMALL, target="energy", unit="eV", num_elements=20)
    with pytest.raises(ValueError, match=r"has Cu, atomic number 29, .*--model.num_elements=30"):
        model.check_data(data)


# ---- graphs ---------------------------------------------------------------------------------


def test_bonds_are_for_molecules_of_qm9s_elements(tmp_path: Path, crystals):
    assert loaded(tmp_path, ethanol(5), graph="bonds").batch([0]).edge_index.shape[1] == 16
    with pytest.raises(ValueError, match="is periodic, which a network on the graph of chemical"):
        module(tmp_path, crystals, graph="bonds").check()
    gold = [labelled(atoms) for atoms in rattled(Atoms("Au2", [(0, 0, 0), (0, 0, 2.5)]), 5)]
    with pytest.raises(ValueError, match="has elements other than H, C, N, O and F"):
        module(tmp_path, gold, graph="bonds").check()


def test_batches_carry_forces_of_the_right_atoms(tmp_path: Path, crystals):
    batch = loaded(tmp_path, crystals, cutoff=3.0).batch([7, 2])
    expected = np.concatenate([crystals[7].get_forces(), crystals[2].get_forces()])
    np.testing.assert_allclose(batch.forces.numpy(), expected, atol=1e-7)
    first, second = batch.to_data_list()
    assert torch.equal(first.forces, batch.forces[:4])
    assert second.cell.shape == (1, 3, 3)


# ---- forces ---------------------------------------------------------------------------------


def test_a_changed_file_is_not_trained_on_further(tmp_path: Path, crystals):
    state = loaded(tmp_path, crystals, cutoff=3.0).state_dict()
    loaded(tmp_path, crystals, cutoff=3.0).load_state_dict(state)
    with pytest.raises(ValueError, match=r"my\.extxyz changed since the run began.*--fresh"):
        loaded(tmp_path, crystals[1:], cutoff=3.0).load_state_dict(state)


def test_training_on_forces_needs_forces(tmp_path: Path, crystals):
    model = EquivariantRegressor(**SMALL, target="energy", unit="eV", force_weight=1.0)
    model.check_data(loaded(tmp_path, crystals, cutoff=3.0))
    with pytest.raises(ValueError, match=r"frame 1 \(line 1\) has no forces in a column 'f'.*forc"):
        model.check_data(loaded(tmp_path, crystals, cutoff=3.0, forces="f"))
    bare = [atoms.copy() for atoms in crystals]
    bare[0].calc = crystals[0].calc
    for atoms, label in zip(bare[1:], crystals[1:]):
        atoms.info["energy"] = label.get_potential_energy()
    with pytest.raises(ValueError, match=r"frame 2 \(line 7\) has no forces"):
        model.check_data(loaded(tmp_path, bare, cutoff=3.0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"force_weight": -1.0}, "force_weight is -1"),
        ({"force_weight": float("nan")}, "force_weight is nan"),
        ({"compile": True, "convolution": "e3nn"}, "compile does not have.*model.compile at false"),
        ({"cuda_graph": True}, "which cuda_graph does not have"),
        ({"network": "gated", "kernel": "cuequivariance"}, "kernel cuequivariance.*kernel auto"),
    ],
)
def test_what_has_no_second_derivatives_is_refused_with_what_to_use(options, words):
    with pytest.raises(ValueError, match=words):
        EquivariantRegressor(
            **{**SMALL, "target": "e", "unit": "eV", "force_weight": 1.0, **options}
        )


@pytest.mark.parametrize("network", ["convnet", "gated"])
def test_the_loss_and_its_gradients_are_those_of_e3nns_layers(tmp_path, crystals, network):
    """In float64; the loss of energies and forces is written out for e3nn's layers."""
    data = loaded(tmp_path, crystals, cutoff=4.0)
    batch = data.batch(data.splits["train"][:3])
    batch.pos = batch.pos.double()
    reference = {"convolution": "e3nn"} if network == "convnet" else {"kernel": "e3nn"}
    options = {**SMALL, "network": network, "target": "energy", "unit": "eV", "num_elements": 30}
    fast = EquivariantRegressor(**options, force_weight=0.7).double()
    e3nn = EquivariantRegressor(**options, **reference).double()
    e3nn.network.load_state_dict(fast.network.state_dict())
    fast.reference.fit(data)
    std = fast.target_std
    loss = fast._loss_of(fast, batch, fast.reference.standardize(batch).double())
    loss.backward()

    pos = batch.pos.clone().requires_grad_()
    batch.pos = pos
    energy = e3nn.network(batch)
    (slope,) = torch.autograd.grad(energy.sum(), pos, create_graph=True)
    wanted = fast.reference.standardize(batch).double()
    expected = (energy - wanted).square().mean()
    expected = expected + 0.7 * (-slope - batch.forces / std).square().mean()
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    compared = 0
    for (name, mine), theirs in zip(fast.network.named_parameters(), e3nn.network.parameters()):
        if theirs.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-9, atol=1e-11, msg=name)
            compared += 1
    assert compared > 5


def test_forces_are_computed_where_lightning_validates(tmp_path: Path, crystals):
    batch = loaded(tmp_path, crystals, cutoff=4.0).batch([0, 1])
    model = EquivariantRegressor(**SMALL, target="energy", unit="eV")
    with torch.inference_mode():
        energy, forces = energy_and_forces(model, batch, training=False)
    again, expected = energy_and_forces(model, batch, training=True)
    torch.testing.assert_close(forces, expected.detach())
    torch.testing.assert_close(energy, again.detach())
    assert not batch.pos.requires_grad
