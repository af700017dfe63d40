"""On an accelerator, no training step may wait for a value from the device."""

from contextlib import nullcontext

import pytest
import torch

from networks.convnet import EquivariantConvNet
from networks.convolution.cost_model import ORDERS
from qm9.cache import PreparedData
from tests.networks.molecules import real_store
from tests.networks.operation_log import OperationLog


@pytest.mark.parametrize("irreps", ["8x0e+8x1o+8x2e", "32x0e"])
@pytest.mark.parametrize("graph", ["bonds", "radius"])
def test_a_training_step_waits_for_nothing(
    prepared_qm9: PreparedData, graph: str, irreps: str
) -> None:
    batch = real_store(prepared_qm9, graph)[torch.arange(3, 35)]
    network = EquivariantConvNet(irreps, num_layers=3)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    network(batch).sum().backward()  # fills caches
    with OperationLog() as log:
        torch.nn.functional.mse_loss(network(batch), batch.y.float()).backward()
        optimizer.step()
    assert len(log.operations) > 300
    assert log.waits == []


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("graph", ["bonds", "radius"])
def test_nothing_in_a_training_step_comes_from_the_host(
    prepared_qm9: PreparedData, graph: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("networks.convolution.cost_model.ORDERS", (order,))
    monkeypatch.setattr("torch.autocast", lambda *_, **__: nullcontext())  # refuses "meta"
    batch = real_store(prepared_qm9, graph)[torch.arange(3, 35)]
    batch = batch.apply(lambda x: x.to("meta") if isinstance(x, torch.Tensor) else x)
    network = EquivariantConvNet("8x0e+8x1o+8x2e", num_layers=3).to("meta")
    network(batch).sum().backward()  # fills caches
    with OperationLog() as log:
        network(batch).sum().backward()
    assert len(log.operations) > 300
    assert log.devices == {"meta"}


@pytest.mark.parametrize("graph", ["bonds", "radius"])
def test_the_log_sees_the_waits_of_a_graph_without_neighbor_counts(
    prepared_qm9: PreparedData, graph: str
) -> None:
    batch = real_store(prepared_qm9, graph)[torch.arange(3, 35)]
    network = EquivariantConvNet("8x0e+8x1o", num_layers=3)
    expected = network(batch)
    del batch.neighbor_counts
    with OperationLog() as log:
        found = network(batch)
    assert "nonzero" in log.waits
    assert torch.allclose(found, expected, rtol=1e-5)
