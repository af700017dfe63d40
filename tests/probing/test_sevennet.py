"""SevenNet behind the contract, against SevenNet's own calculator and hooks made by hand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Batch

import probe
from analysis.equivariance import representation
from analysis.removal import expanded, invariant_means, run_without
from analysis.utilization import split_blocks
from networks.layered import measuring
from probing.model import ProbedModel
from probing.sevennet import _reading_data_only, load_sevennet
from records.probing import PROBE, read_probing
from tests.programs import run_program
from tests.structures.made import batch_of, rattled

pytestmark = pytest.mark.probe
IRREPS = {"7net-0": "128x0e+64x1e+32x2e", "7net-l3i5": "128x0e+64x1e+32x2e+32x3e"}
STRUCTURES = [
    molecule("CH3CH2OH"),
    molecule("C6H6"),
    rattled(bulk("NaCl", "rocksalt", a=5.6), 1)[0],
    rattled(bulk("Cu", cubic=True), 1)[0],
]
MOLECULES = STRUCTURES[:2]


@pytest.fixture(scope="module", params=IRREPS)
def model(request: pytest.FixtureRequest) -> ProbedModel:
    return load_sevennet(request.param, torch.device("cpu"))


def collated(structures: Sequence[Atoms]) -> Batch:
    return batch_of(structures, 5.0, torch.float32)


def calculator(model: ProbedModel) -> Any:
    with _reading_data_only():
        from sevenn.calculator import SevenNetCalculator

        return SevenNetCalculator(model.name.partition(":")[2], device="cpu")


def own_energies(calc: Any, structures: Sequence[Atoms]) -> Tensor:
    energies = []
    for atoms in structures:
        copy = atoms.copy()
        copy.calc = calc
        energies.append(copy.get_potential_energy())
    return torch.tensor(energies)


def test_irreps_are_the_models_own(model: ProbedModel) -> None:
    name = model.name.partition(":")[2]
    layers = [str(irreps) for irreps in model.network.layer_irreps]
    assert layers == [IRREPS[name]] * 4 + ["128x0e"]
    assert {ir.p for _, ir in model.network.edge_irreps} == {1}
    assert all(model.network.reachable[0].values())


def test_energies_and_forces_are_those_of_its_calculator(model: ProbedModel) -> None:
    calc = calculator(model)
    # Periodic and other structures are not collated together.
    for some in (STRUCTURES[:2], STRUCTURES[2:]):
        batch = collated(some)
        batch.pos.requires_grad_()
        energies = model.network(batch)
        (gradient,) = torch.autograd.grad(energies.sum(), batch.pos)
        torch.testing.assert_close(
            energies.detach(), own_energies(calc, some), rtol=1e-6, atol=2e-5
        )
        for g, atoms in enumerate(some):
            copy = atoms.copy()
            copy.calc = calc
            mine = -gradient[batch.batch == g].numpy()
            np.testing.assert_allclose(mine, copy.get_forces(), atol=2e-4)


def test_blocks_turn_by_their_wigner_matrices_and_not_under_inversion(model: ProbedModel) -> None:
    network = model.network
    rotation = o3.rand_matrix(dtype=torch.float64)
    batch = collated(MOLECULES)
    moved, mirrored = batch.clone(), batch.clone()
    moved.pos = (batch.pos.double() @ rotation.T).float()
    mirrored.pos = -batch.pos
    with measuring(network), torch.no_grad():
        before, energy = network.run_recording(network.prepare(batch))
        after, same = network.run_recording(network.prepare(moved))
        opposite, _ = network.run_recording(network.prepare(mirrored))
    torch.testing.assert_close(same, energy, rtol=1e-6, atol=1e-4)
    for irreps, x, y, z in zip(network.layer_irreps, before, after, opposite):
        blocks, turned, inverted = (split_blocks(each.double(), irreps) for each in (x, y, z))
        for name, t in blocks.items():
            expected = t @ representation(o3.Irrep(name), rotation).T
            assert float((turned[name] - expected).norm() / expected.norm()) < 1e-4, name
            if name == "1e":  # not the pseudovector that its label says
                assert float((inverted[name] - t).norm() / t.norm()) > 0.5


@pytest.mark.parametrize(("layer", "irrep"), [(0, "1e"), (2, "2e"), (3, "0e")])
def test_removal_is_what_a_hook_on_the_package_does(
    model: ProbedModel, layer: int, irrep: str
) -> None:
    network, batch = model.network, collated(MOLECULES)
    calc = calculator(model)
    with measuring(network), torch.no_grad():
        prepared = network.prepare(batch)
        features, _ = network.run_recording(prepared)
        values = expanded(invariant_means([features], network), len(batch.z))
        removed = run_without(network, prepared, features, [(layer, irrep)], values).prediction
    block = {"0e": slice(0, 128), "1e": slice(128, 320), "2e": slice(320, 480)}[irrep]
    mean = features[layer][:, :128].mean(0) if irrep == "0e" else 0.0

    def hook(module: Any, args: Any, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, block] = mean
        return x

    gate = calc.model.get_submodule(f"{layer}_equivariant_gate.gate")
    handle = gate.register_forward_hook(hook)
    changed = own_energies(calc, MOLECULES)
    handle.remove()
    intact = own_energies(calc, MOLECULES)
    torch.testing.assert_close(removed, changed, rtol=1e-6, atol=2e-5)
    assert float((changed - intact).abs().max()) > 0.01


def test_a_file_is_probed_and_nothing_is_left_behind(tmp_path: Path) -> None:
    file, out = tmp_path / "some.xyz", tmp_path / "out"
    write(file, MOLECULES, format="extxyz")
    arguments = ["sevenn:7net-0", f"--data={file}", "--device=cpu", f"--out={out}"]
    code, output = run_program(probe.main, arguments)
    assert code == 0, output
    found = read_probing(out / PROBE)
    assert (found.model, found.quantity, found.unit) == ("sevenn:7net-0", "shift", "meV")
    assert "own calculator gives the same energies" in output
    assert "irreps labelled e stand for SO(3) only" in output
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_a_slab_has_no_images_across_its_surface(tmp_path: Path) -> None:
    """They would be 3 angstrom away."""
    file = tmp_path / "slabs.xyz"
    slab = Atoms("Al2", positions=[[0, 0, 0], [2, 2, 1]], cell=[4, 4, 4], pbc=[True, True, False])
    write(file, [slab, *rattled(slab, 1)], format="extxyz")
    code, output = run_program(probe.main, ["sevenn:7net-0", f"--data={file}", f"--out={tmp_path}"])
    assert code == 0, output
    assert "own calculator gives the same energies" in output


def test_an_element_that_it_does_not_know_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "some.xyz"
    write(file, [Atoms("RnH", positions=[[0, 0, 0], [0, 0, 1.7]])], format="extxyz")
    code, output = run_program(probe.main, ["sevenn:7net-0", f"--data={file}"])
    assert code == 2
    assert "has Rn, which sevenn:7net-0 does not know" in output


def test_an_adapter_that_computes_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "some.xyz"
    write(file, MOLECULES, format="extxyz")
    monkeypatch.setattr("probing.sevennet.own_energies", lambda *_: [-46.6, -76.0])
    code, output = run_program(probe.main, ["sevenn:7net-0", f"--data={file}"])
    assert code == 2
    assert "its own calculator gives other energies" in output


class Code:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/irrepscope_was_here",)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    file, trace = tmp_path / "evil.pth", Path("/tmp/irrepscope_was_here")
    trace.unlink(missing_ok=True)
    torch.save({"config": Code(), "model_state_dict": {}}, file)
    code, output = run_program(probe.main, [f"sevenn:{file}"])
    assert code == 2
    assert "cannot be read" in output
    assert not trace.exists()
