"""The published convolution in e3nn's own layers: the reference for tests and benchmarks.

Imports torch, e3nn and this package only.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import torch
from e3nn import nn as e3nn_nn
from e3nn import o3
from torch import Tensor, nn

from networks.convolution.interface import Convolution
from networks.geometry import Geometry, edge_harmonics, radial_basis


class E3nnConvolution(Convolution):
    """Messages from a fully connected tensor product with per-edge weights, summed at the target.

    x_i' = (1 / neighbor_norm) sum_j FCTP(x_j, Y(r_ij); W(|r_ij|)), where W is a radial MLP with
    one hidden layer and SiLU, without biases (arXiv 2410.08131). As published, every layer
    computes harmonics and radial basis itself.

    Parameters
    ----------
    irreps_in : o3.Irreps
        Irreps of the source nodes.
    edge_irreps : o3.Irreps
        Irreps of the edges, each degree once.
    irreps_out : o3.Irreps
        Irreps of the messages.
    num_radial : int
        Number of radial basis functions.
    radial_hidden : int
        Width of the radial MLP's hidden layer.
    cutoff : float
        Length over which the radial basis is defined, angstrom.
    neighbor_norm : float
        The sum over neighbours is divided by this (in the published code, by the square root of
        the mean number of edges per molecule).
    """

    def __init__(
        self,
        irreps_in: o3.Irreps,
        edge_irreps: o3.Irreps,
        irreps_out: o3.Irreps,
        num_radial: int,
        radial_hidden: int,
        cutoff: float,
        neighbor_norm: float,
    ) -> None:
        super().__init__()
        self.irreps_in = irreps_in
        self.edge_irreps = edge_irreps
        self.irreps_out = irreps_out
        self.num_radial = num_radial
        self.cutoff = cutoff
        self.neighbor_norm = neighbor_norm
        self.tensor_product = o3.FullyConnectedTensorProduct(
            irreps_in, edge_irreps, irreps_out, shared_weights=False
        )
        self.radial = e3nn_nn.FullyConnectedNet(
            [num_radial, radial_hidden, self.tensor_product.weight_numel], nn.functional.silu
        )
        # The tensor product has buffers but no parameters. Without these buffers both
        # convolutions have the same state dict.
        self.register_state_dict_post_hook(  # type: ignore[no-untyped-call]
            _drop_tensor_product_buffers
        )
        self.register_load_state_dict_pre_hook(  # type: ignore[no-untyped-call]
            _add_tensor_product_buffers
        )
        self._compiled: Callable[..., Tensor] | None = None

    def compile_tensor_product(self, backend: str | Callable[..., Any]) -> None:
        """Compile the tensor product, for batches of any size. A copy of this layer will not be.

        Parameters
        ----------
        backend : str or callable
            See `torch.compile`.
        """
        tensor_product = self.tensor_product

        def multiply(x: Tensor, harmonics: Tensor, weights: Tensor) -> Tensor:
            product: Tensor = tensor_product(x, harmonics, weights)
            return product

        # After eight compilations of one code object torch runs it uncompiled. Layers that shared
        # one would get there: each is compiled once with gradients and once without.
        own = FunctionType(
            multiply.__code__.replace(), multiply.__globals__, closure=multiply.__closure__
        )
        self._compiled = torch.compile(own, dynamic=True, backend=backend)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what was compiled, which belongs to this layer alone."""
        state: dict[str, Any] = super().__getstate__()  # type: ignore[no-untyped-call]
        return {**state, "_compiled": None}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> E3nnConvolution:
        """Convert dtype or device, and recompute the 3j symbols in the new dtype.

        e3nn rounds them to the default dtype when the layer is built. A layer built under float32
        and cast to float64 afterwards would keep float32's error: 1e-10 to 5e-9 of the output
        wherever three degrees above 0 meet.
        """
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, buffer in self.tensor_product.named_buffers():
            _, is_w3j, degrees = name.rpartition("_w3j_")
            if is_w3j:
                exact = o3.wigner_3j(*map(int, degrees.split("_")), dtype=torch.float64)
                buffer.data.copy_(exact)
        return self

    def forward(self, x: Tensor, geometry: Geometry) -> Tensor:
        """Convolve node features.

        Parameters
        ----------
        x : Tensor
            [n, irreps_in.dim].
        geometry : Geometry
            The batch's edges.

        Returns
        -------
        Tensor
            [n, irreps_out.dim].
        """
        if self.tensor_product.weight_numel == 0:  # no paths; e3nn fails without edge degrees
            return x.new_zeros(geometry.num_nodes, self.irreps_out.dim)
        source, target = geometry.edge_index
        harmonics = edge_harmonics(geometry.vectors, self.edge_irreps)
        weights = self.radial(radial_basis(geometry.lengths, self.num_radial, self.cutoff))
        multiply = self._compiled or self.tensor_product
        messages = multiply(x.index_select(0, source), harmonics, weights)
        out: Tensor = messages.new_zeros(geometry.num_nodes, messages.shape[-1])
        out = out.index_add(0, target, messages)
        return out / self.neighbor_norm


def _drop_tensor_product_buffers(
    module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any
) -> None:
    for key in [key for key in state if key.startswith(f"{prefix}tensor_product.")]:
        del state[key]


def _add_tensor_product_buffers(
    module: nn.Module, state: dict[str, Any], prefix: str, *unused: Any
) -> None:
    tensor_product = module.get_submodule("tensor_product")
    for key, value in tensor_product.state_dict().items():
        state[f"{prefix}tensor_product.{key}"] = value
