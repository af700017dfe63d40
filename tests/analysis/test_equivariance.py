"""rotation_error: near rounding for an equivariant network, large for one that is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from e3nn import o3
from torch import Tensor

from analysis.equivariance import representation, rotation_error
from networks.convnet import EquivariantConvNet
from tests.analysis.molecules import random_molecules
from tests.analysis.networks import small_network

IRREPS = "3x0e+2x1o+2x2e"
BLOCK_1O = slice(3, 9)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_equivariant_network_has_an_error_of_rounding(dtype: torch.dtype, bound: float) -> None:
    network = small_network(IRREPS, dtype=dtype)
    before = torch.get_rng_state()
    for seed in range(3):
        assert 0 < rotation_error(network, random_molecules(8, dtype=dtype), seed) < bound
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("sign", [1, -1])
def test_representation_is_e3nns(sign: int) -> None:
    matrix = sign * o3.rand_matrix(dtype=torch.float64)
    for ir in o3.Irreps("0e+0o+1o+1e+2e+2o+5o+8e+11o"):
        mine = representation(ir.ir, matrix)
        torch.testing.assert_close(mine, ir.ir.D_from_matrix(matrix), rtol=0, atol=1e-5)
        torch.testing.assert_close(mine @ mine.T, torch.eye(ir.dim, dtype=torch.float64))


def test_representation_turns_spherical_harmonics_and_is_the_same_to_the_last_bit() -> None:
    """The second half fails about once in ten calls for LAPACK's least squares."""
    rotation, points = o3.rand_matrix(dtype=torch.float64), torch.randn(9, 3, dtype=torch.float64)
    for degree in range(12):
        ir = o3.Irrep(degree, (-1) ** degree)
        mine = representation(ir, rotation)
        turned, before = (
            o3.spherical_harmonics(degree, r, normalize=True) for r in (points @ rotation.T, points)
        )
        torch.testing.assert_close(before @ mine.T, turned, rtol=0, atol=1e-12)
        kept = [torch.empty(1 + 13 * i) for i in range(20)]  # memory that is not where it was
        assert all(torch.equal(representation(ir, rotation), mine) for _ in kept)


def add_to_first_layer(
    network: EquivariantConvNet, addition: Callable[[Tensor, Any], Tensor]
) -> EquivariantConvNet:
    def hook(module: Any, inputs: Any, out: Tensor) -> Tensor:
        return out + addition(out, inputs[1])

    network.layers[0].register_forward_hook(hook)
    return network


def test_a_fixed_direction_is_found() -> None:
    def addition(out: Tensor, geometry: Any) -> Tensor:
        fixed = torch.zeros_like(out)
        fixed[:, BLOCK_1O] = 0.01 * out[:, BLOCK_1O].norm() / len(out) ** 0.5
        return fixed

    network = add_to_first_layer(small_network(IRREPS), addition)
    assert rotation_error(network, random_molecules(8, dtype=torch.float64)) > 1e-3


def test_a_vector_that_does_not_change_sign_under_inversion_is_found() -> None:
    """A cross product turns like a vector, so rotations alone would not tell."""

    def addition(out: Tensor, geometry: Any) -> Tensor:
        first, second = out[:, BLOCK_1O].unflatten(1, (2, 3)).unbind(1)
        cross = torch.zeros_like(out)
        cross[:, BLOCK_1O] = torch.linalg.cross(first, second).repeat(1, 2)
        return cross

    network = add_to_first_layer(small_network(IRREPS), addition)
    assert rotation_error(network, random_molecules(8, dtype=torch.float64)) > 1e-3


def test_dependence_on_the_origin_is_found() -> None:
    network = small_network(IRREPS)
    original = network.prepare
    molecules = random_molecules(8, dtype=torch.float64)

    def geometry(data: Any) -> Any:
        out = original(data)
        center = data.pos.mean(0).norm()
        out.radial = out.radial * (1 + 0.01 * center)
        out.lengths = out.lengths * (1 + 0.01 * center)
        return out

    network.prepare = geometry  # type: ignore[method-assign]
    assert rotation_error(network, molecules) > 1e-3


def test_pseudovectors_are_equivariant_under_rotations_only() -> None:
    network = small_network("3x0e+2x1o")
    molecules = random_molecules(8, dtype=torch.float64)
    for blocks in (network.reachable, network.filled):
        blocks[:] = [{"0e": b["0e"], "1e": b["1o"]} for b in blocks]
    network.irreps = o3.Irreps("3x0e+2x1e")
    network.layer_irreps = [o3.Irreps(str(i).replace("1o", "1e")) for i in network.layer_irreps]
    assert rotation_error(network, molecules, inversion=False) < 1e-12
    assert rotation_error(network, molecules) == pytest.approx(2.0)
