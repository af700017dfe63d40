"""The channelwise product: all implementations agree, on all graphs, with all derivatives."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch

from networks.channelwise import fused
from networks.channelwise.e3nn_product import E3nnProduct
from networks.channelwise.fused import FusedProduct, edge_tables
from networks.channelwise.paths import ChannelwisePaths
from networks.channelwise.plain import ChannelwiseProduct, PlainProduct
from networks.gated import GatedNetwork
from networks.geometry import Geometry
from networks.vector_loops import compile_loop
from tests.networks.molecules import batch, directed_batch
from tests.networks.variants import small_network

NETWORK = small_network("gated, auto", "3x0e+2x0o+2x1o+3x1e+2x2e+1x3o", num_layers=7)
PATHS: ChannelwisePaths = NETWORK._layout(4).paths  # type: ignore[attr-defined]
GRAPHS: dict[str, Batch] = {
    "sorted pairs": batch([5, 1, 7]),
    "any order, some without a reverse": directed_batch(),
    "lone atoms": batch([1, 1]),
}


def prepared(data: Batch, forces: bool = False) -> Geometry:
    data = data.clone()
    data.pos = data.pos.clone().requires_grad_(forces)
    return NETWORK.prepare(data)  # type: ignore[return-value]


def inputs(geometry: Geometry, product: ChannelwiseProduct) -> tuple[Tensor, Tensor]:
    """Draw features and one row of weights for every edge that the product asks for."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(geometry.num_nodes, PATHS.dim_in, generator=generator, dtype=torch.float64)
    mixing = torch.randn(1, PATHS.num_weights, generator=generator, dtype=torch.float64)
    edges = product.weighted_edges(geometry)
    lengths = geometry.lengths if edges is None else geometry.lengths[edges]
    return x.requires_grad_(), (lengths[:, None] * mixing).cos().detach().requires_grad_()


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("kind", [FusedProduct, PlainProduct])
def test_values_and_gradients_are_e3nns(kind: type[ChannelwiseProduct], graph: str) -> None:
    geometry = prepared(GRAPHS[graph])
    reference = E3nnProduct(PATHS, NETWORK.edge_irreps).double()
    product = kind(PATHS, NETWORK.edge_irreps)
    (x, w), (x_ref, w_ref) = inputs(geometry, product), inputs(geometry, reference)
    found, expected = product(x, w, geometry), reference(x_ref, w_ref, geometry)
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    torch.manual_seed(1)
    direction = torch.randn_like(found)
    d_x, d_w = torch.autograd.grad(found, (x, w), direction)
    d_x_ref, d_w_ref = torch.autograd.grad(expected, (x_ref, w_ref), direction)
    torch.testing.assert_close(d_x, d_x_ref, rtol=1e-11, atol=1e-12)
    if len(d_w) < len(d_w_ref):  # an edge and its reverse share a row
        rows = torch.from_numpy(edge_tables(geometry).row_of_edge)
        d_w_ref = torch.zeros_like(d_w).index_add(0, rows, d_w_ref)
    torch.testing.assert_close(d_w, d_w_ref, rtol=1e-11, atol=1e-12)


def test_pairs_of_edges_share_a_row_of_weights() -> None:
    geometry = prepared(GRAPHS["sorted pairs"])
    edges = FusedProduct(PATHS, NETWORK.edge_irreps).weighted_edges(geometry)
    assert edges is not None
    assert 2 * len(edges) == geometry.edge_index.shape[1]


def test_second_derivatives_are_right() -> None:
    geometry = prepared(batch([3, 4]))
    product = FusedProduct(PATHS, NETWORK.edge_irreps)
    x, w = inputs(geometry, product)
    assert torch.autograd.gradgradcheck(
        lambda x, w: product(x, w, geometry), (x, w), fast_mode=True
    )


def test_forces_are_the_derivatives_by_positions() -> None:
    network = small_network("gated, auto", "2x0e+1x1o+1x2e", num_layers=2)
    data = batch([4])

    def predict(pos: Tensor) -> Tensor:
        moved = data.clone()
        moved.pos = pos
        return network(moved)

    assert torch.autograd.gradcheck(predict, data.pos.clone().requires_grad_())


def test_the_number_of_threads_does_not_change_a_single_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused, "_SMALL", 0)
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        monkeypatch.setattr("networks.threads._pool", ThreadPoolExecutor)
        geometry = prepared(GRAPHS["sorted pairs"])
        product = FusedProduct(PATHS, NETWORK.edge_irreps)
        x, w = inputs(geometry, product)
        out = product(x, w, geometry)
        results.append((out, *torch.autograd.grad(out.square().sum(), (x, w))))
    for one, other in zip(*results):
        assert torch.equal(one, other)


def test_loops_run_where_no_compiled_code_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr("numba.core.dispatcher.Dispatcher.enable_caching", refuse)
    filled = np.zeros(2)
    compile_loop(lambda array: array.fill(3.0))(filled)
    assert filled.tolist() == [3.0, 3.0]


def test_single_precision_is_as_good_as_it_can_be() -> None:
    network = GatedNetwork("8x0e+8x1o+8x2e", num_layers=3)
    data = batch([6, 9])
    exact = network.double()(data)
    single = data.clone()
    single.pos = data.pos.float()
    torch.testing.assert_close(network.float()(single).double(), exact, rtol=1e-4, atol=1e-4)
