"""What a training step keeps is counted once, and frozen parameters stay frozen."""

from __future__ import annotations

from networks.backward_memory import backward_memory
from networks.convnet import EquivariantConvNet
from tests.networks.molecules import batch


def test_twice_the_molecules_keep_twice_the_memory_and_nothing_changes() -> None:
    network = EquivariantConvNet("4x0e+4x1o", num_layers=2, embedding_dim=4).double()
    network.requires_grad_(False)
    once, twice = (backward_memory(network, batch([9] * count)) for count in (8, 16))
    assert once > 0
    assert abs(twice / once - 2) < 0.2
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_smaller_network_keeps_less() -> None:
    sizes = [
        backward_memory(EquivariantConvNet(irreps, num_layers=3).double(), batch([9] * 4))
        for irreps in ("4x0e", "4x0e+4x1o", "4x0e+4x1o+4x2e")
    ]
    assert sizes == sorted(sizes)
