"""What the analysis asks of a network: features layer by layer, and a prediction from any layer.

Imports torch and e3nn only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Data


class LayeredNetwork(Protocol):
    """The part of `networks.convnet.EquivariantConvNet` that measurements use.

    Attributes
    ----------
    irreps : o3.Irreps
        Feature irreps; a layer may lack some of them.
    layer_irreps : list of o3.Irreps
        Of each layer's output.
    reachable, filled : list of dict of str to bool
        For each layer, by irrep name: whether a selection-rule path leads from the block to the
        output, and from the embedding to the block.
    embedding : nn.Module
        [n] atomic numbers to the first layer's input.
    """

    irreps: o3.Irreps
    layer_irreps: list[o3.Irreps]
    reachable: list[dict[str, bool]]
    filled: list[dict[str, bool]]
    embedding: nn.Module

    def geometry(self, data: Data) -> Any:
        """Everything of a batch that depends on positions and edges only."""

    def features(self, z: Tensor, geometry: Any) -> list[Tensor]:
        """Each layer's [n, layer_irreps[k].dim]."""

    def layer(self, k: int, x: Tensor, geometry: Any) -> Tensor:
        """Output of layer k from that of layer k - 1."""

    def predict_from(self, k: int, x: Tensor, geometry: Any) -> Tensor:
        """[g] standardized predictions when layer k's output is `x`."""


@contextmanager
def measuring(network: nn.Module) -> Iterator[None]:
    """Set a network up for measurement, and put everything back afterwards.

    Inside: evaluation mode, no gradients of parameters but of features (also within Lightning's
    inference mode), no autocast, no TF32.

    Parameters
    ----------
    network : nn.Module
        Restored module by module and parameter by parameter, also after an error.
    """
    modes = [(module, module.training) for module in network.modules()]
    requires = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    precision = torch.get_float32_matmul_precision()
    device = next((p.device.type for p, _ in requires), "cpu")
    try:
        network.eval().requires_grad_(False)
        torch.set_float32_matmul_precision("highest")
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast(device, enabled=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        for module, training in modes:
            module.training = training
        for parameter, flag in requires:
            parameter.requires_grad_(flag)
