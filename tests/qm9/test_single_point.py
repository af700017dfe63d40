"""GFN2-xTB by tblite: moments turn with the molecule, forces are derivatives of the energy."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from e3nn import o3

from qm9.cache import PreparedData
from qm9.single_point import SinglePoint, compute_moments, single_point
from qm9.tensors import spherical_components
from qm9.xtb import load_or_compute
from tests.patience import LIMIT

pytestmark = pytest.mark.xtb

Z = np.array([8, 6, 1, 7, 1, 1])
"""Formamide, bent out of its plane."""
POS = np.array(
    [
        [0.02, 0.01, 1.22],
        [0.0, 0.0, 0.0],
        [0.03, 0.95, -0.55],
        [1.15, -0.5, -0.5],
        [1.95, 0.1, -0.3],
        [1.2, -1.4, -0.9],
    ]
)


@pytest.fixture(scope="module")
def formamide() -> SinglePoint:
    return single_point(Z, POS)


@pytest.mark.parametrize("sign", [1, -1])
def test_targets_turn_with_the_molecule(formamide: SinglePoint, sign: int) -> None:
    matrix = sign * o3.rand_matrix(dtype=torch.float64)
    m = matrix.numpy()
    moved = single_point(Z, POS @ m.T + 2.0)
    assert moved.energy == pytest.approx(formamide.energy, abs=1e-6)
    np.testing.assert_allclose(moved.dipole, m @ formamide.dipole, atol=1e-6)
    np.testing.assert_allclose(moved.quadrupole, m @ formamide.quadrupole @ m.T, atol=1e-6)
    np.testing.assert_allclose(moved.forces, formamide.forces @ m.T, atol=1e-6)
    matrix_2e = o3.Irrep("2e").D_from_matrix(matrix).numpy()
    turned = spherical_components(formamide.quadrupole) @ matrix_2e.T
    np.testing.assert_allclose(spherical_components(moved.quadrupole), turned, atol=1e-5)


def test_the_quadrupole_is_traceless_and_symmetric(formamide: SinglePoint) -> None:
    theta = formamide.quadrupole
    assert abs(np.trace(theta)) < 1e-9
    np.testing.assert_allclose(theta, theta.T, atol=1e-12)


def test_moments_agree_with_tblites_own(formamide: SinglePoint) -> None:
    """Its quadrupole is about the origin, and right on the diagonal only."""
    from tblite.interface import Calculator

    from qm9.single_point import BOHR, MASSES
    from qm9.tensors import E_ANGSTROM_TO_DEBYE

    masses = np.array([MASSES[int(z)] for z in Z])
    calculator = Calculator("GFN2-xTB", Z, (POS - masses @ POS / masses.sum()) / BOHR)
    calculator.set("verbosity", 0)
    calculator.set("accuracy", 0.001)
    result = calculator.singlepoint()
    unit = BOHR * E_ANGSTROM_TO_DEBYE
    np.testing.assert_allclose(formamide.dipole, result.get("dipole") * unit, atol=1e-6)
    diagonal = result.get("quadrupole")[[0, 2, 5]] * unit * BOHR
    np.testing.assert_allclose(np.diag(formamide.quadrupole), diagonal, atol=1e-6)


def test_forces_are_minus_the_finite_differences_of_the_energy(formamide: SinglePoint) -> None:
    step = 1e-3
    for atom, axis in ((0, 2), (3, 0), (5, 1)):
        energies = []
        for sign in (1, -1):
            pos = POS.copy()
            pos[atom, axis] += sign * step
            energies.append(single_point(Z, pos).energy)
        slope = (energies[0] - energies[1]) / (2 * step)
        assert formamide.forces[atom, axis] == pytest.approx(-slope, abs=1e-4)


def test_a_molecule_that_does_not_converge_is_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qm9.single_point.MAX_ITERATIONS", 12)
    hydrogen = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.74]])
    found = compute_moments([(Z, POS), (np.array([1, 1]), hydrogen)])
    assert np.isnan(found.energy).tolist() == [True, False]
    assert np.isnan(found.forces[: len(Z)]).all()
    assert np.isfinite(found.forces[len(Z) :]).all()


def test_molecules_of_qm9_are_computed_in_processes(
    prepared_qm9: PreparedData, tmp_path: Path
) -> None:
    rows = np.arange(100, 100_000, 2500)
    results = load_or_compute(prepared_qm9, rows, tmp_path, workers=2, progress=False)
    assert results.rows.tolist() == rows.tolist()
    assert len(results.failed) == 0
    norms = np.linalg.norm(results.moments.dipole, axis=1)
    mu = prepared_qm9.target("mu")[rows].numpy()
    assert np.corrcoef(norms, mu)[0, 1] > 0.97


COMPUTING = """
if __name__ == "__main__":
    import pathlib, sys
    import numpy as np
    import qm9.xtb
    from qm9.cache import load_or_build
    qm9.xtb.CHUNK = 10
    rows = np.arange(0, 100_000, 2000)
    results = qm9.xtb.load_or_compute(load_or_build(), rows, pathlib.Path(sys.argv[1]), workers=2)
    print(len(results.rows))
"""


def test_a_killed_computation_leaves_no_worker_and_goes_on(tmp_path: Path) -> None:
    program, cache = tmp_path / "compute.py", tmp_path / "cache"
    program.write_text(COMPUTING)
    command = [sys.executable, str(program), str(cache)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    first = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    workers: list[psutil.Process] = []
    while first.poll() is None and not list(cache.rglob("*.moments")):
        workers = psutil.Process(first.pid).children()
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert len(workers) >= 2
    assert psutil.wait_procs(workers, timeout=LIMIT)[1] == []
    kept = {path: path.read_bytes() for path in cache.rglob("*.moments")}
    assert 1 <= len(kept) < 5
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "50\n"
    assert {path: path.read_bytes() for path in kept} == kept
