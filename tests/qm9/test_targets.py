import numpy as np
import pytest
from e3nn import o3

from qm9.cache import PreparedData
from qm9.source import PROPERTY_COLUMNS
from qm9.targets import (
    ATOM_REFERENCES,
    COMPUTED,
    HARTREE_TO_EV,
    SCALARS,
    TARGETS,
    anisotropy,
    get_target,
)


def test_unknown_target_names_those_there_are():
    with pytest.raises(ValueError, match="'u0' is unknown: choose one of U0, U, H, G, homo"):
        get_target("u0")


@pytest.mark.parametrize("name", TARGETS)
def test_every_target_has_a_unit_and_a_source(name):
    target = get_target(name)
    assert target.name == name
    assert (name in PROPERTY_COLUMNS or name == "alpha_aniso") == (name in SCALARS)
    assert (target.unit == "eV") == (target.reporting_unit == "meV")
    assert target.reporting_factor == (1000 if target.unit == "eV" else 1)


def test_norms_are_scalars_and_shapes_follow_the_rank():
    assert {name: t.rank for name, t in TARGETS.items() if t.rank} == {
        "charge_dipole": 1,
        "dipole": 1,
        "quadrupole": 2,
    }
    for target in TARGETS.values():
        assert target.shape == ((o3.Irrep(target.irrep).dim,) if target.rank else ())
        assert o3.Irrep(target.irrep) == o3.Irrep(target.rank, (-1) ** target.rank)
        assert (target.method == "GFN2-xTB") == (target.name in COMPUTED)


def test_methane_by_hand(prepared_qm9: PreparedData):
    # Total energy of the CSV's first row minus one carbon and four hydrogens.
    total = {"U0": -40.47893, "U": -40.476062, "H": -40.475117, "G": -40.498597}
    for name, energy in total.items():
        h, c, *_ = ATOM_REFERENCES[name]
        expected = (energy - c - 4 * h) * HARTREE_TO_EV
        assert prepared_qm9.target(name)[0].item() == pytest.approx(expected, abs=1e-9)


def test_units_of_methane_are_those_of_the_literature(prepared_qm9: PreparedData):
    values = {name: prepared_qm9.target(name)[0].item() for name in SCALARS}
    assert values["gap"] == pytest.approx(13.736, abs=1e-3)  # eV
    assert values["zpve"] == pytest.approx(1.2177, abs=1e-4)  # eV
    assert values["mu"] == 0  # D
    assert values["alpha"] == 13.21  # a0^3
    assert values["r2"] == 35.3641  # a0^2
    assert values["cv"] == 6.469  # cal/(mol K)


def test_gap_is_lumo_minus_homo(prepared_qm9: PreparedData):
    gap = prepared_qm9.target("lumo") - prepared_qm9.target("homo")
    # The CSV rounds each to 1e-4 hartree.
    assert (gap - prepared_qm9.target("gap")).abs().max() < 1.5e-4 * HARTREE_TO_EV


def test_anisotropy_is_the_norm_of_the_traceless_part():
    random = np.random.default_rng(0).normal(size=(50, 3, 3))
    tensors = random + random.transpose(0, 2, 1)
    traceless = tensors - np.trace(tensors, axis1=1, axis2=2)[:, None, None] / 3 * np.eye(3)
    columns = tensors[:, [0, 0, 1, 0, 1, 2], [0, 1, 1, 2, 2, 2]]
    np.testing.assert_allclose(anisotropy(columns), np.linalg.norm(traceless, axis=(1, 2)))
