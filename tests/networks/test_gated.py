"""The gated network: e3nn's own modules as an oracle, counts, selection rules, refusals."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from analysis.decomposition import restricted_predictions
from networks.gated import GatedNetwork
from networks.gated_layer import GatedLayer, GatedLayout, from_blocks, radial_inputs, to_blocks
from networks.geometry import Geometry
from networks.restriction import KeptLayer, keep_degrees
from tests.analysis.molecules import random_molecules
from tests.networks.variants import small_network

MOLECULES = random_molecules(4, dtype=torch.float64)
NEIGHBOR_NORM = 3.0


def geometry(edge_irreps: str) -> Geometry:
    """The molecules' edges, with harmonics of some degrees."""
    network = GatedNetwork("1x0e", edge_irreps=edge_irreps, num_layers=1)
    return network.prepare(MOLECULES)


def e3nn_layer(layer: GatedLayer, irreps: o3.Irreps, x: Tensor, edges: Geometry) -> Tensor:
    """Compute a layer with the modules that NequIP is made of. Blocks must all be fed."""
    scalars = o3.Irreps([(mul, ir) for mul, ir in irreps if ir.l == 0])
    gated = o3.Irreps([(mul, ir) for mul, ir in irreps if ir.l > 0])
    gates = o3.Irreps([(mul, "0e") for mul, _ in gated])
    count = irreps.count("0e") + gates.dim
    even = o3.Irrep("0e")
    before = o3.Irreps([(count, "0e"), *((mul, ir) for mul, ir in irreps if ir != even)])
    middle, instructions = [], []
    for _, ir_out in before:
        for i, (mul, ir) in enumerate(irreps):
            for j, (_, edge) in enumerate(edges.edge_irreps):
                if ir_out in ir * edge:
                    instructions.append((i, j, len(middle), "uvu", True))
                    middle.append((mul, ir_out))
    product = o3.TensorProduct(
        irreps, edges.edge_irreps, o3.Irreps(middle), instructions, shared_weights=False
    )
    harmonics = o3.spherical_harmonics(
        edges.edge_irreps, edges.vectors, normalize=True, normalization="component"
    )
    first = o3.Linear(irreps, irreps)
    second = o3.Linear(product.irreps_out.simplify(), before)
    own = o3.FullyConnectedTensorProduct(
        irreps, "10x0e", before, internal_weights=False, shared_weights=True
    )
    silu, tanh = torch.nn.functional.silu, torch.tanh
    gate = e3nn_nn.Gate(
        scalars,
        [silu if ir.p == 1 else tanh for _, ir in scalars],
        gates,
        [silu] * len(gates),
        gated,
    )
    source, target = edges.edge_index
    messages = product(
        first(x, layer.mixing)[source], harmonics, layer.radial(radial_inputs(edges, None))
    )
    received = torch.zeros(len(x), product.irreps_out.dim).index_add(0, target, messages)
    one_hot = torch.nn.functional.one_hot(edges.z, 10).to(x) * 10**0.5
    parts = layer.self_connection.split([mul * before.count(ir) for mul, ir in irreps], dim=1)
    weights = [
        part.unflatten(1, (mul, -1)).transpose(0, 1) for part, (mul, _) in zip(parts, irreps)
    ]
    total = second(received, layer.linear) / NEIGHBOR_NORM
    total = total + own(x, one_hot, torch.cat([w.flatten() for w in weights]))
    # e3nn's gate wants odd scalars first.
    odd = irreps.count("0o")
    parts = total.split([count, odd, before.dim - count - odd], dim=1)
    return gate(torch.cat([parts[1], parts[0], parts[2]], dim=1))


