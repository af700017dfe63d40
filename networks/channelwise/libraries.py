"""The channelwise product in other people's GPU kernels.

Imports torch, e3nn and this package; `cuequivariance` and `openequivariance` when used.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from e3nn import o3
from torch import Tensor

from networks.channelwise.e3nn_product import path_instructions, to_m_major
from networks.channelwise.paths import HARMONICS_SCALE, ChannelwisePaths
from networks.channelwise.plain import ChannelwiseProduct, join_paths, plain_product
from networks.convolution.clebsch_gordan import coupling
from networks.geometry import Geometry


class CuEquivarianceProduct(ChannelwiseProduct):
    """NVIDIA's cuEquivariance: one fused kernel on a GPU, its ``naive`` method on a CPU."""

    def __init__(self, paths: ChannelwisePaths, edge_irreps: o3.Irreps) -> None:
        super().__init__(paths, edge_irreps)
        self._built: dict[tuple[str, torch.dtype], Any] = {}

    def forward(self, x: Tensor, weights: Tensor, geometry: Geometry) -> Tensor:
        """Send messages and sum them at the targets."""
        source, target = geometry.edge_index
        if not self.paths.paths or len(source) == 0:  # cuEquivariance refuses to sum nothing
            return plain_product(self.paths, x, weights, geometry)
        harmonics = geometry.harmonics * HARMONICS_SCALE
        shape = x.new_zeros(geometry.num_nodes, sum(self._dims()))
        (out,) = self._polynomial(x.device, x.dtype)(
            [weights, x, harmonics], {1: source}, {0: shape}, {0: target}
        )
        return join_paths(self.paths, out.split(self._dims(), dim=1))

    def _dims(self) -> list[int]:
        return [path.channels * o3.Irrep(path.irrep_out).dim for path in self.paths.paths]

    def _polynomial(self, device: torch.device, dtype: torch.dtype) -> Any:
        """Build the kernel for a device and a precision, once."""
        key = (device.type, dtype)
        if key not in self._built:
            import cuequivariance as cue
            import cuequivariance_torch as cuet

            d = cue.SegmentedTensorProduct.from_subscripts("uv,iu,jv,kuv+ijk")
            names = [name for name, _ in self.paths.irreps_in]
            for name, channels in self.paths.irreps_in:
                d.add_segment(1, (o3.Irrep(name).dim, channels))
            for _, ir in self.edge_irreps:
                d.add_segment(2, (ir.dim, 1))
            degrees = list(self.edge_irreps.ls)
            for path in self.paths.paths:
                scale = math.sqrt(o3.Irrep(path.irrep_out).dim)
                symbols = coupling(*path.triple).numpy() * scale
                ends = names.index(path.irrep_in), degrees.index(path.edge_degree)
                dims = {"u": path.channels, "v": 1}
                d.add_path(None, *ends, None, c=symbols, dims=dims)
            d = d.flatten_coefficient_modes().squeeze_modes()
            polynomial = cue.SegmentedPolynomial.eval_last_operand(d)
            method = "fused_tp" if device.type == "cuda" else "naive"
            built = cuet.SegmentedPolynomial(polynomial, method=method, math_dtype=dtype)
            self._built[key] = built.to(device)
        return self._built[key]


class OpenEquivarianceProduct(ChannelwiseProduct):
    """OpenEquivariance: gathers, multiplies and sums in one CUDA kernel; there is none for CPUs."""

    def __init__(self, paths: ChannelwisePaths, edge_irreps: o3.Irreps) -> None:
        super().__init__(paths, edge_irreps)
        self._built: dict[torch.dtype, Any] = {}

    def forward(self, x: Tensor, weights: Tensor, geometry: Geometry) -> Tensor:
        """Send messages and sum them at the targets.

        Raises
        ------
        ValueError
            If the features are not on a CUDA device.
        """
        check_device("openequivariance", x.device)
        if not self.paths.paths:
            return x.new_zeros(geometry.num_nodes, self.paths.dim_out)
        source, target = geometry.edge_index
        harmonics = geometry.harmonics * HARMONICS_SCALE
        blocks = self.paths.split_in(x).values()
        channel_major = torch.cat([block.transpose(1, 2).flatten(1) for block in blocks], dim=1)
        sums = self._convolution(x.dtype)(channel_major, harmonics, weights, target, source)
        return to_m_major(self.paths, sums)

    def _convolution(self, dtype: torch.dtype) -> Any:
        """Build the kernel for a precision, once."""
        if dtype not in self._built:
            import openequivariance as oeq

            number: Any = np.float64 if dtype == torch.float64 else np.float32
            irreps, instructions = path_instructions(self.paths, self.edge_irreps)
            problem = oeq.TPProblem(
                *(str(each) for each in irreps),
                instructions,
                shared_weights=False,
                internal_weights=False,
                irrep_dtype=number,
                weight_dtype=number,
            )
            self._built[dtype] = oeq.TensorProductConv(problem, deterministic=False)
        return self._built[dtype]


def check_device(kernel: str, device: torch.device) -> None:
    """Refuse a kernel that does not run on a device.

    Parameters
    ----------
    kernel : str
        Accepted by `networks.channelwise.choice.check_kernel`.
    device : torch.device
        Where the network runs.

    Raises
    ------
    ValueError
        Says where it runs and what to choose.
    """
    if kernel == "openequivariance" and device.type != "cuda":
        raise ValueError(
            f"kernel openequivariance runs on CUDA devices only, not on {device}: choose "
            "kernel auto"
        )
