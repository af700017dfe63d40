"""Measures of one block against NumPy, e3nn and finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import utilization as measures
from analysis.removal import invariant_means
from tests.analysis.molecules import random_molecules
from tests.analysis.networks import small_network

BLOCKS = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 4), st.sampled_from((1, -1))), min_size=1
)

MOLECULES = random_molecules(5, dtype=torch.float64)


def features(n: int, c: int, m: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, c, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(BLOCKS)
@settings(max_examples=50, deadline=None)
def test_columns_are_e3nns_slices(blocks: list[tuple[int, int, int]]) -> None:
    irreps = o3.Irreps([(mul, (degree, parity)) for mul, degree, parity in blocks])
    columns = measures.block_columns(irreps)
    for name in {str(ir) for _, ir in irreps}:
        slices = [s for (_, ir), s in zip(irreps, irreps.slices()) if str(ir) == name]
        assert columns[name].tolist() == [i for s in slices for i in range(s.start, s.stop)]


def test_split_blocks_transform_as_their_irreps() -> None:
    irreps = o3.Irreps("3x0e+2x1o+1x0o+5x2e")
    rotation = -o3.rand_matrix(dtype=torch.float64)
    x = features(4, irreps.dim, 1)[..., 0]
    turned = measures.split_blocks(x @ irreps.D_from_matrix(rotation).T, irreps)
    for name, t in measures.split_blocks(x, irreps).items():
        expected = torch.einsum("ij,ncj->nci", o3.Irrep(name).D_from_matrix(rotation), t)
        torch.testing.assert_close(turned[name], expected)


def test_power_is_the_mean_square_and_shares_sum_to_one() -> None:
    t = features(7, 3, 5)
    assert measures.power(t).item() == pytest.approx(np.mean(t.numpy() ** 2))
    shares = measures.power_share({"0e": 1.0, "1o": 3.0})
    assert shares == {"0e": 0.25, "1o": 0.75}
    assert np.isnan(measures.power_share({"0e": 0.0})["0e"])


def test_effective_channels_of_rank_one_features_is_one() -> None:
    t = features(50, 1, 3) * torch.tensor([1.0, -2.0, 0.3, 7.0])[:, None]
    assert measures.effective_channels(t).item() == pytest.approx(1.0)


def test_effective_channels_of_isotropic_features_is_their_number() -> None:
    orthonormal, _ = torch.linalg.qr(features(60, 8, 1)[..., 0])
    t = orthonormal.reshape(20, 3, 8).transpose(1, 2)
    assert measures.effective_channels(t).item() == pytest.approx(8.0)


@pytest.mark.parametrize("center", [False, True])
def test_effective_channels_agree_with_numpy_eigenvalues(center: bool) -> None:
    t = features(40, 6, 1 if center else 5) * torch.arange(1, 7)[:, None] + 0.5
    x = t.numpy().transpose(0, 2, 1).reshape(-1, 6)
    moments = np.cov(x.T, bias=True) if center else x.T @ x / len(x)
    eigenvalues = np.linalg.eigvalsh(moments)
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert measures.effective_channels(t, center=center).item() == pytest.approx(expected)


def test_effective_channels_are_undefined_for_what_carries_nothing() -> None:
    assert measures.effective_channels(torch.zeros(5, 3, 3)).isnan()
    constant = torch.full((1000, 3, 1), 0.1)
    assert measures.effective_channels(constant, center=True).isnan()


def test_measures_ignore_an_orthogonal_mixing_of_channels() -> None:
    t, gradient = features(30, 4, 3, 1), features(30, 4, 3, 2)
    mix, _ = torch.linalg.qr(features(4, 4, 1, 3)[..., 0])
    batch = torch.arange(30) // 6
    mixed, mixed_gradient = mix @ t, mix @ gradient
    torch.testing.assert_close(measures.power(mixed), measures.power(t))
    torch.testing.assert_close(measures.effective_channels(mixed), measures.effective_channels(t))
    torch.testing.assert_close(
        measures.contribution(mixed, mixed_gradient, batch, 5),
        measures.contribution(t, gradient, batch, 5),
    )


def test_only_scalars_survive_the_average_over_rotations_and_inversion() -> None:
    turns = o3.rand_matrix(400, dtype=torch.float64)
    turns = torch.cat([turns, -turns])
    for name in ("0o", "1o", "1e", "2e"):
        assert o3.Irrep(name).D_from_matrix(turns).mean(0).abs().max() < 0.25
    network = small_network("2x0e+2x1o+2x1e+2x2e", num_layers=4, trim=False)
    x, _ = network.run_recording(network.prepare(MOLECULES))
    for k, layer in enumerate(invariant_means([x], network)):
        torch.testing.assert_close(layer["0e"], x[k][:, :2].mean(0, keepdim=True))
        assert not any(value.any() for key, value in layer.items() if key != "0e")