@pytest.mark.parametrize("kernel", ["auto", "e3nn"])
@pytest.mark.parametrize(
    ("irreps", "edge_irreps"),
    [
        ("4x0e+3x1o+2x2e", "0e+1o+2e"),
        ("3x0e+2x0o+2x1o+3x1e+2x2e+1x3o", "0e+1o+2e"),
        ("3x0e+2x1o+1x4e", "1o+3o"),
    ],
)
def test_a_layer_is_what_e3nns_modules_compute(
    kernel: Any, irreps: str, edge_irreps: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        torch.manual_seed(0)
        edges, blocks = geometry(edge_irreps), o3.Irreps(irreps)
        channels = {str(ir): tuple(range(mul)) for mul, ir in blocks}
        degrees = frozenset(edges.edge_irreps.ls)
        layout = GatedLayout(
            channels, degrees, channels, {name: len(kept) for name, kept in channels.items()}
        )
        layer = GatedLayer(layout, edges.edge_irreps, 10, 8, 5, NEIGHBOR_NORM, kernel)
        x = torch.randn(edges.num_nodes, blocks.dim)
        elements = edges.z.unique()
        one_hot = (edges.z[:, None] == elements).to(x)
        found = from_blocks(layer(to_blocks(x, channels), elements, one_hot, edges), channels)
        expected = e3nn_layer(layer, blocks, x, edges)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        weights = list(layer.parameters())
        for one, other in zip(
            torch.autograd.grad(found.square().sum(), weights),
            torch.autograd.grad(expected.square().sum(), weights),
        ):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9 * float(other.abs().max()))
    finally:
        torch.set_default_dtype(default)


IRREPS = "3x0e+2x1o+1x1e+2x2e"


def test_state_dict_and_function_do_not_depend_on_the_kernel() -> None:
    fast = small_network("gated, auto", IRREPS)
    reference = small_network("gated, e3nn", IRREPS, num_layers=4)
    reference.load_state_dict(fast.state_dict())
    torch.testing.assert_close(reference(MOLECULES), fast(MOLECULES), rtol=1e-10, atol=1e-11)


def test_starting_from_a_layer_is_the_rest_of_the_network() -> None:
    network = small_network("gated, auto", IRREPS)
    prepared = network.prepare(MOLECULES)
    features, prediction = network.run_recording(prepared)
    for k, x in enumerate(features):
        torch.testing.assert_close(network.run(prepared, start=(k, x)), prediction)


@pytest.mark.parametrize("trim", [False, True])
def test_reachable_parameters_are_those_with_a_gradient(trim: bool) -> None:
    network = small_network("gated, auto", IRREPS, trim_unreachable=trim)
    network(MOLECULES).square().sum().backward()
    live = 0
    for name, parameter in network.named_parameters():
        if name.startswith("output"):
            continue
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        # Not every element occurs in the molecules.
        by_element = name == "embedding.weight" or name.endswith("self_connection")
        touched = gradient.abs().sum(0) > 0 if by_element else gradient != 0
        live += int(touched.sum()) * (len(parameter) if by_element else 1)
    assert network.num_reachable_parameters() == live
    assert network.num_parameters() >= live


def test_blocks_that_are_filled_and_reachable_are_those_that_autograd_finds() -> None:
    network = small_network("gated, auto", IRREPS, trim_unreachable=False)
    features, prediction = network.run_recording(network.prepare(MOLECULES))
    gradients = torch.autograd.grad(prediction.sum(), features, allow_unused=True)
    for k, (x, gradient) in enumerate(zip(features, gradients)):
        slices = network.layer_irreps[k].slices()
        for where, (_, ir) in zip(slices, network.layer_irreps[k]):
            assert bool(x[:, where].any()) == network.filled[k][str(ir)]
            reached = gradient is not None and bool(gradient[:, where].any())
            assert reached == network.reachable[k][str(ir)]


def test_gates_close_where_nothing_feeds_scalars() -> None:
    """Without scalars in a layer, and edges of degree 0 alone, no gate of the next one opens."""
    whole = small_network("gated, auto", "3x0e+2x1o", num_layers=4)
    closed = KeptLayer({"1o": (0, 1)}, frozenset({0, 1}))
    kept = (closed, KeptLayer({"0e": (0,), "1o": (0, 1)}, frozenset({0})), *whole.kept[2:])
    with pytest.raises(ValueError, match="no path from the embedding"):
        whole.restricted(kept)


def test_an_edge_at_the_cutoff_carries_nothing() -> None:
    network = small_network("gated, auto", "2x0e+2x1o", cutoff=2.0, num_layers=2)
    data = random_molecules(1, dtype=torch.float64)
    data.pos = torch.zeros_like(data.pos)
    data.pos[:, 0] = 3.0 * torch.arange(len(data.pos))
    alone = data.clone()
    alone.edge_index = data.edge_index[:, :0]
    torch.testing.assert_close(network(data), network(alone), rtol=1e-12, atol=1e-13)


