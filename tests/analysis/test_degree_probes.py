"""Linear probes per degree find what was planted in one degree, and only there."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3
from torch import Tensor

from analysis.degree_probes import (
    Property,
    degree_invariants,
    degree_vectors,
    element_centers,
    probe_degrees,
    probe_vector,
)
from records.probing import ALL_DEGREES, BASELINE, VECTOR_BASELINE, LinearProbe

IRREPS = [o3.Irreps("3x0e+2x1e+2x2e"), o3.Irreps("2x0e+1x1o")]
NUM = 200


def molecules(seed: int = 0) -> tuple[list[Tensor], Tensor]:
    """Random features of both layers, and the molecule of each of 5 atoms."""
    generator = torch.Generator().manual_seed(seed)
    x = [torch.randn(5 * NUM, irreps.dim, generator=generator).double() for irreps in IRREPS]
    return x, torch.arange(NUM).repeat_interleave(5)


def counts() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(1, 9, (NUM, 2), generator=generator).double()


def by_name(probes: list[LinearProbe]) -> dict[str, LinearProbe]:
    return {probe.features: probe for probe in probes}


def test_invariants_are_norms_of_channels_summed_over_atoms() -> None:
    x, batch = molecules()
    found = degree_invariants(x, IRREPS, batch, NUM)
    assert {degree: values.shape[1] for degree, values in found.items()} == {0: 5, 1: 3, 2: 2}
    norms = x[0][:5, 3:6].norm(dim=1), x[1][:5, 2:5].norm(dim=1)
    torch.testing.assert_close(found[1][0, [0, 2]], torch.stack([n.sum() for n in norms]))


@pytest.mark.parametrize("intensive", [False, True])
def test_a_property_of_one_degree_is_found_in_that_degree_alone(intensive: bool) -> None:
    x, batch = molecules()
    found = degree_invariants(x, IRREPS, batch, NUM)
    y = found[1] @ torch.tensor([1.0, -2.0, 0.5]).double()
    if not intensive:
        y = y + counts() @ torch.tensor([300.0, -40.0]).double()
    sizes = torch.full((NUM, 1), 5.0).double()
    elements = sizes if intensive else counts()
    probes = by_name(probe_degrees(found, elements, Property("y", "meV", y, intensive)))
    assert list(probes) == [BASELINE, "l = 0", "l = 1", "l = 2", ALL_DEGREES]
    assert probes["l = 1"].r2 > 0.999
    assert probes["l = 1"].verdict == "informative"
    assert probes[ALL_DEGREES].r2 > 0.99
    for other in (BASELINE, "l = 0", "l = 2"):
        assert probes[other].r2 < 0.1
        assert probes[other].verdict != "informative"
        assert probes[other].r2_low < probes[other].r2 < probes[other].r2_high


def test_a_vector_is_found_by_a_linear_map_that_turns_with_the_molecule() -> None:
    x, batch = molecules()
    rotation = o3.rand_matrix().double()
    turned = [each @ irreps.D_from_matrix(rotation).T.double() for each, irreps in zip(x, IRREPS)]
    weights = torch.tensor([1.0, 2.0, -1.0]).double()
    vectors, after = (degree_vectors(each, IRREPS, batch, NUM) for each in (x, turned))
    torch.testing.assert_close(
        after, torch.einsum("ij,gjc->gic", rotation, vectors), rtol=1e-5, atol=1e-5
    )
    z, pos = torch.tensor([1, 6]).repeat(5 * NUM // 2), torch.randn(5 * NUM, 3).double()
    centers = element_centers(z, pos, batch, NUM, [1, 6])
    p = vectors @ weights + centers @ torch.tensor([0.3, -0.3]).double()
    probes = by_name(probe_vector(vectors, centers, Property("p", "D", p)))
    assert probes["l = 1"].r2 > 0.9999
    assert probes["l = 1"].num_features == 5
    assert probes[VECTOR_BASELINE].r2 < 0.5
    turned_p = Property("p", "D", p @ rotation.T)
    turned_centers = torch.einsum("ij,gjc->gic", rotation, centers)
    same = by_name(
        probe_vector(torch.einsum("ij,gjc->gic", rotation, vectors), turned_centers, turned_p)
    )
    assert same[VECTOR_BASELINE].mae == pytest.approx(
        probes[VECTOR_BASELINE].mae, rel=0.01
    )  # the penalty may differ


def test_centers_are_those_of_fixed_charges() -> None:
    z, pos = torch.tensor([8, 1, 1]), torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    centers = element_centers(z, pos, torch.zeros(3, dtype=torch.int64), 1, [1, 8])
    dipole = centers[0] @ torch.tensor([0.4, -0.8]).double()
    torch.testing.assert_close(dipole, torch.tensor([0.4, 0.4, 0.0]).double())


def test_without_vectors_only_the_baseline_is_left() -> None:
    none = degree_vectors([torch.zeros(4, 2)], [o3.Irreps("2x0e")], torch.tensor([0, 0, 1, 1]), 2)
    assert none.shape == (2, 3, 0)
