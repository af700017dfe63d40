"""Padding to a fixed shape keeps the results, and every batch runs the same operations."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch

from networks.convnet import ConvolutionName, EquivariantConvNet
from networks.convolution.cost_model import ORDERS
from networks.cuda_graph import BatchShape, PaddedNetwork, likely_shape
from qm9.batching import MoleculeStore
from qm9.cache import PreparedData
from tests.networks.molecules import real_store
from tests.networks.operation_log import OperationLog

IRREPS = "8x0e+8x1o+8x2e"
BATCHES = (torch.arange(12, 24), torch.arange(20, 32), torch.arange(3), torch.arange(7, 19))
"""Three full batches and a smaller one. Molecules with a higher index are larger."""


def shape_of(store: MoleculeStore, batch_size: int = 12) -> BatchShape:
    return likely_shape(*store.sizes(torch.arange(40)), batch_size)


def gradients(network: EquivariantConvNet, prediction: Tensor) -> list[Tensor]:
    loss = prediction.square().sum()
    return list(torch.autograd.grad(loss, list(network.parameters()), retain_graph=True))


@pytest.mark.parametrize("graph", ["bonds", "radius"])
@pytest.mark.parametrize(
    ("convolution", "order"), [("fast", "edges"), ("fast", "nodes"), ("e3nn", "")]
)
def test_padding_changes_neither_predictions_nor_gradients(
    prepared_qm9: PreparedData,
    graph: str,
    convolution: ConvolutionName,
    order: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if order:
        monkeypatch.setattr("networks.convolution.cost_model.ORDERS", (order,))
    store = real_store(prepared_qm9, graph)
    network = EquivariantConvNet(IRREPS, num_layers=3, convolution=convolution).double()
    shape = shape_of(store)
    padded = PaddedNetwork(network, shape)
    for rows in BATCHES:  # nothing may remain of the previous batch
        batch = store[rows]
        batch.pos = batch.pos.double()
        assert shape.holds(batch)
        alone, found = network(batch), padded(batch)
        assert found.shape == (len(rows),)
        assert torch.allclose(found, alone, rtol=1e-12, atol=0)
        for a, b in zip(gradients(network, alone), gradients(network, found)):
            assert torch.linalg.norm(a - b) <= 1e-12 * torch.linalg.norm(a)


@pytest.mark.parametrize("order", ORDERS)
def test_results_do_not_depend_on_the_amount_of_padding(
    prepared_qm9: PreparedData, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("networks.convolution.cost_model.ORDERS", (order,))
    store = real_store(prepared_qm9, "bonds")
    network = EquivariantConvNet(IRREPS, num_layers=3).double()
    batch = store[BATCHES[0]]
    batch.pos = batch.pos.double()
    counts = np.sort(batch.neighbor_counts)[::-1]
    n, e = len(counts), batch.edge_index.shape[1]
    alone = network(batch)
    for shape in (
        BatchShape(12, n, e, counts),
        BatchShape(12, n, 5 * e, counts + 1),  # more edges than slots
        BatchShape(15, n + 9, e, np.append(counts, [1] * 9)),  # more slots than edges
    ):
        found = PaddedNetwork(network, shape)(batch)
        assert torch.allclose(found, alone, rtol=1e-12, atol=0)
        for a, b in zip(gradients(network, alone), gradients(network, found)):
            assert torch.linalg.norm(a - b) <= 1e-12 * torch.linalg.norm(a)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("graph", ["bonds", "radius"])
def test_every_batch_runs_the_same_operations_on_the_same_shapes(
    prepared_qm9: PreparedData, graph: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("networks.convolution.cost_model.ORDERS", (order,))
    logs: list[OperationLog] = []

    def recorded(network: EquivariantConvNet, batch: Batch) -> Callable[[Tensor], Tensor]:
        network(batch)  # fills caches

        def replay(pos: Tensor) -> Tensor:
            assert pos is batch.pos
            with OperationLog() as log:
                prediction = network(batch)
                gradients(network, prediction)
            logs.append(log)
            return prediction

        return replay

    monkeypatch.setattr("networks.cuda_graph._record", recorded)
    store = real_store(prepared_qm9, graph)
    padded = PaddedNetwork(EquivariantConvNet(IRREPS, num_layers=3), shape_of(store))
    for rows in BATCHES:
        padded(store[rows])
    assert len(logs[0].operations) > 300
    assert all(log.operations == logs[0].operations for log in logs)
    assert all(log.waits == [] for log in logs)


def test_a_batch_that_does_not_fit_goes_through_the_network_unpadded(
    prepared_qm9: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = real_store(prepared_qm9, "bonds")
    network = EquivariantConvNet(IRREPS, num_layers=3)
    shape = shape_of(store)
    monkeypatch.setattr("networks.cuda_graph._record", None)  # fails if it is called
    for smaller in (
        {"num_graphs": 11},
        {"num_nodes": 94},
        {"num_edges": 164},
        {"neighbor_counts": np.minimum(shape.neighbor_counts, 3)},
    ):
        batch = store[BATCHES[1]]
        padded = PaddedNetwork(network, replace(shape, **smaller))
        assert torch.equal(padded(batch), network(batch))


def test_the_likely_shape_holds_nearly_every_batch_and_not_much_more(
    prepared_qm9: PreparedData,
) -> None:
    data = prepared_qm9
    num_nodes = np.diff(data.node_offsets.numpy())
    targets = np.repeat(data.node_offsets[:-1].numpy(), np.diff(data.bond_offsets.numpy()))
    counts = np.bincount(targets + data.bonds[1].numpy(), minlength=num_nodes.sum())
    shape = likely_shape(num_nodes, counts, 32)
    starts = np.cumsum(num_nodes) - num_nodes
    generator, fit = np.random.default_rng(0), 0
    for _ in range(300):
        rows = generator.permutation(len(num_nodes))[:32]
        atoms = np.concatenate([np.arange(starts[r], starts[r] + num_nodes[r]) for r in rows])
        batch = Batch(neighbor_counts=counts[atoms], edge_index=torch.empty(2, counts[atoms].sum()))
        batch._num_graphs = 32
        fit += shape.holds(batch)
    assert fit >= 298
    assert shape.num_nodes < 1.3 * 32 * num_nodes.mean()
    assert shape.num_edges < 1.3 * 32 * counts.sum() / len(num_nodes)


def test_the_likely_shape_never_exceeds_a_batch_of_the_largest_molecules() -> None:
    shape = likely_shape(np.array([3, 1, 3, 2]), np.array([2, 1, 1, 0, 1, 2, 1, 1, 1]), 2)
    assert (shape.num_graphs, shape.num_nodes, shape.num_edges) == (2, 6, 8)
    assert shape.neighbor_counts.tolist() == [2, 2, 1, 1, 1, 1]
