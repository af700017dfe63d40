"""Denoising: noise, what predicts it, derivatives of the loss, and what steps of training reach."""

from __future__ import annotations

import pytest
import torch
from e3nn import o3
from torch import Tensor, nn
from torch_geometric.data import Batch

from lightning_modules.denoising import (
    CLIP,
    DenoisingSteps,
    denoising_loss,
    depends_on_positions,
    draw_noise,
    noise_of,
    predict_noise,
    relative_error,
)
from networks.restrictable import RestrictableNetwork
from tests.analysis.molecules import moved, random_molecules
from tests.networks.variants import small_network

SIGMA = 0.05
NETWORKS = pytest.mark.parametrize("variant", ["convnet, fast", "convnet, e3nn", "gated, auto"])


def numbered(count: int, dtype: torch.dtype = torch.float64) -> tuple[Batch, Tensor]:
    """Molecules with their rows of a data set that consists of them, and their first atoms."""
    molecules = random_molecules(count, dtype=dtype).to_data_list()
    for row, molecule in enumerate(molecules):
        molecule.idx = torch.tensor([row])
    batch = Batch.from_data_list(molecules)
    return batch, batch.ptr[:-1].clone()


def noisy(count: int = 3) -> tuple[Batch, Tensor]:
    batch, first_atom = numbered(count)
    return batch, noise_of(batch, draw_noise(batch.num_nodes, 7), first_atom)


def network_of(variant: str) -> RestrictableNetwork:
    return small_network(variant, "3x0e+2x1o+2x2e", num_layers=3)


# ---- noise --------------------------------------------------------------------------------------


