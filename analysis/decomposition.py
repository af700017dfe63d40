"""The prediction as an exact sum over which degrees a path has visited.

Imports torch, `networks.layered`, `networks.restriction`, `records` and this package only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch_geometric.data import Batch

from networks.layered import LayeredNetwork
from networks.restriction import Kept, keep_degrees
from records.decomposition import Decomposition, Term

Degrees = tuple[int, ...]
"""Degrees above 0, ascending."""
MAX_DEGREES = 5
"""Degrees above 0 up to which all subsets are run: 2^5 networks."""


def subsets(degrees: Sequence[int]) -> list[Degrees]:
    """List all subsets, smallest first.

    Parameters
    ----------
    degrees : sequence of int
        Degrees above 0.

    Returns
    -------
    list of tuple of int
        2^k subsets; the empty one is the first.
    """
    ordered = sorted(degrees)
    return [s for size in range(len(ordered) + 1) for s in combinations(ordered, size)]


def mobius_terms(predictions: Mapping[Degrees, Tensor]) -> dict[Degrees, Tensor]:
    """Invert sums over subsets: term(T) = sum over S in T of (-1)^(|T| - |S|) f(S).

    The terms of all subsets of S then sum to f(S). With f(S) the prediction of the network
    restricted to the degrees of S (features and edges), term(T) is what needs every degree of T:
    in a network that is linear in its features, the sum over all paths that visit exactly the
    degrees of T.

    Parameters
    ----------
    predictions : mapping
        [g, …] for every subset of the degrees, the empty one included.

    Returns
    -------
    dict
        [g, …] for the same subsets.
    """
    return {
        whole: torch.stack(
            [(-1) ** (len(whole) - len(part)) * predictions[part] for part in subsets(whole)]
        ).sum(0)
        for whole in predictions
    }


@torch.no_grad()
def restricted_predictions(
    network: LayeredNetwork, kept: Kept, batches: Sequence[Batch]
) -> dict[Degrees, Tensor]:
    """Predict with the network restricted to 0 and every subset of its other degrees.

    Parameters
    ----------
    network : LayeredNetwork
        Offers `restricted`.
    kept : Kept
        All that the network has.
    batches : sequence of Batch
        On the network's device.

    Returns
    -------
    dict
        Subset of the degrees above 0 to [g] standardized predictions, float64 on the CPU.

    Raises
    ------
    ValueError
        If the network is not linear in its features, so that the prediction is no sum over paths,
        or if there are more than `MAX_DEGREES` degrees above 0.
    """
    if not network.linear_in_features:
        raise ValueError(
            f"{type(network).__name__} is not linear in its features: its prediction is no sum "
            "over paths, so there is no decomposition"
        )
    degrees = sorted({ir.l for _, ir in network.irreps} - {0})
    if len(degrees) > MAX_DEGREES:
        raise ValueError(
            f"the decomposition runs 2^k networks for k degrees above 0; {len(degrees)} are more "
            f"than {MAX_DEGREES}"
        )
    found = {}
    for part in subsets(degrees):
        smaller = network.restricted(keep_degrees(kept, (0, *part)))
        found[part] = torch.cat([smaller(batch).double().cpu() for batch in batches])
    return found


def decompose(
    predictions: Mapping[Degrees, Tensor], reference: Tensor, target: Tensor, unit: float
) -> Decomposition:
    """Account for the whole prediction, term by term.

    Parameters
    ----------
    predictions : mapping
        From `restricted_predictions`, [g] standardized.
    reference : Tensor
        [g] what is added to each molecule's prediction (composition or mean), reporting units.
    target : Tensor
        [g] whole target, reporting units.
    unit : float
        Reporting units in one standardized unit.

    Returns
    -------
    Decomposition
        The reference first, then one term for each subset. Standard deviations are over
        molecules; a term's share is its covariance with the whole prediction, divided by the
        variance of the latter, so that shares sum to 1.
    """
    terms = {part: term * unit for part, term in mobius_terms(predictions).items()}
    reference = reference.double().cpu()
    prediction = reference + torch.stack(list(terms.values())).sum(0)
    named = {"reference": reference} | {degree_label(part): t for part, t in terms.items()}
    return Decomposition(
        [
            Term(
                name=name,
                sd=float(values.std(correction=0)),
                share=_covariance(values, prediction) / _covariance(prediction, prediction),
                covariance=_covariance(values, target.double().cpu()),
            )
            for name, values in named.items()
        ],
        num_molecules=int(target.numel()),
    )


def degree_label(degrees: Degrees) -> str:
    """Name a term: ``0`` for scalars only, ``0,1,2`` for paths that visit 1 and 2 too."""
    return ",".join(map(str, (0, *degrees)))


def _covariance(one: Tensor, other: Tensor) -> float:
    return float(((one - one.mean()) * (other - other.mean())).mean())
