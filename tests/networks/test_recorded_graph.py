"""Replaying a recorded step trains as the network itself does, on every batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch_geometric.data import Batch

from networks.convnet import EquivariantConvNet
from networks.convolution.cost_model import ORDERS
from networks.convolution.frames import TorchFrames
from networks.cuda_graph import PaddedNetwork, likely_shape
from networks.restrictable import RestrictableNetwork
from qm9.cache import PreparedData
from tests.networks.molecules import real_store
from tests.networks.recorded_graph import graphs_on_the_cpu
from tests.networks.variants import small_network

STEPS = 6
BATCH_SIZE = 8


def batches(prepared_qm9: PreparedData, graph: str) -> list[Batch]:
    store = real_store(prepared_qm9, graph)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    found = [store[order[k * 6 : k * 6 + BATCH_SIZE - k % 2]] for k in range(STEPS)]
    for batch in found:
        batch.pos = batch.pos.double()
    return found


def train(network: RestrictableNetwork, predict: object, found: list[Batch]) -> list[torch.Tensor]:
    """Take one step of AdamW per batch; return the predictions and the weights at the end."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.01, fused=True)
    predictions = []
    for batch in found:
        optimizer.zero_grad(set_to_none=True)
        prediction = predict(batch)  # type: ignore[operator]
        predictions.append(prediction.detach().clone())
        torch.nn.functional.mse_loss(prediction, batch.y / 10 + 7).backward()
        optimizer.step()
    return [*predictions, *(p.detach() for p in network.parameters())]


@pytest.mark.parametrize("graph", ["bonds", "radius"])
@pytest.mark.parametrize("order", ORDERS)
def test_replayed_steps_train_as_the_network_does(
    prepared_qm9: PreparedData, graph: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("networks.convolution.cost_model.ORDERS", (order,))
    # On a GPU edges are rotated by torch's operations.
    monkeypatch.setattr("networks.convolution.frames.CompiledFrames", TorchFrames)
    torch.manual_seed(0)
    network = EquivariantConvNet("4x0e+4x1o+4x2e", num_layers=3, embedding_dim=8).double()
    check_training(network, prepared_qm9, graph)


def test_a_gated_network_is_replayed_likewise(
    prepared_qm9: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a GPU it is made of torch's operations, too.
    monkeypatch.setattr("networks.channelwise.fused.needs_torch", lambda geometry: True)
    check_training(small_network("gated, auto", "4x0e+4x1o"), prepared_qm9, "radius")


def check_training(network: RestrictableNetwork, data: PreparedData, graph: str) -> None:
    found = batches(data, graph)
    other = copy.deepcopy(network)
    expected = train(other, other, found)
    shape = likely_shape(*real_store(data, graph).sizes(torch.arange(40)), BATCH_SIZE)
    with graphs_on_the_cpu() as graphs:
        replayed = train(network, PaddedNetwork(network, shape), found)
    fitting = sum(shape.holds(batch) for batch in found)
    forward, backward = graphs
    assert forward.replays == backward.replays == fitting >= STEPS - 2
    for one, two in zip(expected, replayed, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-10)
