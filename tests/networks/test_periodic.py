"""Periodic graphs and derivatives by positions and cells, against e3nn's layers and differences."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from analysis.equivariance import rotation_error
from networks.convnet import EquivariantConvNet
from networks.convolution.cost_model import ORDERS, Order
from networks.gated import GatedNetwork
from tests.networks.nets import only_order
from tests.structures.made import batch_of, difficult

NETWORKS = [EquivariantConvNet, GatedNetwork]


def build(network: Any, cutoff: float, irreps: str = "4x0e+4x1o+3x2e", **options: Any) -> Any:
    torch.manual_seed(0)
    size = {"num_layers": 3, "embedding_dim": 4, "num_elements": 40, "num_radial": 6}
    return network(irreps=irreps, cutoff=cutoff, **size, **options).double()


def energy_and_derivatives(network: nn.Module, batch: Batch) -> list[Tensor]:
    """Energies, forces, derivatives by the cells, and a force loss's gradient by every weight."""
    network.zero_grad()
    batch.pos.requires_grad_()
    batch.cell.requires_grad_()
    energy = network(batch)
    forces, by_cell = torch.autograd.grad(energy.sum(), (batch.pos, batch.cell), create_graph=True)
    (energy.square().sum() + forces.square().sum()).backward()
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    return [energy.detach(), forces.detach(), by_cell.detach(), *gradients]


@pytest.mark.parametrize("order", ORDERS)
def test_the_fast_convolution_differentiates_twice_as_e3nn_does(order: Order):
    fast = build(EquivariantConvNet, 4.0)
    e3nn = build(EquivariantConvNet, 4.0, convolution="e3nn")
    with only_order(order, fast):
        assert_alike(fast, e3nn)


@pytest.mark.parametrize("irreps", ["4x0e+4x1o+3x2e", "8x0e"])
def test_the_gated_network_differentiates_twice_as_e3nn_does(irreps: str):
    assert_alike(build(GatedNetwork, 4.0, irreps), build(GatedNetwork, 4.0, irreps, kernel="e3nn"))


def assert_alike(fast: nn.Module, e3nn: nn.Module) -> None:
    e3nn.load_state_dict(fast.state_dict())
    batches = [batch_of(difficult(), 4.0, torch.float64) for _ in range(2)]
    mine, theirs = map(energy_and_derivatives, (fast, e3nn), batches)
    assert len(mine) == len(theirs) > 10
    for one, other in zip(mine, theirs):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("network", NETWORKS)
def test_training_without_forces_computes_the_same_energies(network):
    batch = batch_of(difficult(), 5.0, torch.float64)
    fast = build(network, 5.0)
    without = fast(batch)
    torch.testing.assert_close(without, energy_and_derivatives(fast, batch)[0])


@pytest.mark.parametrize("network", NETWORKS)
def test_forces_and_cell_derivatives_are_those_of_finite_differences(network):
    net = build(network, 5.0)
    batch = batch_of(difficult(), 5.0, torch.float64)
    _, by_pos, by_cell = energy_and_derivatives(net, batch)[:3]
    h = 1e-5
    for name, exact, index in (
        ("pos", by_pos, (0, 1)),
        ("pos", by_pos, (9, 2)),
        ("cell", by_cell, (1, 0, 2)),
        ("cell", by_cell, (2, 1, 1)),
    ):
        ends = []
        for step in (h, -h):
            moved = copy.copy(batch)
            moved[name] = batch[name].detach().clone()
            moved[name][index] += step
            ends.append(net(moved).sum().item())
        assert float(exact[index]) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


def test_a_supercell_has_the_energy_of_its_cells():
    cells = [atoms for atoms in difficult() if atoms.pbc.all()]
    net = build(EquivariantConvNet, 4.5)
    nn.init.zeros_(net.output.bias)
    one = net(batch_of(cells, 4.5, torch.float64))
    eight = net(batch_of([atoms * (2, 2, 2) for atoms in cells], 4.5, torch.float64))
    torch.testing.assert_close(8 * one, eight)


@pytest.mark.parametrize("network", NETWORKS)
def test_crystals_may_be_rotated_inverted_and_moved(network):
    assert rotation_error(build(network, 4.0), batch_of(difficult(), 4.0, torch.float64)) < 1e-10
