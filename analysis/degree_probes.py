"""Linear probes of one degree at a time: what features of that degree tell about a property.

Imports NumPy, torch, e3nn's irreps and this package; scikit-learn where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray
from torch import Tensor

from analysis.bootstrap import bootstrap_interval
from analysis.probes import PENALTIES, atom_invariants
from analysis.utilization import split_blocks
from analysis.verdicts import judge
from records.probing import ALL_DEGREES, BASELINE, VECTOR_BASELINE, LinearProbe

FOLDS = 5
"""Parts of cross-validation."""
NUM_RESAMPLES = 1000


@dataclass(frozen=True)
class Property:
    """What is to be predicted from features.

    Attributes
    ----------
    name, unit : str
        Name, and unit of errors.
    values : Tensor
        [g], or [g, 3] for a vector in the frame of the positions; in `unit`.
    intensive : bool
        Whether it does not grow with the molecule: features are then averaged over atoms instead
        of summed.
    """

    name: str
    unit: str
    values: Tensor
    intensive: bool = False


def degree_invariants(
    features: Sequence[Tensor], irreps: Sequence[o3.Irreps], batch: Tensor, num_graphs: int
) -> dict[int, Tensor]:
    """Collect the invariants of every degree from all layers, summed over each molecule's atoms.

    Parameters
    ----------
    features, irreps, batch, num_graphs
        As for `analysis.probes.atom_invariants`.

    Returns
    -------
    dict of int to Tensor
        Degree l to [g, c] float64.
    """
    found: dict[int, list[Tensor]] = {}
    for (_, name), values in atom_invariants(features, irreps, batch, num_graphs).items():
        found.setdefault(o3.Irrep(name).l, []).append(values)
    return {degree: torch.cat(found[degree], dim=1) for degree in sorted(found)}


def degree_vectors(
    features: Sequence[Tensor], irreps: Sequence[o3.Irreps], batch: Tensor, num_graphs: int
) -> Tensor:
    """Collect the l = 1 features of all layers, of any parity, summed over each molecule's atoms.

    Parameters
    ----------
    features, irreps, batch, num_graphs
        As for `analysis.probes.atom_invariants`.

    Returns
    -------
    Tensor
        [g, 3, c] float64, components x, y, z; no channels if there are no such features.
    """
    found = [
        t.double().transpose(1, 2)
        for x, layer_irreps in zip(features, irreps)
        for name, t in split_blocks(x, layer_irreps).items()
        if o3.Irrep(name).l == 1
    ]
    if not found:
        return torch.zeros(num_graphs, 3, 0, dtype=torch.float64)
    vectors = torch.cat(found, dim=2)
    return vectors.new_zeros(num_graphs, *vectors.shape[1:]).index_add(0, batch, vectors)


def element_centers(
    element: Tensor, pos: Tensor, batch: Tensor, num_graphs: int, elements: Sequence[int]
) -> Tensor:
    """Sum the positions of each element's atoms, from the centre of the molecule's atoms.

    A linear map of these is the dipole of molecules whose atoms have a fixed charge per element.

    Parameters
    ----------
    element, batch : Tensor
        [n] int64 atomic number and molecule of each node.
    pos : Tensor
        [n, 3] angstrom.
    num_graphs : int
        Number of molecules g.
    elements : sequence of int
        Atomic numbers of the columns.

    Returns
    -------
    Tensor
        [g, 3, elements] float64, angstrom.
    """
    r = pos.double()
    sizes = r.new_zeros(num_graphs).index_add(0, batch, torch.ones_like(r[:, 0]))
    center = r.new_zeros(num_graphs, 3).index_add(0, batch, r) / sizes[:, None]
    is_element = element[:, None] == torch.as_tensor(elements, device=element.device)
    spread = (r - center.index_select(0, batch))[:, :, None] * is_element[:, None, :]
    return r.new_zeros(num_graphs, 3, len(elements)).index_add(0, batch, spread)


def probe_degrees(
    invariants: Mapping[int, Tensor], counts: Tensor, wanted: Property, seed: int = 0
) -> list[LinearProbe]:
    """Predict a scalar from element counts alone, and with the invariants of one degree or of all.

    Ridge regressions; penalties are chosen by generalized cross-validation within the training
    folds. A property that grows with the molecule is taken without its least-squares fit on
    element counts.

    Parameters
    ----------
    invariants : mapping of int to Tensor
        From `degree_invariants`.
    counts : Tensor
        [g, elements] from `analysis.probes.element_counts`.
    wanted : Property
        With values [g].
    seed : int
        Seed of folds and resamples.

    Returns
    -------
    list of LinearProbe
        The baseline, each degree, all degrees. Gains are over the baseline.
    """
    y = _array(wanted.values)
    elements = _array(counts)
    sizes = elements.sum(1, keepdims=True)
    base = np.concatenate([elements, elements / sizes], axis=1) if wanted.intensive else elements
    if not wanted.intensive:
        design = np.column_stack([elements, np.ones(len(y))])
        y = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    blocks = {
        degree: _array(values) / (sizes if wanted.intensive else 1.0)
        for degree, values in invariants.items()
    }
    sets = {BASELINE: [base]}
    sets |= {f"l = {degree}": [base, block] for degree, block in blocks.items()}
    sets[ALL_DEGREES] = [base, *blocks.values()]
    used = {name: np.concatenate(parts, axis=1) for name, parts in sets.items()}
    predictions = {name: _out_of_fold(x[:, None, :], y[:, None], seed) for name, x in used.items()}
    numbers = {name: x.shape[1] for name, x in used.items()}
    return _scores(wanted, y[:, None], predictions, numbers, seed)


def probe_vector(
    vectors: Tensor, centers: Tensor, wanted: Property, seed: int = 0
) -> list[LinearProbe]:
    """Predict a vector by an equivariant linear map: one weight per channel, no constant.

    Parameters
    ----------
    vectors : Tensor
        [g, 3, c] from `degree_vectors`.
    centers : Tensor
        [g, 3, elements] from `element_centers`, the baseline.
    wanted : Property
        With values [g, 3].
    seed : int
        Seed of folds and resamples.

    Returns
    -------
    list of LinearProbe
        The baseline (a fixed charge per element) and l = 1.
    """
    y = _array(wanted.values)
    base = _array(centers)
    used = {VECTOR_BASELINE: base}
    if vectors.shape[2]:
        used["l = 1"] = np.concatenate([base, _array(vectors)], axis=2)
    predictions = {name: _out_of_fold(x, y, seed) for name, x in used.items()}
    numbers = {name: x.shape[2] for name, x in used.items()}
    return _scores(wanted, y, predictions, numbers, seed)


def _out_of_fold(x: NDArray[np.float64], y: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Predict every molecule's components from the other folds: x [g, m, d], y [g, m].

    Scalars (m = 1) are centred, vectors are not: a constant would not be equivariant. Components
    share their weights.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold

    predicted = np.zeros_like(y)
    is_scalar = y.shape[1] == 1
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(x):
        rows, target = x[train].reshape(-1, x.shape[2]), y[train].reshape(-1)
        center = rows.mean(0) if is_scalar else np.zeros(x.shape[2])
        scale = np.sqrt(np.square(rows - center).mean(0))
        scale[scale <= 1e-12 * np.abs(rows).max(initial=1e-300)] = np.inf  # constant: no weight
        penalties = [penalty * len(rows) for penalty in PENALTIES]
        model = RidgeCV(alphas=penalties, fit_intercept=is_scalar)
        model.fit((rows - center) / scale, target)
        held_out = (x[test].reshape(-1, x.shape[2]) - center) / scale
        predicted[test] = model.predict(held_out).reshape(-1, y.shape[1])
    return predicted


def _scores(
    wanted: Property,
    y: NDArray[np.float64],
    predictions: Mapping[str, NDArray[np.float64]],
    numbers: Mapping[str, int],
    seed: int,
) -> list[LinearProbe]:
    """Errors, R^2 and gains over the first prediction, with intervals over molecules."""
    squares = {name: np.square(p - y).sum(1) for name, p in predictions.items()}
    error = {name: torch.from_numpy(np.sqrt(values)) for name, values in squares.items()}
    center = y.mean(0) if y.shape[1] == 1 else 0.0
    total = np.square(y - center).sum(1)
    first, *others = predictions
    mae = torch.stack([error[name] for name in predictions], dim=1)
    low, high = bootstrap_interval(mae, NUM_RESAMPLES, seed)
    gains = torch.stack([error[first] - error[name] for name in others], dim=1)
    gain_low, gain_high = bootstrap_interval(gains, NUM_RESAMPLES, seed, simultaneous=True)
    baseline = float(error[first].mean())
    found = []
    for i, name in enumerate(predictions):
        r2, r2_low, r2_high = _explained(squares[name], total, seed)
        gain, bottom, top, verdict = 0.0, 0.0, 0.0, ""
        if name in others:
            k = others.index(name)
            gain, bottom, top = float(gains[:, k].mean()), float(gain_low[k]), float(gain_high[k])
            verdict = judge("probe", bottom, top, baseline, len(y))
        found.append(
            LinearProbe(
                target=wanted.name,
                unit=wanted.unit,
                features=name,
                num_features=numbers[name],
                num_molecules=len(y),
                mae=float(mae[:, i].mean()),
                mae_low=float(low[i]),
                mae_high=float(high[i]),
                r2=r2,
                r2_low=r2_low,
                r2_high=r2_high,
                gain=gain,
                gain_low=bottom,
                gain_high=top,
                verdict=verdict,
            )
        )
    return found


def _explained(
    squares: NDArray[np.float64], total: NDArray[np.float64], seed: int
) -> tuple[float, float, float]:
    """R^2 = 1 - sum of squared errors / sum of squares, with a percentile bootstrap interval."""
    drawn = np.random.default_rng(seed).integers(len(total), size=(NUM_RESAMPLES, len(total)))
    resampled = 1 - squares[drawn].sum(1) / total[drawn].sum(1)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(1 - squares.sum() / total.sum()), float(low), float(high)


def _array(values: Tensor) -> NDArray[np.float64]:
    return values.detach().cpu().double().numpy()
