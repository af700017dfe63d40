"""Fully connected tensor products of other libraries in place of e3nn's.

Used by `benchmarks.gpu`. Imports torch, e3nn and `networks`, and the libraries only when used.
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
    """
    return all(find_spec(module) is not None for module in MODULES[name])


def replace_products(network: EquivariantConvNet, name: str) -> None:
    """Replace e3nn's product by another library's in every layer of a network.

    The order of the weights may differ from e3nn's, which does not affect the time.

    Parameters
    ----------
    network : EquivariantConvNet
        Built with ``convolution="e3nn"`` and on its device; changed in place.
    name : {"cuequivariance", "openequivariance"}
        The library.

    Raises
    ------
    ValueError
        If the network has another convolution, or the library does not run on its device.
    """
    for k, layer in enumerate(network.layers):
        if not isinstance(layer, E3nnConvolution):
            raise ValueError("rivals replace e3nn's products: build with convolution='e3nn'")
        device = layer.radial.layer0.weight.device
        if name == "cuequivariance":
            product = _CuEquivariance(layer, device)
            network.layers[k] = _EdgeProductConvolution(layer, product)
        else:
            network.layers[k] = _FusedConvolution(layer, device)


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


class _EdgeProductConvolution(nn.Module):
    """`E3nnConvolution` with another product for the messages of single edges."""

    def __init__(self, layer: E3nnConvolution, product: nn.Module) -> None:
        super().__init__()
        self.layer, self.product = layer, product

    def forward(self, x: Tensor, geometry: Geometry) -> Tensor:
        source, target = geometry.edge_index
        harmonics, weights = _edge_harmonics_and_weights(self.layer, geometry)
        messages: Tensor = self.product(x.index_select(0, source), harmonics, weights)
        out = messages.new_zeros(geometry.num_nodes, messages.shape[-1])
        return out.index_add(0, target, messages) / self.layer.neighbor_norm


class _FusedConvolution(nn.Module):
    """`E3nnConvolution` with OpenEquivariance's kernel, which gathers, multiplies and sums."""

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
        harmonics, weights = _edge_harmonics_and_weights(self.layer, geometry)
        out: Tensor = self.convolution(x, harmonics, weights, target, source)
        return out / self.layer.neighbor_norm


def _edge_harmonics_and_weights(
    layer: E3nnConvolution, geometry: Geometry
) -> tuple[Tensor, Tensor]:
    """Harmonics [e, m] and weights [e, weights] of every edge, computed as in e3nn's layer."""
    harmonics = edge_harmonics(geometry.vectors, layer.edge_irreps)
    basis = radial_basis(geometry.lengths, layer.num_radial, layer.cutoff)
    weights: Tensor = layer.radial(basis)
    return harmonics, weights


def _instructions(layer: E3nnConvolution) -> list[tuple[int, int, int, str, bool, float]]:
    """List the paths of a fully connected product in e3nn's order."""
    sides: tuple[o3.Irreps, ...] = (layer.irreps_in, layer.edge_irreps, layer.irreps_out)
    return [
        (i, j, k, "uvw", True, 1.0)
        for i, (_, ir_in) in enumerate(sides[0])
        for j, (_, ir_edge) in enumerate(sides[1])
        for k, (_, ir_out) in enumerate(sides[2])
        if ir_out in ir_in * ir_edge
    ]
