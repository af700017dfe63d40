"""What every subset of degrees is good for, and what each degree adds to it (Shapley values).

Imports torch, `networks.nested`, `records` and this package only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from math import comb

import torch
from torch import Tensor
from torch_geometric.data import Batch

from analysis.bootstrap import bootstrap_interval
from analysis.decomposition import MAX_DEGREES, Degrees, degree_label, subsets
from networks.nested import NestedNetworks
from records.nested import Estimate, NestedEpoch

MAX_SUBSETS = 2**MAX_DEGREES
"""Subsets that are measured, at most."""


def measured_subsets(
    degrees: Sequence[int], limit: int = MAX_SUBSETS, seed: int = 0
) -> list[Degrees]:
    """Choose the subsets to measure: all of them, or those that a few orders of the degrees visit.

    Parameters
    ----------
    degrees : sequence of int
        Degrees above 0.
    limit : int
        Largest number of subsets.
    seed : int
        Seed of the orders, see `joining_orders`.

    Returns
    -------
    list of tuple of int
        By size, the empty set first and the full set last.

    Raises
    ------
    ValueError
        If `limit` has no room for a single order: the full set, the empty set and those between.
    """
    if 2 ** len(degrees) <= limit:
        return subsets(degrees)
    visited = {s for order in joining_orders(degrees, limit, seed) for s in _visited(order)}
    return sorted(visited, key=lambda subset: (len(subset), subset))


def joining_orders(
    degrees: Sequence[int], limit: int = MAX_SUBSETS, seed: int = 0
) -> list[tuple[int, ...]]:
    """Choose the orders in which degrees join the empty set, one by one.

    All orders, if all subsets may be visited. Otherwise the rotations of random orders, as many as
    `limit` allows: in the rotations of one order every degree stands once in every position, so
    that Shapley values from them average over sets of every size.

    Parameters
    ----------
    degrees : sequence of int
        Degrees above 0.
    limit : int
        Largest number of subsets that all orders together may visit.
    seed : int
        Seed of the random orders; the global random state is neither read nor changed.

    Returns
    -------
    list of tuple of int
        Permutations of the degrees.

    Raises
    ------
    ValueError
        If `limit` is smaller than one more than the number of degrees.
    """
    if limit < len(degrees) + 1:
        raise ValueError(
            f"{limit} subsets of {len(degrees)} degrees: give at least {len(degrees) + 1}, the "
            "number that one order visits"
        )
    if 2 ** len(degrees) <= limit:
        return list(permutations(sorted(degrees)))
    found: list[tuple[int, ...]] = []
    visited: set[Degrees] = set()
    for order in _rotations(degrees, seed):
        visited |= _visited(order)
        if len(visited) > limit:
            return found
        found.append(order)
    return found


def _rotations(degrees: Sequence[int], seed: int) -> Iterator[tuple[int, ...]]:
    """Random orders without end, each with all its rotations."""
    generator = torch.Generator().manual_seed(seed)
    ordered = sorted(degrees)
    while True:
        shuffled = torch.randperm(len(ordered), generator=generator).tolist()
        order = [ordered[i] for i in shuffled]
        yield from (tuple(order[i:] + order[:i]) for i in range(len(order)))


def _visited(order: Sequence[int]) -> set[Degrees]:
    return {tuple(sorted(order[:size])) for size in range(len(order) + 1)}


def shapley_values(
    values: Tensor, measured: Sequence[Degrees], orders: Sequence[Sequence[int]] | None = None
) -> Tensor:
    r"""Shapley value of every degree: what it adds, averaged over the orders of joining.

    With v(S) the value of a subset and k degrees,

        phi_l = sum over S without l of |S|! (k - |S| - 1)! / k! (v(S + l) - v(S)),

    the average over all orders of v's change when l joins. All phi sum to v(all) - v(none). From
    some of the orders it is an unbiased estimate if these are drawn at random (Castro et al.,
    Polynomial calculation of the Shapley value based on sampling, 2009).

    Parameters
    ----------
    values : Tensor
        [..., s] value of each subset; of the error of a molecule, say.
    measured : sequence of tuple of int
        [s] the subsets, full set included.
    orders : sequence of sequence of int, optional
        Orders to average over; by default all of them, for which all subsets must be measured.

    Returns
    -------
    Tensor
        [..., k] float64, degrees ascending; linear in `values`.
    """
    column = {subset: i for i, subset in enumerate(measured)}
    degrees = max(measured, key=len)
    weights_sk = torch.zeros(len(measured), len(degrees), dtype=torch.float64)
    for k, degree in enumerate(degrees):
        if orders is None:
            for subset in subsets([d for d in degrees if d != degree]):
                # |S|! (k - |S| - 1)! / k! = 1 / (k binomial(k - 1, |S|))
                weight = 1 / (len(degrees) * comb(len(degrees) - 1, len(subset)))
                weights_sk[column[subset], k] -= weight
                weights_sk[column[tuple(sorted((*subset, degree)))], k] += weight
        else:
            for order in orders:
                at = list(order).index(degree)
                weights_sk[column[tuple(sorted(order[:at]))], k] -= 1 / len(orders)
                weights_sk[column[tuple(sorted(order[: at + 1]))], k] += 1 / len(orders)
    return values.double().cpu() @ weights_sk


@torch.no_grad()
def subset_errors(
    networks: NestedNetworks, batches: Sequence[Batch], measured: Sequence[Degrees], unit: float
) -> Tensor:
    """Find every molecule's absolute error with every subset of degrees.

    Parameters
    ----------
    networks : NestedNetworks
        In evaluation mode, see `networks.layered.measuring`.
    batches : sequence of Batch
        On the network's device, ``y`` [g] standardized.
    measured : sequence of tuple of int
        [s] subsets of the degrees above 0.
    unit : float
        Reporting units in one standardized unit.

    Returns
    -------
    Tensor
        [molecules, s] float64 on the CPU, reporting units.
    """
    return torch.cat(
        [
            torch.stack([networks(s, batch).double() - batch.y.double() for s in measured], dim=1)
            for batch in batches
        ]
    ).cpu().abs() * unit  # fmt: skip


def summarize_subsets(
    errors: Tensor,
    measured: Sequence[Degrees],
    orders: Sequence[Sequence[int]] | None = None,
    num_bootstrap: int = 1000,
    seed: int = 0,
) -> NestedEpoch:
    """Give every subset its MAE and every degree its Shapley value, with intervals.

    A degree's Shapley value is the fall of the MAE when it joins, averaged over the orders. As it
    is linear in the molecules' errors, its interval is that of a mean over molecules.

    Parameters
    ----------
    errors : Tensor
        [g, s] absolute errors of the molecules with each subset, reporting units.
    measured : sequence of tuple of int
        [s] from `measured_subsets`.
    orders : sequence of sequence of int, optional
        From `joining_orders`; by default all.
    num_bootstrap : int
        Resamples for the 95 % intervals.
    seed : int
        Seed of the resamples.

    Returns
    -------
    NestedEpoch
    """
    errors_gs = errors.double().cpu()
    shapley_gk = shapley_values(-errors_gs, measured, orders)
    together = torch.cat([errors_gs, shapley_gk], dim=1)
    low, high = bootstrap_interval(together, num_bootstrap, seed)
    estimates = [
        Estimate(value, at_least, at_most)
        for value, at_least, at_most in zip(together.mean(0).tolist(), low.tolist(), high.tolist())
    ]
    degrees = max(measured, key=len)
    return NestedEpoch(
        mae={degree_label(s): estimate for s, estimate in zip(measured, estimates)},
        shapley=dict(zip(degrees, estimates[len(measured) :])),
        num_molecules=len(errors_gs),
    )
