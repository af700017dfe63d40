"""The terms of the prediction sum to it, and each is the sum over its paths."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from analysis.decomposition import decompose, mobius_terms, restricted_predictions, subsets
from networks.convnet import EquivariantConvNet
from tests.analysis.molecules import random_molecules
from tests.analysis.networks import last_weight, paths, small_network

MOLECULES = random_molecules(12, dtype=torch.float64)


@pytest.fixture(scope="module")
def network() -> EquivariantConvNet:
    return small_network("3x0e+2x1o+2x2e", num_layers=3)


def test_terms_sum_to_the_prediction_of_every_restriction(network: EquivariantConvNet) -> None:
    predictions = restricted_predictions(network, network.kept, [MOLECULES])
    terms = mobius_terms(predictions)
    for part, prediction in predictions.items():
        total = sum(terms[smaller] for smaller in subsets(part))
        torch.testing.assert_close(total, prediction, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        whole = network(MOLECULES)
    torch.testing.assert_close(
        torch.stack(list(terms.values())).sum(0), whole, rtol=1e-10, atol=1e-10
    )


def test_the_first_term_is_what_paths_through_scalars_alone_carry(
    network: EquivariantConvNet,
) -> None:
    """A path from scalars to scalars needs an edge of degree 0, so silencing features is enough."""

    def scalars_only(k: int, x: Tensor) -> Tensor:
        return torch.cat([x[:, :3], torch.zeros_like(x[:, 3:])], dim=1)

    with torch.no_grad():
        expected = network.run(network.prepare(MOLECULES), edit=scalars_only)
    terms = mobius_terms(restricted_predictions(network, network.kept, [MOLECULES]))
    torch.testing.assert_close(terms[()], expected, rtol=1e-10, atol=1e-10)


def test_a_network_without_paths_between_two_degrees_has_no_term_of_both() -> None:
    network = small_network("3x0e+2x1o+2x2e", num_layers=3)
    with torch.no_grad():
        for k in range(1, 3):
            for name_in, name_out, columns in paths(network, k):
                if {name_in, name_out} == {"1o", "2e"} or name_in == name_out != "0e":
                    last_weight(network, k)[:, columns] = 0.0
    terms = mobius_terms(restricted_predictions(network, network.kept, [MOLECULES]))
    size = terms[1,].abs().max()
    assert terms[1, 2].abs().max() < 1e-10 * size


def test_shares_sum_to_one_and_follow_the_covariance(network: EquivariantConvNet) -> None:
    predictions = restricted_predictions(network, network.kept, [MOLECULES])
    reference = torch.randn(12, dtype=torch.float64)
    target = torch.randn(12, dtype=torch.float64)
    found = decompose(predictions, reference, target, unit=2.0)
    assert [term.name for term in found.terms] == ["reference", "0", "0,1", "0,2", "0,1,2"]
    assert sum(term.share for term in found.terms) == pytest.approx(1.0)
    prediction = reference + 2.0 * predictions[1, 2]
    covariance = torch.stack([reference, prediction]).cov(correction=0)
    assert found.terms[0].share == pytest.approx(float(covariance[0, 1] / covariance[1, 1]))
    against_target = torch.stack([reference, target]).cov(correction=0)[0, 1]
    assert found.terms[0].covariance == pytest.approx(float(against_target))


def test_many_degrees_are_refused() -> None:
    network = small_network("1x0e+1x1o+1x2e+1x3o+1x4e+1x5o+1x6e", num_layers=2)
    with pytest.raises(ValueError, match="6 are more than 5"):
        restricted_predictions(network, network.kept, [MOLECULES])
