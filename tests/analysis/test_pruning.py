"""What can be taken out in one step, and its importance, against autograd and brute force."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from e3nn import o3
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call

from analysis.measurement import TargetScale
from analysis.pruning import (
    channel_importance,
    channel_removals,
    degree_removals,
    describe_removed,
    irrep_removals,
    magnitude_importance,
    removal_to,
    taylor_importance,
)
from networks.convnet import EquivariantConvNet
from networks.restrictable import RestrictableNetwork
from networks.restriction import Kept, KeptLayer, connected
from tests.analysis.molecules import random_molecules
from tests.networks.variants import small_network

SCALE = TargetScale(mean=0.3, std=2.0, factor=1000.0)


@pytest.fixture(scope="module")
def network() -> EquivariantConvNet:
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return EquivariantConvNet(
            "4x0e+3x1o+2x2e",
            num_layers=3,
            embedding_dim=5,
            num_elements=10,
            num_radial=4,
            radial_hidden=6,
            neighbor_norm=1.0,
        )
    finally:
        torch.set_default_dtype(default)


@pytest.fixture(scope="module", params=["convnet, fast", "gated, auto"])
def any_network(request: pytest.FixtureRequest) -> RestrictableNetwork:
    return small_network(request.param, "3x0e+2x1o+2x2e", num_layers=3, neighbor_norm=1.0)


@pytest.fixture(scope="module")
def batches() -> list[Any]:
    found = [random_molecules(4, seed=seed, dtype=torch.float64) for seed in (1, 2)]
    for batch in found:
        batch.y = torch.linspace(-1, 2, 4, dtype=torch.float64)
    return found


def loss(network: RestrictableNetwork, weights: dict[str, Tensor], batch: Any) -> Tensor:
    error = functional_call(network, weights, (batch,)) - SCALE.standardize(batch.y)
    return error.square().mean()


def test_taylor_importance_is_the_derivative_by_the_weights_that_go(
    any_network: RestrictableNetwork, batches: list[Any]
) -> None:
    network = any_network
    importance = taylor_importance(network, batches, SCALE)
    for removal in irrep_removals(network)[::4]:
        smaller = network.restricted(removal.kept)
        expected = 0.0
        for batch in batches:
            share = torch.ones((), dtype=torch.float64, requires_grad=True)
            weights = {}
            selections = network.weight_selections(smaller.kept)
            for name, weight in network.named_parameters():
                factor = torch.ones_like(weight)
                if name in selections:
                    stays = torch.zeros(weight.shape[selections[name].axis], dtype=torch.bool)
                    stays[selections[name].positions] = True
                    shape = [1] * weight.dim()
                    shape[selections[name].axis] = -1
                    factor = torch.where(stays.view(shape), factor, share)
                weights[name] = weight.detach() * factor
            (slope,) = torch.autograd.grad(loss(network, weights, batch), share)
            expected += float(slope) ** 2 / len(batches)
        assert importance(removal.kept) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_channel_importance_is_the_derivative_by_a_channels_scale(
    network: EquivariantConvNet, batches: list[Any]
) -> None:
    found = channel_importance(network, batches, SCALE)
    for k, name, channel in ((0, "0e", 1), (0, "1o", 2), (1, "2e", 0), (2, "0e", 3)):
        irreps = network.layer_irreps[k]
        block = irreps.slices()[[str(ir) for _, ir in irreps].index(name)]
        dim = o3.Irrep(name).dim
        columns = torch.arange(block.start + channel * dim, block.start + (channel + 1) * dim)
        expected = 0.0
        for batch in batches:
            share = torch.ones((), dtype=torch.float64, requires_grad=True)

            def edit(
                j: int, x: Tensor, k: int = k, columns: Tensor = columns, share: Tensor = share
            ) -> Tensor:
                if j != k:
                    return x
                return x.index_copy(1, columns, x.index_select(1, columns) * share)

            error = network.run(network.prepare(batch), edit=edit) - SCALE.standardize(batch.y)
            (slope,) = torch.autograd.grad(error.square().mean(), share)
            expected += float(slope) ** 2 / len(batches)
        assert float(found[k][name][channel]) == pytest.approx(expected, rel=1e-9)


def test_magnitude_is_the_sum_of_squares_that_a_smaller_network_lacks(
    network: EquivariantConvNet,
) -> None:
    importance = magnitude_importance(network)
    assert importance(network.kept) == 0.0
    (no_l1,) = [r for r in degree_removals(network) if r.label.startswith("l = 1")]
    squares = 0.0
    for k, layer in enumerate(network.layers):
        weight = layer.get_parameter("radial.layer1.weight").detach()
        for key, path in network._paths(k, network.kept).items():
            if "1o" in (key[0], key[2]) or key[1] == 1:
                columns = weight[:, path.start : path.start + path.num_weights]
                squares += float(columns.square().sum())
    assert importance(no_l1.kept) == pytest.approx(squares, rel=1e-12)


@st.composite
def parts(draw: st.DrawFn, whole: Kept) -> Kept:
    return tuple(
        KeptLayer(
            {name: c for name, c in layer.channels.items() if draw(st.booleans()) or name == "0e"},
            frozenset(degree for degree in layer.edge_degrees if draw(st.booleans())),
        )
        for layer in whole
    )


@given(data=st.data())
@settings(max_examples=10, deadline=None, derandomize=True, phases=[Phase.generate])
def test_what_is_not_connected_does_not_matter(
    any_network: RestrictableNetwork, batches: list[Any], data: st.DataObject
) -> None:
    network = any_network
    kept = data.draw(parts(network.kept))
    try:
        smaller = network.restricted(kept)
    except ValueError:  # nothing is left that reaches the readout
        assume(False)
    ends = network.irreps_embedding, network.irreps_readout
    live = connected(kept, *ends, network.gated)
    tidy = network.restricted(live)
    torch.testing.assert_close(tidy(batches[0]), smaller(batches[0]), rtol=1e-11, atol=1e-12)
    if isinstance(tidy, EquivariantConvNet):  # a gated layer also keeps what mixes its input
        assert tidy.num_reachable_parameters() == tidy.num_parameters()


def test_an_edge_degree_that_only_feeds_gates_stays(
    any_network: RestrictableNetwork, batches: list[Any]
) -> None:
    scalars, vectors = {"0e": (0, 1, 2)}, {"1o": (0, 1)}
    kept = (
        KeptLayer(scalars, frozenset({0})),
        KeptLayer(vectors, frozenset({0, 1})),  # from scalars, degree 0 makes no vectors
        KeptLayer(scalars, frozenset({1})),
    )
    ends = any_network.irreps_embedding, any_network.irreps_readout
    live = connected(kept, *ends, any_network.gated)
    assert live[1].edge_degrees == (frozenset({0, 1}) if any_network.gated else frozenset({1}))
    smaller, tidy = any_network.restricted(kept), any_network.restricted(live)
    torch.testing.assert_close(tidy(batches[0]), smaller(batches[0]), rtol=1e-11, atol=1e-12)


def test_every_removal_saves_operations_and_is_listed_once(
    any_network: RestrictableNetwork, batches: list[Any]
) -> None:
    network = any_network
    prepared = network.prepare(batches[0])
    importance = channel_importance(network, batches, SCALE)
    removals = [*irrep_removals(network), *channel_removals(network, importance)]
    whole = network.operations(prepared)
    for removal in removals:
        assert network.operations(prepared, removal.kept) < whole
    assert len({str(removal.kept) for removal in removals}) == len(removals)
    for removal in removals[::9]:
        smaller = network.restricted(removal.kept)
        prepared_smaller = smaller.prepare(batches[0])
        expected = network.operations(prepared, removal.kept)
        assert smaller.operations(prepared_smaller) == expected


def test_halving_keeps_the_more_important_channels(
    network: EquivariantConvNet, batches: list[Any]
) -> None:
    importance = channel_importance(network, batches, SCALE)
    (halved,) = [
        r for r in channel_removals(network, importance) if r.label == "2 of 0e in layer 0"
    ]
    values = importance[0]["0e"]
    kept = halved.kept[0].channels["0e"]
    assert len(kept) == 2
    gone = [c for c in range(4) if c not in kept]
    assert min(values[list(kept)]) >= max(values[gone])


def test_irreps_that_are_asked_for_stay_in_every_layer(
    network: EquivariantConvNet, batches: list[Any]
) -> None:
    importance = channel_importance(network, batches, SCALE)
    removal = removal_to(network, o3.Irreps("3x0e+2x1o"), importance)
    smaller = network.restricted(removal.kept)
    assert [str(irreps) for irreps in smaller.layer_irreps] == ["3x0e+2x1o", "3x0e+2x1o", "3x0e"]
    assert str(smaller.edge_irreps) == "1x0e+1x1o"


@pytest.mark.parametrize(
    ("irreps", "words"),
    [
        ("4x0e+4x1o", "4x1o, and the network has 3x1o"),
        ("4x0e+1x3o", "1x3o, and the network has 0x3o"),
        ("3x1o", "nothing is left that reaches the readout's 0e"),
    ],
)
def test_irreps_that_are_no_subset_are_refused(
    network: EquivariantConvNet, batches: list[Any], irreps: str, words: str
) -> None:
    importance = channel_importance(network, batches, SCALE)
    with pytest.raises(ValueError, match=words):
        removal_to(network, o3.Irreps(irreps), importance)


def test_words_name_irreps_layers_channels_and_edges(network: EquivariantConvNet) -> None:
    whole = network.kept
    assert describe_removed(network, whole) == ""
    labels = {
        removal.label: describe_removed(network, removal.kept)
        for removal in irrep_removals(network)
    }
    assert labels["2e from all layers"] == "2e from all layers"
    assert labels["1o from layer 1"] == "1o from layer 1"
    assert labels["edge degree 2 from layer 1"] == "edge degree 2 from layer 1"
    fewer = KeptLayer({**whole[0].channels, "0e": (0, 3)}, whole[0].edge_degrees)
    assert describe_removed(network, (fewer, *whole[1:])) == "2 of 4 channels of 0e from layer 0"