def test_noise_is_gaussian_and_depends_on_the_key_alone() -> None:
    noise = draw_noise(20_000, 3, 1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(draw_noise(20_000, 3, 1), noise)
    assert torch.equal(torch.get_rng_state(), state)
    for other in (draw_noise(20_000, 3, 2), draw_noise(20_000, 4, 1)):
        assert abs(float((noise * other).mean())) < 0.02
    assert float(noise.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(noise.std()) == pytest.approx(1.0, abs=0.02)
    assert float(noise.pow(4).mean()) == pytest.approx(3.0, abs=0.1)


def test_the_noise_of_a_molecule_is_the_same_in_every_batch() -> None:
    whole, first_atom = numbered(5)
    drawn = draw_noise(whole.num_nodes, 0)
    noise = noise_of(whole, drawn, first_atom)
    molecules = whole.to_data_list()
    order = [3, 0, 4]
    batch = Batch.from_data_list([molecules[i] for i in order])
    parts = noise_of(batch, drawn, first_atom).split(batch.ptr.diff().tolist())
    for i, part in zip(order, parts, strict=True):
        mine = drawn[whole.ptr[i] : whole.ptr[i + 1]].double()
        torch.testing.assert_close(part, mine - mine.mean(0))
        torch.testing.assert_close(part, noise[whole.ptr[i] : whole.ptr[i + 1]])


# ---- predictions --------------------------------------------------------------------------------


class Springs(nn.Module):
    """A scalar with a known gradient: every atom hangs on a spring at its own place."""

    def __init__(self, clean: Batch, stiffness: float) -> None:
        super().__init__()
        self.place = clean.pos.clone()
        self.stiffness = nn.Parameter(torch.tensor(stiffness, dtype=torch.float64))
        self.shift = nn.Parameter(torch.tensor(3.0, dtype=torch.float64))

    def forward(self, batch: Batch) -> Tensor:
        energy_n = 0.5 * self.stiffness * (batch.pos - self.place).square().sum(1)
        zero_g = energy_n.new_zeros(batch.num_graphs)
        return zero_g.index_add(0, batch.batch, energy_n) + self.shift


def test_springs_of_the_right_stiffness_predict_the_noise() -> None:
    batch, noise = noisy()
    before = batch.pos.clone()
    right, slack = Springs(batch, 1 / SIGMA), Springs(batch, 0.0)
    predicted = predict_noise(right, batch, noise, SIGMA, training=False)
    torch.testing.assert_close(predicted, noise)
    assert relative_error(right, [(batch, noise)] * 2, SIGMA) == pytest.approx(0.0, abs=1e-20)
    assert relative_error(slack, [(batch, noise)] * 2, SIGMA) == pytest.approx(1.0)
    assert relative_error(Springs(batch, 3 / SIGMA), [(batch, noise)], SIGMA) == pytest.approx(4.0)
    assert torch.equal(batch.pos, before)
    assert not batch.pos.requires_grad


def test_training_finds_the_stiffness_and_leaves_what_has_no_gradient() -> None:
    batch, noise = noisy()
    springs, num_steps = Springs(batch, 0.0), 200
    steps = DenoisingSteps(springs, SIGMA, lr=1.0, num_steps=num_steps)
    for _ in range(num_steps):
        steps.step(batch, noise)
    assert springs.stiffness.item() == pytest.approx(1 / SIGMA, rel=1e-3)
    assert springs.shift.item() == 3.0
    assert all(p.grad is None for p in springs.parameters())


@NETWORKS
def test_the_prediction_turns_with_the_molecule(variant: str) -> None:
    network, (batch, noise) = network_of(variant), noisy()
    rotation = o3.rand_matrix(dtype=torch.float64)
    for matrix in (rotation, -rotation):
        turned = moved(batch, matrix, shift=2.0)
        expected = predict_noise(network, batch, noise, SIGMA, training=False) @ matrix.T
        found = predict_noise(network, turned, noise @ matrix.T, SIGMA, training=False)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


@NETWORKS
def test_the_prediction_is_the_derivative_of_the_scalar(variant: str) -> None:
    network, (batch, noise) = network_of(variant), noisy()
    predicted = predict_noise(network, batch, noise, SIGMA, training=False)
    atom, axis, h = 2, 1, 1e-5
    ends = []
    for sign in (1, -1):
        there = batch.clone()
        there.pos = batch.pos + SIGMA * noise
        there.pos[atom, axis] += sign * h
        ends.append(network(there).sum().item())
    assert float(predicted[atom, axis]) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=1e-6)


# ---- training -----------------------------------------------------------------------------------


@NETWORKS
def test_gradients_of_the_loss_are_its_derivatives(variant: str) -> None:
    network, (batch, noise) = network_of(variant), noisy()
    denoising_loss(network, batch, noise, SIGMA).backward()
    for name, weight in network.named_parameters():
        if weight.grad is None:
            assert name == "output.bias", "only the shift leaves the gradient as it is"
            continue
        size = weight.grad.abs()
        place = tuple(int(i) for i in (size == size.max()).nonzero()[0])
        slope, h, ends = float(weight.grad[place]), 1e-5, []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * h
            ends.append(denoising_loss(network, batch, noise, SIGMA).item())
            with torch.no_grad():
                weight[place] -= sign * h
        assert (ends[0] - ends[1]) / (2 * h) == pytest.approx(slope, rel=1e-5), name


@pytest.mark.parametrize("variant", ["convnet, fast", "gated, auto"])
def test_a_small_network_learns_to_denoise_a_molecule(variant: str) -> None:
    # Springs as short as the noise take a fine radial basis.
    radial = {"num_radial": 10, "radial_hidden": 16, "cutoff": 4.0}
    network = small_network(variant, "4x0e+4x1o", num_layers=2, **radial)
    batch, first_atom = numbered(1)

    def pair(step: int, use: int) -> tuple[Batch, Tensor]:
        return batch, noise_of(batch, draw_noise(batch.num_nodes, use, step), first_atom)

    fresh = [pair(step, use=0) for step in range(5)]
    assert relative_error(network, fresh, SIGMA) > 0.95
    steps = DenoisingSteps(network, SIGMA, lr=0.05, num_steps=100)
    for step in range(100):
        steps.step(*pair(step, use=1))
    assert relative_error(network, fresh, SIGMA) < 0.8


def test_shares_of_a_batch_add_up_to_the_step_of_the_whole() -> None:
    batch, first_atom = numbered(5)
    drawn = draw_noise(batch.num_nodes, 0)
    molecules = batch.to_data_list()
    shares = [Batch.from_data_list(part) for part in (molecules[:2], molecules[2:])]
    sent: list[Tensor] = []

    def weights(batches: list[Batch], received: Tensor | None = None) -> list[Tensor]:
        """Weights after a step in which this process sends its part and receives the sum."""
        network = network_of("gated, auto")

        def add_up(flat: Tensor) -> Tensor:
            sent.append(flat)
            return flat if received is None else received

        steps = DenoisingSteps(network, SIGMA, 0.01, 10, add_up)
        for each in batches:
            steps.step(each, noise_of(each, drawn, first_atom))
        return [p.detach() for p in network.parameters()]

    whole = weights([batch])
    for share in shares:
        weights([share])
    torch.testing.assert_close(sent[1] + sent[2], sent[0], rtol=1e-10, atol=1e-10)
    assert float(sent[0][-1]) == 3 * batch.num_nodes
    received = weights([shares[0]], sent[1] + sent[2])
    torch.testing.assert_close(received, whole, rtol=1e-8, atol=1e-10)


def test_gradients_are_clipped_and_their_norm_is_returned() -> None:
    batch, noise = noisy()
    springs = Springs(batch, 0.0)
    loss = denoising_loss(springs, batch, noise, SIGMA) / noise.numel()
    (slope,) = torch.autograd.grad(loss, [springs.stiffness])
    norm = DenoisingSteps(springs, 100.0, lr=0.1, num_steps=10).step(batch, noise)
    assert float(norm) == pytest.approx(100.0 / SIGMA * abs(float(slope)))
    assert float(norm) > CLIP
    # The first step of Adam has the size of the learning rate, whatever the gradient.
    assert springs.stiffness.item() == pytest.approx(0.1, rel=1e-6)


def test_only_predictions_that_see_positions_can_denoise() -> None:
    batch, _ = noisy()
    assert depends_on_positions(network_of("convnet, fast"), batch)
    assert not depends_on_positions(lambda b: b.y, batch)
    weight = torch.ones((), requires_grad=True)
    assert not depends_on_positions(lambda b: weight * b.y, batch)


def test_single_atoms_have_no_noise() -> None:
    batch, noise = noisy()
    with pytest.raises(ValueError, match="no molecule has two atoms"):
        relative_error(Springs(batch, 1.0), [(batch, torch.zeros_like(noise))], SIGMA)
