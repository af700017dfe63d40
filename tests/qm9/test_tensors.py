"""Vectors and tensors of molecules turn as e3nn's irreps say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from e3nn import o3

from qm9.cache import PreparedData
from qm9.tensors import E_ANGSTROM_TO_DEBYE, charge_dipoles, spherical_components


def traceless(count: int = 20) -> np.ndarray:
    random = np.random.default_rng(0).normal(size=(count, 3, 3))
    symmetric = random + random.transpose(0, 2, 1)
    trace = np.trace(symmetric, axis1=1, axis2=2)
    return symmetric - trace[:, None, None] / 3 * np.eye(3)


def test_components_of_a_tensor_are_e3nns_and_keep_its_norm() -> None:
    tensors = traceless()
    found = spherical_components(tensors)
    symbols = o3.wigner_3j(1, 1, 2, dtype=torch.float64).numpy() * 5**0.5
    np.testing.assert_allclose(found, np.einsum("gij,ijm->gm", tensors, symbols), atol=1e-12)
    np.testing.assert_allclose(
        np.linalg.norm(found, axis=1), np.linalg.norm(tensors, axis=(1, 2)), rtol=1e-12
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_components_of_a_turned_tensor_are_turned_by_2e(sign: int) -> None:
    matrix = sign * o3.rand_matrix(dtype=torch.float64)
    turned = np.einsum("ab,gbc,dc->gad", matrix.numpy(), traceless(), matrix.numpy())
    matrix_2e = o3.Irrep("2e").D_from_matrix(matrix).numpy()
    expected = spherical_components(traceless()) @ matrix_2e.T
    np.testing.assert_allclose(spherical_components(turned), expected, atol=1e-5)


def test_a_trace_is_ignored() -> None:
    shifted = traceless() + 3.0 * np.eye(3)
    np.testing.assert_allclose(spherical_components(shifted), spherical_components(traceless()))


def test_charge_dipole_is_the_sum_over_atoms_and_turns_with_the_molecules() -> None:
    rng = np.random.default_rng(1)
    offsets = np.array([0, 3, 8, 12])
    pos, charges = rng.normal(size=(12, 3)), rng.normal(size=12)
    for start, stop in pairwise(offsets):
        charges[start:stop] -= charges[start:stop].mean()
    found = charge_dipoles(charges, pos, offsets)
    for row, (start, stop) in enumerate(pairwise(offsets)):
        expected = sum(charges[i] * pos[i] for i in range(start, stop)) * E_ANGSTROM_TO_DEBYE
        np.testing.assert_allclose(found[row], expected, atol=1e-12)
    matrix = -o3.rand_matrix(dtype=torch.float64).numpy()
    turned = charge_dipoles(charges, pos @ matrix.T + 7.0, offsets)
    np.testing.assert_allclose(turned, found @ matrix.T, atol=1e-10)


def test_charge_dipoles_of_qm9_go_with_its_own_norms(prepared_qm9: PreparedData) -> None:
    dipoles, mu = prepared_qm9.target("charge_dipole"), prepared_qm9.target("mu")
    assert dipoles.shape == (len(prepared_qm9), 3)
    norms = dipoles.norm(dim=1)
    assert np.corrcoef(norms, mu)[0, 1] > 0.94
    # Water, whose charges are -0.59 and 0.29, by hand.
    assert float(norms[2]) == pytest.approx(0.589706 * E_ANGSTROM_TO_DEBYE * 0.584, rel=0.02)
