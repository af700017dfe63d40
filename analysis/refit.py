"""Repairing a network without training: its linear readout and affine output, in closed form.

A scalar readout may have an intercept. One of a vector or tensor combines the channels of one irrep
with the same weights for all components, without an intercept: nothing else is equivariant.

Imports torch only, and scikit-learn where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def fit_equivariant(features: Tensor, target: Tensor, ridge: float = RIDGE) -> Tensor:
    """Least squares of vectors or tensors by the channels of an irrep.

    Minimizes mean |target - sum_c w_c f_c|^2 + ridge sum_c (w_c |f_c|)^2 over w, where |f_c| is the
    channel's root mean square; channels that are zero get no weight.

    Parameters
    ----------
    features : Tensor
        [g, c, m].
    target : Tensor
        [g, m].
    ridge : float
        Penalty.

    Returns
    -------
    Tensor
        [c] float64.
    """
    x_xc = features.double().transpose(1, 2).flatten(0, 1)
    y_x = target.double().flatten()
    size = x_xc.square().mean(0).sqrt()
    live = size > 1e-9 * size.amax().clamp_min(torch.finfo(torch.float64).tiny)
    scale = torch.where(live, size, 1.0)
    scaled = torch.where(live, x_xc / scale, 0.0)
    gram = scaled.T @ scaled / len(scaled)
    gram.diagonal().add_(torch.where(live, ridge, 1.0))
    weights: Tensor = torch.linalg.solve(gram, scaled.T @ y_x / len(scaled)) / scale
    return weights


def refitted_error(
    train_features: Tensor,
    train_target: Tensor,
    features: Tensor,
    target: Tensor,
    penalties: Sequence[float] = (),
) -> Tensor:
    """Errors after the readout has been fitted anew on training molecules.

    A linear readout of each atom's features, summed over the molecule, followed by an affine map is
    a linear function of the summed features: so this is the best that readout and affine output can
    do, to least squares.

    Parameters
    ----------
    train_features, features : Tensor
        [g, c, m] what the readout takes of the last layer, summed over each molecule's atoms.
    train_target, target : Tensor
        [g], or [g, m] for a vector or tensor.
    penalties : sequence of float
        Ridge penalties per molecule that generalized cross-validation chooses from, for features
        that are not few beside the training molecules. By default there is none but `RIDGE`.

    Returns
    -------
    Tensor
        [g] float64, in units of the target: absolute error, or norm of the deviation.
    """
    if target.dim() > 1:
        weights = fit_equivariant(train_features, train_target)
        predicted = torch.einsum("gcm,c->gm", features.double(), weights)
        deviation: Tensor = (predicted - target.double()).norm(dim=-1)
        return deviation
    scalars = train_features.squeeze(-1)
    ridge = _chosen_penalty(scalars, train_target, penalties) if penalties else RIDGE
    weights, intercept = fit_linear(scalars, train_target, ridge)
    return (features.squeeze(-1).double() @ weights + intercept - target.double()).abs()


def without_composition(
    train_counts: Tensor,
    train_features: Tensor,
    train_target: Tensor,
    counts: Tensor,
    features: Tensor,
    target: Tensor,
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Subtract a least-squares fit on element counts and a constant, made on training molecules.

    A regression of what remains of the target on what remains of the features is the regression
    on features and counts together, with no penalty on the counts (Frisch and Waugh, 1933).

    Parameters
    ----------
    train_counts, counts : Tensor
        [g, elements].
    train_features, features : Tensor
        [g, c, 1].
    train_target, target : Tensor
        [g].

    Returns
    -------
    (train_features, train_target), (features, target) : pairs of Tensor
        What remains, [g, c, 1] and [g] float64, on the CPU.
    """
    designs, values = [], []
    for number, x, y in (
        (train_counts, train_features, train_target),
        (counts, features, target),
    ):
        number = number.double().cpu()
        designs.append(torch.cat([number, torch.ones_like(number[:, :1])], dim=1))
        values.append(torch.cat([x.squeeze(-1), y[:, None]], dim=1).double().cpu())
    fitted = torch.linalg.lstsq(designs[0], values[0], driver="gelsd").solution
    train_rest, rest = (value - design @ fitted for value, design in zip(values, designs))
    return (
        (train_rest[:, :-1, None], train_rest[:, -1]),
        (rest[:, :-1, None], rest[:, -1]),
    )


def _chosen_penalty(features: Tensor, target: Tensor, penalties: Sequence[float]) -> float:
    """Choose a penalty by generalized cross-validation."""
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    x = StandardScaler().fit_transform(features.cpu().double().numpy())
    count = len(x)
    search = RidgeCV(alphas=[penalty * count for penalty in penalties])
    return float(search.fit(x, target.cpu().double().numpy()).alpha_) / count


def pooled_features(
    last: Tensor, columns: Tensor, dim: int, batch: Tensor, num_graphs: int
) -> Tensor:
    """Sum the channels of one irrep of the last layer over each molecule's atoms.

    Parameters
    ----------
    last : Tensor
        [n, dim] output of the last layer.
    columns : Tensor
        [c * m] int64, those of the irrep, channel by channel.
    dim : int
        Components m.
    batch : Tensor
        [n] int64, the molecule of each node.
    num_graphs : int
        Number of molecules g.

    Returns
    -------
    Tensor
        [g, c, m] float64.
    """
    taken = last.index_select(1, columns.to(last.device)).double()
    summed: Tensor = taken.new_zeros(num_graphs, taken.shape[1]).index_add(0, batch, taken)
    return summed.view(num_graphs, -1, dim)
