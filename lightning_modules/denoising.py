"""Denoising of positions with a network that predicts a scalar: noise, loss, steps and error.

Imports NumPy, torch, torch_geometric and this package only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch

from lightning_modules.forces import energy_and_forces
from lightning_modules.schedules import learning_rate_factor

CLIP = 1.0
"""Largest norm of the gradient of a step."""


def draw_noise(num_atoms: int, *key: int) -> Tensor:
    """Draw noise of unit variance for every atom of a data set.

    It depends on nothing but the key: an atom has the same noise in any order of molecules, in
    batches of any size and in any process. No global random state is read or changed.

    Parameters
    ----------
    num_atoms : int
        Atoms n of the whole data set.
    *key : int
        Non-negative numbers, such as a seed and an epoch.

    Returns
    -------
    Tensor
        [n, 3] float32 on the CPU.
    """
    generator = np.random.default_rng(key)
    return torch.from_numpy(generator.standard_normal((num_atoms, 3), dtype=np.float32))


def noise_of(batch: Batch, noise: Tensor, first_atom: Tensor) -> Tensor:
    """Look up the noise of a batch, and take the mean of every molecule's noise away.

    A translation changes nothing that a network sees, so no network could predict the mean.

    Parameters
    ----------
    batch : Batch
        With ``idx`` [g], ``batch`` [n], ``ptr`` [g + 1] and ``pos`` [n, 3].
    noise : Tensor
        [atoms of the data set, 3], see `draw_noise`.
    first_atom : Tensor
        [mol] int64, the first atom of every molecule of the data set, by ``idx``.

    Returns
    -------
    Tensor
        [n, 3], in the precision of the positions.
    """
    within = torch.arange(len(batch.batch), device=batch.batch.device) - batch.ptr[batch.batch]
    atom = first_atom[batch.idx][batch.batch] + within
    drawn_n3: Tensor = noise[atom].to(batch.pos.dtype)
    sums_g3 = drawn_n3.new_zeros(batch.num_graphs, 3).index_add(0, batch.batch, drawn_n3)
    mean_g3 = sums_g3 / batch.ptr.diff().unsqueeze(1)
    centred_n3: Tensor = drawn_n3 - mean_g3[batch.batch]
    return centred_n3


def predict_noise(
    predict: Callable[[Batch], Tensor],
    batch: Batch,
    noise: Tensor,
    sigma: float,
    *,
    training: bool,
) -> Tensor:
    """Predict the noise from noisy positions, as the gradient of a scalar E.

    With eps the noise of unit variance and x the positions of the molecule,

        predicted eps = dE / dx  at  x + sigma eps.

    E learned in this way grows in every direction away from the molecule, as the energy does
    around an equilibrium. (Zaidi et al., arXiv 2206.00133, predict the noise with a vector head.)
    The edges stay those of the molecule without noise: bonds are its bonds, and an edge that noise
    brings across the cutoff of a radius graph carries next to nothing.

    Parameters
    ----------
    predict : callable
        From a batch to scalars [g], differentiable by ``pos``.
    batch : Batch
        Molecules without noise; unchanged afterwards.
    noise : Tensor
        [n, 3], unit variance.
    sigma : float
        Standard deviation of the displacements, angstrom.
    training : bool
        Whether the result will be differentiated by the weights.

    Returns
    -------
    Tensor
        [n, 3], in units of sigma.
    """
    clean = batch.pos
    batch.pos = clean + sigma * noise
    try:
        _, forces = energy_and_forces(predict, batch, training=training)
    finally:
        batch.pos = clean
    return -forces


def denoising_loss(
    predict: Callable[[Batch], Tensor], batch: Batch, noise: Tensor, sigma: float
) -> Tensor:
    """Compute the squared error of the predicted noise, summed over atoms and components.

    Parameters
    ----------
    predict, batch, noise, sigma
        As for `predict_noise`.

    Returns
    -------
    Tensor
        [] differentiable by the weights.
    """
    predicted = predict_noise(predict, batch, noise, sigma, training=True)
    return (predicted - noise).square().sum()


def relative_error(
    predict: Callable[[Batch], Tensor], noisy: Iterable[tuple[Batch, Tensor]], sigma: float
) -> float:
    """Measure the mean squared error of the predicted noise, relative to predicting zero.

    Parameters
    ----------
    predict, sigma
        As for `predict_noise`.
    noisy : iterable of Batch and Tensor
        Molecules, and their noise [n, 3].

    Returns
    -------
    float
        0 for a perfect prediction, 1 for none. It cannot reach 0: the gradient of an invariant
        holds no rotation, so it cannot predict the part of the noise that turns a molecule.

    Raises
    ------
    ValueError
        If no molecule has two atoms, so that there is no noise.
    """
    error = size = 0.0
    for batch, noise in noisy:
        predicted = predict_noise(predict, batch, noise, sigma, training=False)
        error += float((predicted - noise).square().sum(dtype=torch.float64))
        size += float(noise.square().sum(dtype=torch.float64))
    if size == 0.0:
        raise ValueError("there is nothing to denoise, as no molecule has two atoms")
    return error / size


def depends_on_positions(predict: Callable[[Batch], Tensor], batch: Batch) -> bool:
    """Say whether a prediction can be differentiated by the positions.

    Parameters
    ----------
    predict : callable
        From a batch to scalars [g].
    batch : Batch
        Any molecules; unchanged afterwards.
    """
    clean = batch.pos
    with torch.inference_mode(False), torch.enable_grad():
        batch.pos = clean.detach().clone().requires_grad_()
        try:
            energy = predict(batch)
            if not energy.requires_grad:
                return False
            (gradient,) = torch.autograd.grad(energy.sum(), batch.pos, allow_unused=True)
        finally:
            batch.pos = clean
    return gradient is not None


class DenoisingSteps:
    """Train a network in place on the denoising loss.

    AdamW without weight decay; the learning rate falls to zero along a half cosine, and gradients
    are clipped at norm `CLIP`. A step is on the mean over all atoms and components that all
    processes have in their batches.

    Parameters
    ----------
    network : nn.Module
        From a batch to scalars [g].
    sigma : float
        Standard deviation of the displacements, angstrom.
    lr : float
        Learning rate at the start.
    num_steps : int
        Steps until the rate is zero.
    add_up : callable, optional
        Sums a tensor over all processes; by default there is one process.
    """

    def __init__(
        self,
        network: nn.Module,
        sigma: float,
        lr: float,
        num_steps: int,
        add_up: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.network = network
        self.sigma = sigma
        self._add_up = add_up
        self._parameters = [p for p in network.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(self._parameters, lr=lr, weight_decay=0.0)
        factor = partial(learning_rate_factor, warmup_steps=0, total_steps=max(1, num_steps))
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, factor)

    def step(self, batch: Batch, noise: Tensor) -> Tensor:
        """Take a step.

        Parameters
        ----------
        batch : Batch
            Molecules without noise; in every process its share.
        noise : Tensor
            [n, 3], unit variance.

        Returns
        -------
        Tensor
            [] norm of the gradient before it was clipped. If it is not finite, the weights are not
            either.
        """
        loss = denoising_loss(self.network, batch, noise, self.sigma)
        # Not `backward`, which would start the reduction of a DDP module around the network.
        found = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        # The shift of the prediction, for one, has no gradient.
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(self._parameters, found)]
        # One tensor, to be summed over processes at once, with the number of terms at its end.
        flat = torch.cat([*(part.flatten() for part in parts), loss.new_full((1,), noise.numel())])
        flat = flat if self._add_up is None else self._add_up(flat)
        sizes = [p.numel() for p in self._parameters]
        for p, gradient in zip(self._parameters, (flat[:-1] / flat[-1]).split(sizes)):
            p.grad = gradient.view_as(p)
        norm = nn.utils.clip_grad_norm_(self._parameters, CLIP)
        self._optimizer.step()
        self._schedule.step()
        for p in self._parameters:
            p.grad = None
        return norm