def test_default_edges_and_embedding_follow_the_irreps() -> None:
    network = GatedNetwork("5x0e+2x1o+3x1e", num_layers=4)
    assert str(network.edge_irreps) == "1x0e+1x1o"
    assert network.embedding.weight.shape == (10, 5)
    assert str(GatedNetwork("4x0e+2x1o", edge_irreps="0e+1o+2e").edge_irreps) == "1x0e+1x1o+1x2e"


def test_a_network_of_gates_is_not_decomposed() -> None:
    network = small_network("gated, auto", "2x0e+2x1o")
    with pytest.raises(ValueError, match="GatedNetwork is not linear in its features"):
        restricted_predictions(network, network.kept, [MOLECULES])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "triton"}, "choose one of auto, e3nn, cuequivariance, openequivariance"),
        ({"kernel": "cuequivariance"}, "pip install cuequivariance-torch"),
        ({"kernel": "openequivariance"}, "pip install openequivariance"),
        ({"num_radial": 0}, "num_radial is 0: it must be a positive number"),
        ({"neighbor_norm": float("nan")}, "neighbor_norm is nan"),
        ({"irreps": "16x0e+foo"}, "cannot be parsed"),
        ({"edge_irreps": "2x0e"}, "spherical harmonics have each degree once"),
    ],
)
def test_unusable_options_are_named(
    options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "networks.channelwise.choice.find_spec",
        lambda name: None if "equivariance" in name else find(name),
    )
    with pytest.raises(ValueError, match=message) as error:
        GatedNetwork(**options)
    assert "\n" not in str(error.value)


def test_a_kernel_without_a_cpu_path_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("networks.channelwise.choice.find_spec", lambda name: True)
    network = GatedNetwork("2x0e+2x1o", kernel="openequivariance", num_layers=2)
    with pytest.raises(ValueError, match="CUDA devices only, not on cpu: choose kernel auto"):
        network(random_molecules(2))


def test_fewer_degrees_have_fewer_weights_and_the_gates_go_too() -> None:
    network = small_network("gated, auto", "3x0e+2x1o+2x2e", num_layers=3)
    smaller = network.restricted(keep_degrees(network.kept, (0, 1)))
    assert smaller._layout(0).heads("0e") == (
        *(("0e", channel) for channel in range(3)),
        *(("1o", channel) for channel in range(2)),
    )
    assert (
        smaller.num_parameters()
        == small_network("gated, auto", "3x0e+2x1o", num_layers=3).num_parameters()
    )


class CountedProduct(torch.nn.Module):
    """Does the work of a channelwise product in matrix products that PyTorch's counter sees."""

    def __init__(self, layer: GatedLayer) -> None:
        super().__init__()
        self.paths = layer.layout.paths
        self.weight_products = 0

    def weighted_edges(self, edges: Geometry) -> None:
        """Weights are wanted for every edge."""

    def forward(self, sent: Tensor, weights: Tensor, edges: Geometry) -> Tensor:
        """Multiply every edge's channels with a coupling matrix, and the result with weights."""
        count = len(weights)
        for path in self.paths.paths:
            dims = o3.Irrep(path.irrep_in).dim, o3.Irrep(path.irrep_out).dim
            messages = torch.bmm(
                sent.new_zeros(count, path.channels, dims[0]), sent.new_zeros(count, *dims)
            )
            self.weight_products += messages.numel()
        return sent.new_zeros(edges.num_nodes, self.paths.dim_out)


@pytest.mark.parametrize(
    ("irreps", "edge_irreps"), [("3x0e+2x1o+1x1e+4x2e", None), ("5x0e+3x1o", "0e+1o+2e")]
)
def test_operations_are_those_that_pytorch_counts(irreps: str, edge_irreps: str | None) -> None:
    network = small_network("gated, auto", irreps, edge_irreps=edge_irreps)
    # Self-connections are computed for each element that occurs, and counted for each atom.
    carbon = random_molecules(4, dtype=torch.float64)
    carbon.z = torch.full_like(carbon.z, 6)
    prepared = network.prepare(carbon)
    products = []
    for layer in network.layers:
        layer.product = CountedProduct(layer)
        products.append(layer.product)
    with FlopCounterMode(display=False) as counter:
        network.run(prepared)
    readout = prepared.num_nodes * network.irreps.count("0e") + prepared.num_graphs
    multiply_adds = counter.get_total_flops() // 2 + sum(p.weight_products for p in products)
    assert network.operations(prepared) == multiply_adds - readout
