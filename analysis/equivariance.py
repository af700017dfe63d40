"""How far a network is from equivariance, measured on real molecules.

Imports torch, e3nn and torch-geometric's data class only.
"""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Data

from analysis.utilization import split_blocks
from networks.layered import LayeredNetwork

TRANSLATION = 5.0
"""Length of the random translation, angstrom."""
NORM_FLOOR = 1e-3
"""A block weaker than this part of its layer is compared with that part of the layer, so that the
rounding of a block that is all but zero does not count."""


@torch.no_grad()
def rotation_error(
    network: LayeredNetwork, data: Data, seed: int = 0, inversion: bool = True
) -> float:
    """Largest relative deviation from equivariance under a rotation, inversion and translation.

    For g = (R, -1, t), drawn at random: max over layers k and irreps of
    |x_k(g pos) - D(R, -1) x_k(pos)| / |x_k(pos)|, and the same of the predictions, which turn as
    the irrep of the readout does. Norms are
    Frobenius norms over all nodes and one block. R is proper and followed by the inversion.

    Parameters
    ----------
    network : LayeredNetwork
        In any mode; only read.
    data : Data
        Molecules or periodic structures, on the network's device.
    seed : int
        Of rotation and translation; the global random state is neither read nor changed.
    inversion : bool
        Whether the rotation is followed by the inversion. Networks whose irreps are all labelled
        ``e`` are equivariant without it only.

    Returns
    -------
    float
        About 1e-6 in float32; NaN if the network gives NaN.
    """
    rotation_33, shift_3 = _random_motion(seed)
    if not inversion:
        rotation_33 = -rotation_33
    moved = data.clone()
    position = data.pos.cpu().double() @ rotation_33.T + shift_3
    moved.pos = position.to(data.pos)
    if "cell" in data:
        moved.cell = (data.cell.cpu().double() @ rotation_33.T).to(data.cell)
    features, prediction = _run(network, data)
    moved_features, moved_prediction = _run(network, moved)
    errors = [
        _relative(moved_prediction - _turned(network, prediction, rotation_33), prediction.norm())
    ]
    matrices = {str(ir): representation(ir, rotation_33) for _, ir in network.irreps}
    for irreps, x, moved_x in zip(network.layer_irreps, features, moved_features):
        floor = NORM_FLOOR * x.double().norm()
        moved_blocks = split_blocks(moved_x, irreps)
        for name, t in split_blocks(x, irreps).items():
            expected = t.double() @ matrices[name].T.to(t.device)
            difference = moved_blocks[name] - expected
            errors.append(_relative(difference, expected.norm().clamp_min(floor)))
    return float(torch.stack(errors).max())


def _turned(network: LayeredNetwork, prediction: Tensor, rotation_33: Tensor) -> Tensor:
    """Turn predictions [g] or [g, m]: a scalar stays as it is."""
    if prediction.dim() == 1:
        return prediction
    matrix = representation(network.irreps_readout[0].ir, rotation_33)
    return prediction.double() @ matrix.T.to(prediction.device)


def representation(ir: o3.Irrep, matrix: Tensor) -> Tensor:
    """Find the matrix D of an irrep for a rotation, with or without inversion: Y(R r) = D Y(r).

    From degree to degree by the 3j symbols C, in float64, as l is in the product of l - 1 and 1:
    D_l = (2l + 1) sum C[a,i,m] D_{l-1}[a,b] D_1[i,j] C[b,j,n]. e3nn's own `D_from_matrix` uses
    generators in the default precision, which in float32 would look like an error of 1e-7 of any
    network; and a least-squares fit by LAPACK differs in the last bit from call to call, which a
    rotation error, itself a rounding error, shows in its eleventh digit.

    Parameters
    ----------
    ir : o3.Irrep
        Of any parity.
    matrix : Tensor
        [3, 3] float64, orthogonal.

    Returns
    -------
    Tensor
        [m, m] float64.
    """
    sign = int(matrix.det().sign())
    rotation_33 = sign * matrix
    proper_mm = torch.ones(1, 1, dtype=torch.float64)
    for degree in range(1, ir.l + 1):
        symbols = o3.wigner_3j(degree - 1, 1, degree, dtype=torch.float64)
        proper_mm = (2 * degree + 1) * torch.einsum(
            "aim,ab,ij,bjn->mn", symbols, proper_mm, rotation_33, symbols
        )
    parity = 1 if sign > 0 else int(ir.p)
    return parity * proper_mm


def _random_motion(seed: int) -> tuple[Tensor, Tensor]:
    """Improper rotation [3, 3] and translation [3], float64."""
    generator = torch.Generator().manual_seed(seed)
    quaternion = torch.randn(4, generator=generator, dtype=torch.float64)
    rotation = o3.quaternion_to_matrix(quaternion / quaternion.norm())
    shift = torch.randn(3, generator=generator, dtype=torch.float64)
    return -rotation, TRANSLATION * shift / shift.norm()


def _run(network: LayeredNetwork, data: Data) -> tuple[list[Tensor], Tensor]:
    return network.run_recording(network.prepare(data))


def _relative(difference: Tensor, norm: Tensor) -> Tensor:
    tiny = torch.finfo(torch.float64).tiny
    relative: Tensor = difference.double().norm() / norm.double().clamp_min(tiny)
    return relative
