"""Factories of networks, given to probe.py as FILE.py:factory."""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor

from networks.convnet import EquivariantConvNet
from networks.layered import Edit, LayeredNetwork, Prepared
from tests.analysis.networks import last_weight, paths, small_network


def without_vectors() -> EquivariantConvNet:
    """Vectors are filled, but every weight that reads them is zero."""
    network = small_network("4x0e+3x1o+2x2e", num_layers=3, dtype=torch.float32, convolution="fast")
    with torch.no_grad():
        for k in range(1, 3):
            for name, _, columns in paths(network, k):
                if name == "1o":
                    last_weight(network, k)[:, columns] = 0
    return network


class Relabelled(EquivariantConvNet):
    """Says that its vectors are pseudovectors: right under rotations, wrong under inversion."""

    def __init__(self) -> None:
        super().__init__("4x0e+3x1o", num_layers=2, num_elements=10, embedding_dim=5, num_radial=4)
        self.layer_irreps = [o3.Irreps(str(i).replace("1o", "1e")) for i in self.layer_irreps]
        self.irreps = o3.Irreps("4x0e+3x1e")
        self.reachable = [{"0e": True, "1e": blocks["1o"]} for blocks in self.reachable]
        self.filled = [{"0e": True, "1e": blocks["1o"]} for blocks in self.filled]


class Swapped(Relabelled):
    """Declares its blocks in the wrong order."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_irreps = [o3.Irreps("3x1e+4x0e") if i.lmax else i for i in self.layer_irreps]


class Stubborn(EquivariantConvNet):
    """Ignores `start`."""

    def __init__(self) -> None:
        super().__init__("4x0e+3x1o", num_layers=2, num_elements=10, embedding_dim=5, num_radial=4)

    def run(
        self, prepared: Prepared, edit: Edit | None = None, start: tuple[int, Tensor] | None = None
    ) -> Tensor:
        prediction = super().run(prepared, edit)  # type: ignore[arg-type]
        return prediction if start is None else prediction + 1


def relabelled() -> LayeredNetwork:
    torch.manual_seed(0)
    return Relabelled()


def few_elements() -> LayeredNetwork:
    network = relabelled()
    network.elements = [1, 6]  # type: ignore[assignment]
    return network


def without_cutoff() -> LayeredNetwork:
    network = relabelled()
    del network.cutoff
    return network


def broken() -> LayeredNetwork:
    raise RuntimeError("the weights are gone")


NO_NETWORK = torch.nn.Linear(1, 1)
