"""Repairing a network without training: its linear readout and affine output, in closed form.

Imports torch only.
"""

from __future__ import annotations

import torch
from torch import Tensor

RIDGE = 1e-6
"""Penalty on standardized features, relative to the number of molecules; only keeps the solution
finite where features coincide."""


def fit_linear(features: Tensor, target: Tensor, ridge: float = RIDGE) -> tuple[Tensor, Tensor]:
    """Least squares with an intercept, on standardized features.

    Minimizes mean (target - w . f - b)^2 + ridge |w|^2 over w and b, where f are the features
    centred and divided by their standard deviation; constant features get no weight.

    Parameters
    ----------
    features : Tensor
        [g, d].
    target : Tensor
        [g].
    ridge : float
        Penalty.

    Returns
    -------
    weights : Tensor
        [d] float64, for the features as given.
    intercept : Tensor
        [] float64.
    """
    x, y = features.double(), target.double()
    center = x.mean(0)
    spread = x.std(0, correction=0)
    live = spread > 1e-9 * x.abs().amax(0).clamp_min(torch.finfo(torch.float64).tiny)
    scale = torch.where(live, spread, 1.0)
    standardized = torch.where(live, (x - center) / scale, 0.0)
    gram = standardized.T @ standardized / len(x)
    gram.diagonal().add_(torch.where(live, ridge, 1.0))
    weights = torch.linalg.solve(gram, standardized.T @ (y - y.mean()) / len(x)) / scale
    return weights, y.mean() - weights @ center


def refitted_error(
    train_features: Tensor, train_target: Tensor, features: Tensor, target: Tensor
) -> Tensor:
    """Absolute errors after the readout has been fitted anew on training molecules.

    A linear readout of each atom's scalars, summed over the molecule, followed by an affine map is
    a linear function of the summed scalars: so this is the best that readout and affine output can
    do, to least squares.

    Parameters
    ----------
    train_features, features : Tensor
        [g, c] scalars of the last layer, summed over each molecule's atoms.
    train_target, target : Tensor
        [g].

    Returns
    -------
    Tensor
        [g] float64, in units of the target.
    """
    weights, intercept = fit_linear(train_features, train_target)
    return (features.double() @ weights + intercept - target.double()).abs()


def pooled_scalars(last: Tensor, columns: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
    """Sum the last layer's scalars over each molecule's atoms.

    Parameters
    ----------
    last : Tensor
        [n, dim] output of the last layer.
    columns : Tensor
        [c] int64, those of ``0e``.
    batch : Tensor
        [n] int64, the molecule of each node.
    num_graphs : int
        Number of molecules g.

    Returns
    -------
    Tensor
        [g, c] float64.
    """
    scalars = last.index_select(1, columns.to(last.device)).double()
    return scalars.new_zeros(num_graphs, scalars.shape[1]).index_add(0, batch, scalars)
