"""The contract between networks and what examines them, on a stranger's network."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
import torch
from e3nn import o3
from torch import nn

import networks.layered
from analysis.equivariance import rotation_error
from analysis.measurement import TargetScale, measure_utilization
from networks.layered import LayeredNetwork, measuring
from networks.restriction import keep_all
from records.names import NETWORK
from tests.analysis.molecules import random_molecules


def documented_network() -> LayeredNetwork:
    """The network that the docstring of `LayeredNetwork` writes down."""
    (example,) = doctest.DocTestFinder(recurse=False).find(LayeredNetwork, "LayeredNetwork")
    names: dict[str, Any] = {**vars(networks.layered), "nn": nn, "o3": o3}
    for step in example.examples:
        exec(compile(step.source, "docstring", "exec"), names)
    network: LayeredNetwork = names["TwoLayers"]().double()
    return network


def test_the_documented_network_is_measured_and_equivariant() -> None:
    torch.manual_seed(0)
    network, molecules = documented_network(), random_molecules(12, dtype=torch.float64)
    with measuring(network):
        utilization = measure_utilization(network, [molecules], TargetScale(), num_bootstrap=20)
        assert rotation_error(network, molecules) < 1e-6
    found = {(row.layer, row.irrep): row for row in utilization.rows}
    assert found["layer1", "1o"].effects["reliance"].verdict == "unreachable"
    assert found["layer0", "1o"].reachable
    assert found[NETWORK, "1o"].effects["reliance"].value != 0


def test_starting_from_a_layer_is_the_rest_of_the_network() -> None:
    network, molecules = documented_network(), random_molecules(5, dtype=torch.float64)
    prepared = network.prepare(molecules)
    features, prediction = network.run_recording(prepared)
    for k, x in enumerate(features):
        assert torch.equal(network.run(prepared, start=(k, x)), prediction)
    assert torch.equal(network(molecules), prediction)


def test_an_edit_is_what_the_next_layer_sees() -> None:
    network, molecules = documented_network(), random_molecules(5, dtype=torch.float64)
    prepared = network.prepare(molecules)
    seen: list[int] = []

    def zero(k: int, x: torch.Tensor) -> torch.Tensor:
        seen.append(k)
        return torch.zeros_like(x)

    assert not network.run(prepared, edit=zero).any()
    assert seen == [0, 1]


@pytest.mark.parametrize("method", ["block_parameters", "restricted", "operations"])
def test_what_a_network_does_not_offer_is_said(method: str) -> None:
    network = documented_network()
    whole = keep_all(network.irreps, network.edge_irreps, 2)
    arguments = {"block_parameters": (0, "1o"), "restricted": (whole,), "operations": (None,)}
    with pytest.raises(TypeError, match=f"TwoLayers does not implement `{method}`, which"):
        getattr(network, method)(*arguments[method])


def test_measuring_uses_up_nothing_of_what_torch_may_compile() -> None:
    compiled = []

    def backend(graph, inputs):  # type: ignore[no-untyped-def]
        compiled.append(graph)
        return graph.forward

    @torch.compile(backend=backend, dynamic=False)
    def doubled(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    with measuring(nn.Linear(1, 1)):
        for size in range(2, 22):  # more shapes than torch compiles before it gives up
            assert torch.equal(doubled(torch.ones(size)), 2 * torch.ones(size))
    assert compiled == []
    doubled(torch.ones(30))
    assert len(compiled) == 1
