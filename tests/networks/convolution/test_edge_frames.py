import math

import pytest
import torch
from e3nn import o3

from networks.convolution.edge_frames import edge_frames, order_rows, polar_coupling, wigner_d
from tests.networks.molecules import cluster

IRREPS = [o3.Irrep(degree, parity) for degree in range(5) for parity in (1, -1)]


def directions() -> torch.Tensor:
    """Random vectors, the axes in both directions, and vectors with components of equal size."""
    axes = torch.eye(3, dtype=torch.float64)
    special = torch.tensor([[1, 1, 1], [1, -1, 0], [-2, -2, 1e-9]], dtype=torch.float64)
    scattered = cluster(8, torch.Generator().manual_seed(0)) - 1.0
    return torch.cat([axes, -3 * axes, special, scattered])


def test_frames_are_rotations_that_bring_the_vector_to_the_polar_axis() -> None:
    vectors = directions()
    frames = edge_frames(vectors)
    assert torch.allclose(frames @ frames.mT, torch.eye(3, dtype=torch.float64), atol=1e-14)
    assert torch.allclose(torch.linalg.det(frames), torch.ones(len(frames), dtype=torch.float64))
    turned = (frames @ vectors.unsqueeze(2)).squeeze(2)
    along = vectors.norm(dim=1, keepdim=True) * vectors.new_tensor([0.0, 1.0, 0.0])
    assert torch.allclose(turned, along, atol=1e-14)


def test_a_zero_vector_has_a_zero_frame_and_finite_gradients() -> None:
    vectors = torch.zeros(2, 3, dtype=torch.float64, requires_grad=True)
    d = wigner_d(edge_frames(vectors), 3)
    assert all(torch.equal(each, torch.zeros_like(each)) for each in d[1:])
    sum(each.sum() for each in d[1:]).backward()
    assert torch.isfinite(vectors.grad).all()


@pytest.mark.parametrize("degree", range(11))
def test_wigner_d_rotates_e3nns_harmonics(degree: int) -> None:
    vectors = directions()
    rotations = o3.rand_matrix(len(vectors), dtype=torch.float64)
    harmonics = o3.spherical_harmonics(degree, vectors, True)
    turned = o3.spherical_harmonics(degree, (rotations @ vectors.unsqueeze(2)).squeeze(2), True)
    d = wigner_d(rotations, degree)
    assert len(d) == degree + 1
    assert torch.allclose((d[degree] @ harmonics.unsqueeze(2)).squeeze(2), turned, atol=1e-12)


def test_wigner_d_has_derivatives_on_the_axes_too() -> None:
    vectors = directions()[:6].clone().requires_grad_()
    # D^T times the component m = 0 are the harmonics, whichever frame was chosen.
    polar = torch.tensor([1.0 * (m == 0) for m in range(-2, 3)], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: wigner_d(edge_frames(v), 2)[2].mT @ polar, (vectors,))
    d = wigner_d(edge_frames(vectors), 2)[2]
    weights = torch.linspace(1, 2, 5, dtype=torch.float64)
    depends_on_frame = ((d.mT * weights) @ d).sum()
    assert torch.isfinite(torch.autograd.grad(depends_on_frame, vectors)[0]).all()


@pytest.mark.parametrize("ir_in", IRREPS, ids=str)
@pytest.mark.parametrize("ir_out", IRREPS, ids=str)
def test_couplings_on_the_polar_axis_are_diagonal_and_equal_for_both_signs(
    ir_in: o3.Irrep, ir_out: o3.Irrep
) -> None:
    for l_edge in range(abs(ir_in.l - ir_out.l), ir_in.l + ir_out.l + 1):
        if (-1) ** l_edge != ir_in.p * ir_out.p:
            continue  # the harmonics have natural parity
        polar = polar_coupling(ir_in, l_edge, ir_out)
        harmonics = o3.spherical_harmonics(
            l_edge, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), True, "integral"
        )
        symbols = o3.wigner_3j(ir_in.l, l_edge, ir_out.l, dtype=torch.float64)
        along = torch.einsum("imo,m->io", symbols, harmonics)
        expected = order_rows(ir_in) @ along @ order_rows(ir_out).T
        assert torch.allclose(polar, expected, atol=1e-14)
        diagonal = polar.diagonal()
        size = len(diagonal)
        square = polar[:size, :size]
        assert torch.allclose(square, torch.diag(diagonal), atol=1e-14)
        assert math.isclose(float(polar.norm()), float(diagonal.norm()), rel_tol=1e-12)
        assert torch.allclose(diagonal[1::2], diagonal[2::2], atol=1e-14)
