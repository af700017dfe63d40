"""Frames in which an edge is the polar axis, and the couplings in these frames.

In such a frame a tensor product with the edge's harmonics is diagonal in the order m (Passaro and
Zitnick, "Reducing SO(3) Convolutions to SO(2) for Efficient Equivariant GNNs", 2023). Imports
torch, e3nn and this package only.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from e3nn import o3
from torch import Tensor

from networks.convolution.clebsch_gordan import CPU, coupling


def edge_frames(vectors: Tensor) -> Tensor:
    """Find rotations that turn each vector onto e3nn's polar axis y.

    The second row is the vector's direction. The other rows are built from the coordinate axis
    furthest from that direction, so that they are differentiable for every direction. A result
    that is computed in a frame and rotated back does not depend on that choice.

    Parameters
    ----------
    vectors : Tensor
        [s, 3].

    Returns
    -------
    Tensor
        [s, 3, 3] float64; zero for a zero vector.
    """
    polar = torch.nn.functional.normalize(vectors.double(), dim=1)
    smallest_component = polar.detach().abs().argmin(dim=1, keepdim=True)
    furthest_axis = torch.zeros_like(polar).scatter(1, smallest_component, 1.0)
    first = torch.nn.functional.normalize(torch.linalg.cross(furthest_axis, polar), dim=1)
    return torch.stack([first, polar, torch.linalg.cross(first, polar)], dim=1)


def wigner_d(rotations: Tensor, degree: int) -> list[Tensor]:
    """Compute Wigner D matrices as polynomials in the rotation matrices.

    D_0 = 1, D_1 = R, D_{l+1} = (2 l + 3) C^T (D_l x R) C with the 3j symbols C of (l, 1, l + 1).
    Unlike products of rotations by Euler angles, polynomials have derivatives everywhere.

    Parameters
    ----------
    rotations : Tensor
        [s, 3, 3] float64.
    degree : int
        Largest degree.

    Returns
    -------
    list of Tensor
        [s, 2 l + 1, 2 l + 1] for l = 0 ... degree.
    """
    matrices = [rotations.new_ones(rotations.shape[0], 1, 1), rotations]
    for l in range(1, degree):  # noqa: E741
        c_imk = coupling(l, 1, l + 1, rotations.device)
        half = torch.einsum("sij,jnb->sinb", matrices[-1], c_imk)
        half = torch.einsum("smn,sinb->simb", rotations, half)
        matrices.append((2 * l + 3) * torch.einsum("ima,simb->sab", c_imk, half))
    return matrices[: degree + 1]


@cache
def order_rows(ir: o3.Irrep, device: torch.device = CPU) -> Tensor:
    """Build the matrix that sorts an irrep's components by order: m = 0, +1, -1, +2, -2, ...

    For irreps of unnatural parity, p != (-1)^l, it maps (+m, -m) to (-m, -(+m)). This makes their
    couplings to irreps of natural parity diagonal as well.

    Parameters
    ----------
    ir : o3.Irrep
        Degree and parity.
    device : torch.device
        Device of the result. The matrix is copied there once.

    Returns
    -------
    Tensor
        [2 l + 1, 2 l + 1] float64, orthogonal, shared by all callers.
    """
    natural = ir.p == (-1) ** ir.l
    # The result is cached. Made in inference mode, it could not take part in autograd later.
    with torch.inference_mode(False):
        rows = torch.zeros(ir.dim, ir.dim, dtype=torch.float64)
        rows[0, ir.l] = 1
        for m in range(1, ir.l + 1):
            plus, minus = (ir.l + m, ir.l - m) if natural else (ir.l - m, ir.l + m)
            rows[2 * m - 1, plus] = 1
            rows[2 * m, minus] = 1 if natural else -1
        return rows.to(device)


@cache
def polar_coupling(ir_in: o3.Irrep, l_edge: int, ir_out: o3.Irrep) -> Tensor:
    """Couple two irreps through the harmonics Y of the polar axis.

    The result is sum_m2 C[m1, m2, m3] Y[m2] with e3nn's 3j symbols C, its rows and columns sorted
    by `order_rows`.

    Parameters
    ----------
    ir_in, ir_out : o3.Irrep
        The two irreps.
    l_edge : int
        Degree of the harmonics, ``integral`` normalization.

    Returns
    -------
    Tensor
        [2 l_in + 1, 2 l_out + 1] float64, diagonal, equal for +m and -m.
    """
    # On the polar axis all harmonics but m2 = 0 vanish; that one is sqrt((2 l + 1) / (4 pi)).
    y = math.sqrt((2 * l_edge + 1) / (4 * math.pi))
    with torch.inference_mode(False):
        along = y * coupling(ir_in.l, l_edge, ir_out.l)[:, l_edge]
        return order_rows(ir_in) @ along @ order_rows(ir_out).T
