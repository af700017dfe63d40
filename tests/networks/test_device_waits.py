"""On an accelerator nothing in a training step may wait for the device to tell a value."""

from contextlib import nullcontext

import pytest
import torch

from networks.convnet import EquivariantConvNet
from networks.convolution.cost_model import ORDERS
from qm9.cache import PreparedData
from tests.networks.molecules import real_store
from tests.networks.watch import Watch


@pytest.mark.parametrize("irreps", ["8x0e+8x1o+8x2e", "32x0e"])
@pytest.mark.parametrize("graph", ["bonds", "radius"])
def test_a_training_step_waits_for_nothing(
    prepared_qm9: PreparedData, graph: str, irreps: str
) -> None:
    batch = real_store(prepared_qm9, graph)[torch.arange(3, 35)]
    network = EquivariantConvNet(irreps, num_layers=3)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    network(batch).sum().backward()  # tables that are made once
    with Watch() as watch:
        torch.nn.functional.mse_loss(network(batch), batch.y.float()).backward()
        optimizer.step()
    assert len(watch.operations) > 300
    assert watch.waits == []


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("graph", ["bonds", "radius"])
def test_nothing_in_a_training_step_comes_from_the_host(
    prepared_qm9: PreparedData, graph: str, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("networks.convolution.cost_model.ORDERS", (order,))
    monkeypatch.setattr("torch.autocast", lambda *_, **__: nullcontext())  # not for "meta"
    batch = real_store(prepared_qm9, graph)[torch.arange(3, 35)]
    batch = batch.apply(lambda x: x.to("meta") if isinstance(x, torch.Tensor) else x)
    network = EquivariantConvNet("8x0e+8x1o+8x2e", num_layers=3).to("meta")
    network(batch).sum().backward()  # tables that are made once
    with Watch() as watch:
        network(batch).sum().backward()
    assert len(watch.operations) > 300
    assert watch.devices == {"meta"}


@pytest.mark.parametrize("graph", ["bonds", "radius"])
def test_the_watch_sees_what_an_unpromised_graph_costs(
    prepared_qm9: PreparedData, graph: str
) -> None:
    batch = real_store(prepared_qm9, graph)[torch.arange(3, 35)]
    promised = EquivariantConvNet("8x0e+8x1o", num_layers=3)
    expected = promised(batch)
    del batch.neighbor_counts
    with Watch() as watch:
        found = promised(batch)
    assert "nonzero" in watch.waits
    assert torch.allclose(found, expected, rtol=1e-5)
