"""Forces: minus the derivatives of an energy by the positions.

Imports torch only.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch_geometric.data import Batch


def energy_and_forces(
    predict: Callable[[Batch], Tensor], batch: Batch, *, training: bool
) -> tuple[Tensor, Tensor]:
    """Predict energies and forces, F_i = -dE / dx_i.

    Parameters
    ----------
    predict : callable
        From a batch to energies [g], differentiable by ``pos``.
    batch : Batch
        Structures; unchanged afterwards.
    training : bool
        Whether a loss of the forces will be differentiated by the weights.

    Returns
    -------
    energy : Tensor
        [g].
    forces : Tensor
        [n, 3], the energy's unit per angstrom.
    """
    pos = batch.pos
    # Lightning validates without gradients.
    with torch.inference_mode(False), torch.enable_grad():
        batch.pos = pos.detach().clone().requires_grad_()
        try:
            energy = predict(batch)
            (gradient,) = torch.autograd.grad(energy.sum(), batch.pos, create_graph=training)
        finally:
            batch.pos = pos
    return (energy, -gradient) if training else (energy.detach(), -gradient)
