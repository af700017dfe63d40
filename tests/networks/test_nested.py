"""A step on a subset of the degrees is the restricted network's own step."""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from networks.nested import NestedNetworks
from networks.restrictable import RestrictableNetwork
from networks.restriction import keep_degrees
from tests.analysis.molecules import random_molecules
from tests.networks.variants import VARIANTS, small_network

MOLECULES = random_molecules(4, dtype=torch.float64)
TARGET = torch.linspace(-1.0, 1.0, 4, dtype=torch.float64)
IRREPS = "3x0e+2x1o+2x1e+2x2e+1x3o"


@cache
def network(variant: str) -> RestrictableNetwork:
    return small_network(variant, IRREPS, num_layers=4)


def gradients(module: nn.Module, prediction: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    nn.functional.mse_loss(prediction, TARGET).backward()
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in module.named_parameters()
    }


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("subset", [(), (1,), (2, 3), (1, 2, 3)])
def test_values_and_gradients_are_the_restricted_networks_own(
    variant: str, subset: tuple[int, ...]
) -> None:
    whole = network(variant)
    alone = whole.restricted(keep_degrees(whole.kept, (0, *subset)))
    predicted = NestedNetworks(whole)(subset, MOLECULES)
    torch.testing.assert_close(predicted, alone(MOLECULES), rtol=1e-10, atol=1e-10)

    found, own = gradients(whole, predicted), gradients(alone, alone(MOLECULES))
    selections = whole.weight_selections(alone.kept)
    for name, gradient in own.items():
        expected = gradient
        if name in selections:
            # The chain rule of "smaller weight = larger weight at a position times a factor".
            axis, at, factors = vars(selections[name]).values()
            shape = [-1 if a == axis else 1 for a in range(gradient.dim())]
            expected = torch.zeros_like(found[name])
            expected = expected.index_copy(axis, at, gradient * factors.view(shape))
        torch.testing.assert_close(found[name], expected, rtol=1e-10, atol=1e-10)


def test_the_weights_of_the_moment_are_used() -> None:
    whole = copy.deepcopy(network("convnet, fast"))
    nested = NestedNetworks(whole)
    before = nested((1,), MOLECULES)
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.mul_(1.1)
    alone = whole.restricted(keep_degrees(whole.kept, (0, 1)))
    after = nested((1,), MOLECULES)
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after, alone(MOLECULES), rtol=1e-10, atol=1e-10)


def test_a_network_is_built_once_and_again_in_another_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built = []
    restricted = RestrictableNetwork.restricted
    monkeypatch.setattr(
        RestrictableNetwork, "restricted", lambda *args: built.append(args) or restricted(*args)
    )
    whole = copy.deepcopy(network("convnet, fast"))
    nested = NestedNetworks(whole)
    for degrees in ((), (1,), (), (0, 1), (1, 2, 3)):
        nested(degrees, MOLECULES)
    assert len(built) == 2  # [0] and [0, 1]; the full set is the network itself
    whole.float()
    molecules = random_molecules(4, dtype=torch.float32)
    assert nested((1,), molecules).dtype == torch.float32
    assert len(built) == 3


@pytest.mark.parametrize("variant", ["convnet, fast", "gated, auto"])
def test_a_subset_costs_fewer_operations(variant: str) -> None:
    whole = network(variant)
    costs = [
        (small := whole.restricted(keep_degrees(whole.kept, (0, *s)))).operations(
            small.prepare(MOLECULES)
        )
        for s in ((), (1,), (1, 2), (1, 2, 3))
    ]
    assert costs == sorted(set(costs))


def test_degrees_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no degrees \[4\]: choose among \(1, 2, 3\)"):
        NestedNetworks(network("convnet, fast"))((1, 4), MOLECULES)
