"""MACE behind the contract, in its own process, against MACE's calculator and a hook in it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.io import write
from torch import Tensor

import probe
from analysis.equivariance import rotation_error
from analysis.removal import expanded, invariant_means, run_without
from networks.layered import measuring
from probing.mace import MaceNetwork, load_mace
from probing.model import ProbedModel
from records.probing import PROBE, read_probing
from tests.programs import run_program
from tests.structures.made import batch_of, rattled

pytestmark = pytest.mark.mace
SCRIPT = Path(__file__).with_name("mace_script.py")
MOLECULES = [molecule("CH3CH2OH"), molecule("C6H6"), molecule("CH3OH")]


def python() -> Path:
    return Path(os.environ["IRREPSCOPE_MACE_PYTHON"])


def run_script(*arguments: str) -> str:
    command = [str(python()), str(SCRIPT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mace") / "small.model"
    run_script("make", str(path))
    return path


@pytest.fixture(scope="module")
def model(file: Path) -> ProbedModel:
    return load_mace(str(file), python(), trust_pickle=True)


def predicted(model: ProbedModel, structures: Sequence[Atoms]) -> Tensor:
    with torch.no_grad():
        return model.network(batch_of(structures, 4.0, torch.float32))


def test_energies_are_those_of_its_calculator(model: ProbedModel) -> None:
    crystals = rattled(bulk("C", "diamond", a=3.57), 2)
    for structures in (MOLECULES, crystals):
        assert model.own_energies is not None
        own = torch.tensor(model.own_energies(structures), dtype=torch.float32)
        torch.testing.assert_close(predicted(model, structures), own, rtol=1e-5, atol=1e-5)


def test_features_turn_and_restarts_continue(model: ProbedModel) -> None:
    network, batch = model.network, batch_of(MOLECULES, 4.0, torch.float32)
    assert [str(irreps) for irreps in network.layer_irreps] == ["8x0e+8x1o", "8x0e"]
    with measuring(network), torch.no_grad():
        assert rotation_error(network, batch) < 1e-4
        prepared = network.prepare(batch)
        features, energy = network.run_recording(prepared)
        for k, x in enumerate(features):
            torch.testing.assert_close(network.run(prepared, start=(k, x)), energy)


def test_removal_is_what_a_hook_in_mace_does(
    model: ProbedModel, file: Path, tmp_path: Path
) -> None:
    network, batch = model.network, batch_of(MOLECULES, 4.0, torch.float32)
    with measuring(network), torch.no_grad():
        prepared = network.prepare(batch)
        features, energy = network.run_recording(prepared)
        values = expanded(invariant_means([features], network), len(batch.z))
        removed = run_without(network, prepared, features, [(0, "1o")], values).prediction
    structures = tmp_path / "molecules.xyz"
    write(structures, MOLECULES, format="extxyz")
    printed = run_script("without", str(file), str(structures)).splitlines()[-1]
    changed = torch.tensor(json.loads(printed))
    torch.testing.assert_close(removed, changed, rtol=1e-5, atol=1e-5)
    assert float((changed - energy).abs().max()) > 1e-3


def test_gradients_cross_the_process(model: ProbedModel) -> None:
    network = model.network
    assert isinstance(network, MaceNetwork)
    batch = batch_of(MOLECULES[:1], 4.0, torch.float32)
    with measuring(network):
        prepared = network.prepare(batch)
        with torch.no_grad():
            features, _ = network.run_recording(prepared)
        x = features[0].requires_grad_()
        (gradient,) = torch.autograd.grad(network.run(prepared, start=(0, x)).sum(), x)
        direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            ends = [network.run(prepared, start=(0, x + h * direction)) for h in (0.01, -0.01)]
    slope = float((ends[0] - ends[1]).sum()) / 0.02
    assert float((gradient * direction).sum()) == pytest.approx(slope, rel=2e-2)


def test_a_file_of_structures_is_probed(file: Path, tmp_path: Path) -> None:
    structures, out = tmp_path / "molecules.xyz", tmp_path / "out"
    write(structures, MOLECULES, format="extxyz")
    arguments = [
        f"mace:{file}",
        f"--mace-python={python()}",
        f"--data={structures}",
        "--trust-pickle",
    ]
    code, output = run_program(probe.main, [*arguments, f"--out={out}", "--device=cpu"])
    assert code == 0, output
    assert "own calculator gives the same energies" in output
    assert "readout is not linear" in output
    assert read_probing(out / PROBE).model == f"mace:{file}"


def test_what_is_no_mace_is_refused(tmp_path: Path, file: Path) -> None:
    strange, element = tmp_path / "strange.model", tmp_path / "gold.xyz"
    torch.save(torch.nn.Linear(1, 1), strange)
    write(element, [Atoms("Au2", positions=[[0, 0, 0], [0, 0, 2.5]])], format="extxyz")
    chosen, trust = f"--mace-python={python()}", "--trust-pickle"
    for arguments, words in (
        (
            [f"mace:{strange}", chosen, trust],
            "it holds a Linear: MACE and ScaleShiftMACE are supported",
        ),
        ([f"mace:{element}", chosen, trust], "the MACE model cannot be used"),
        ([f"mace:{file}", chosen, trust, f"--data={element}"], "has Au, which"),
    ):
        code, output = run_program(probe.main, arguments)
        assert code == 2, output
        assert words in output
