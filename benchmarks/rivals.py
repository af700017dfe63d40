"""Other libraries' fully connected tensor products in place of e3nn's, where installed.

Used by `benchmarks.gpu`. Imports torch, e3nn, `networks` and, when asked, the libraries.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from e3nn import o3
from torch import Tensor, nn

from networks.convnet import EquivariantConvNet
from networks.convolution.reference import E3nnConvolution
from networks.geometry import Geometry, edge_harmonics, radial_basis

MODULES = {
    "cuequivariance": ("cuequivariance", "cuequivariance_torch"),
    "openequivariance": ("openequivariance",),
}


def installed(name: str) -> bool:
    """Whether a library can be imported.

    Parameters
    ----------
    name : str
        Key of `MODULES`.

    Returns
    -------
    bool
    """
    return all(find_spec(module) is not None for module in MODULES[name])


def replace_products(network: EquivariantConvNet, name: str) -> None:
    """Put another library's product into every layer of a network with e3nn's convolution.

    The order of the weights may differ from e3nn's, which changes nothing about the time.

    Parameters
    ----------
    network : EquivariantConvNet
        Built with ``convolution="e3nn"``; already on its device.
    name : {"cuequivariance", "openequivariance"}
        The library.
    """
    for k, layer in enumerate(network.layers):
        if not isinstance(layer, E3nnConvolution):
            raise ValueError("rivals replace e3nn's products: build with convolution='e3nn'")
        device = layer.radial.layer0.weight.device
        if name == "cuequivariance":
            product = _CuEquivariance(layer, device)
            network.layers[k] = _Messages(layer, product)
        else:
            network.layers[k] = _Convolution(layer, device)


class _CuEquivariance(nn.Module):
    def __init__(self, layer: E3nnConvolution, device: torch.device) -> None:
        super().__init__()
        import cuequivariance as cue
        import cuequivariance_torch as cuet

        irreps = (layer.irreps_in, layer.edge_irreps, layer.irreps_out)
        self.product = cuet.FullyConnectedTensorProduct(
            *(cue.Irreps("O3", str(each)) for each in irreps),
            layout=cue.mul_ir,
            shared_weights=False,
            internal_weights=False,
            device=device,
            method="fused_tp" if device.type == "cuda" else "naive",
        )

    def forward(self, x: Tensor, harmonics: Tensor, weights: Tensor) -> Tensor:
        out: Tensor = self.product(x, harmonics, weights)
        return out


class _Messages(nn.Module):
    """`E3nnConvolution` with another product for single edges."""

    def __init__(self, layer: E3nnConvolution, product: nn.Module) -> None:
        super().__init__()
        self.layer, self.product = layer, product

    def forward(self, x: Tensor, geometry: Geometry) -> Tensor:
        source, target = geometry.edge_index
        harmonics, weights = _of_edges(self.layer, geometry)
        messages = self.product(x.index_select(0, source), harmonics, weights)
        out = messages.new_zeros(geometry.num_nodes, messages.shape[-1])
        return out.index_add(0, target, messages) / self.layer.neighbor_norm


class _Convolution(nn.Module):
    """`E3nnConvolution` with OpenEquivariance's product, gather and sum in one kernel."""

    def __init__(self, layer: E3nnConvolution, device: torch.device) -> None:
        super().__init__()
        if device.type != "cuda":
            raise ValueError("OpenEquivariance needs CUDA: leave it out, or use --device cuda")
        import openequivariance as oeq

        problem = oeq.TPProblem(
            str(layer.irreps_in),
            str(layer.edge_irreps),
            str(layer.irreps_out),
            _instructions(layer),
            shared_weights=False,
            internal_weights=False,
            irrep_dtype=np.float32,
            weight_dtype=np.float32,
        )
        self.layer = layer
        self.convolution: Any = oeq.TensorProductConv(problem, deterministic=False)

    def forward(self, x: Tensor, geometry: Geometry) -> Tensor:
        source, target = geometry.edge_index
        harmonics, weights = _of_edges(self.layer, geometry)
        out: Tensor = self.convolution(x, harmonics, weights, target, source)
        return out / self.layer.neighbor_norm


def _of_edges(layer: E3nnConvolution, geometry: Geometry) -> tuple[Tensor, Tensor]:
    """Harmonics [e, m] and weights [e, weights] of every edge, as e3nn's layer makes them."""
    harmonics = edge_harmonics(geometry.vectors, layer.edge_irreps)
    basis = radial_basis(geometry.lengths, layer.num_radial, layer.cutoff)
    return harmonics, layer.radial(basis)


def _instructions(layer: E3nnConvolution) -> list[tuple[int, int, int, str, bool, float]]:
    """Paths of a fully connected product in e3nn's order."""
    sides: tuple[o3.Irreps, ...] = (layer.irreps_in, layer.edge_irreps, layer.irreps_out)
    return [
        (i, j, k, "uvw", True, 1.0)
        for i, (_, ir_in) in enumerate(sides[0])
        for j, (_, ir_edge) in enumerate(sides[1])
        for k, (_, ir_out) in enumerate(sides[2])
        if ir_out in ir_in * ir_edge
    ]
