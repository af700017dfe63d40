"""From the points of an elimination to the Pareto front, its recommendation and its words.

Imports NumPy, SciPy, torch, `analysis`, `records` and this package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit

from analysis.bootstrap import bootstrap_interval
from analysis.pruning import describe_removed
from networks.restriction import kept_from_json
from pruning.costs import Costs, measure_costs
from pruning.elimination import Elimination, Errors
from records.pruning import PrunedFront, PrunedPoint

LEVEL = 0.95


def make_front(elimination: Elimination) -> PrunedFront:
    """Read all points of an elimination, measure their costs and compare their errors.

    Parameters
    ----------
    elimination : Elimination
        Whose rounds are done.
    """
    subject, plan = elimination.subjects[0], elimination.plan
    states = elimination.state.points
    errors = [elimination.errors(state.number) for state in states]
    low, high = increase_intervals(errors, plan.seed)
    networks = [elimination.networks(state.number)[0] for state in states]
    training = next(subject.training_batches(plan.seed))
    inference = subject.choosing_batches()[0]
    costs = measure_costs(subject.network, networks, training, inference)
    prepared = subject.network.prepare(inference)
    points = [
        _point(elimination, i, errors[i], costs[i], (float(low[i]), float(high[i])))
        for i in range(len(states))
    ]
    points = [
        replace(
            point,
            operations=network.operations(prepared) / inference.num_graphs,
            parameters=network.num_parameters(),
            layers=" | ".join(str(irreps) for irreps in network.layer_irreps),
        )
        for point, network in zip(points, networks)
    ]
    return PrunedFront(
        points=_judged(points, plan.tolerance),
        by=plan.by if plan.irreps is None else "chosen",
        tolerance=plan.tolerance,
        unit=subject.module.target.reporting_unit,
        num_molecules=errors[0].pruned.shape[1],
        of=tuple(one.path.name for one in elimination.subjects),
    )


def _point(
    elimination: Elimination, i: int, errors: Errors, costs: Costs, interval: tuple[float, float]
) -> PrunedPoint:
    state = elimination.state.points[i]
    per_run = errors.pruned.mean(1) / errors.control.mean(1) - 1
    seeds = _t_interval(per_run)
    network = elimination.subjects[0].network
    return PrunedPoint(
        number=state.number,
        removed=describe_removed(network, kept_from_json(state.kept)),
        layers="",
        phase=state.phase,
        steps=state.steps,
        operations=math.nan,
        parameters=0,
        memory=costs.memory,
        inference_rate=costs.inference_rate,
        training_rate=costs.training_rate,
        mae=float(errors.pruned.mean()),
        control_mae=float(errors.control.mean()),
        increase=float(per_run.mean()),
        increase_low=interval[0],
        increase_high=interval[1],
        seeds_low=seeds[0],
        seeds_high=seeds[1],
        runs=len(per_run),
        on_front=False,
        recommended=False,
        checkpoint=elimination.checkpoint(state.number).name,
    )


def increase_intervals(
    errors: Sequence[Errors], seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Simultaneous intervals over molecules of the relative increase of each point's MAE.

    A molecule's share of the increase is the difference of its two errors, divided by the MAE of
    the intact network. Molecules of several runs are pooled.

    Parameters
    ----------
    errors : sequence of Errors
        One per point.
    seed : int
        Seed of the resamples.

    Returns
    -------
    low, high : array
        [points].
    """
    shares = [((e.pruned - e.control) / e.control.mean(1, keepdims=True)).ravel() for e in errors]
    low, high = bootstrap_interval(
        torch.from_numpy(np.stack(shares, axis=1)), seed=seed, level=LEVEL, simultaneous=True
    )
    return low.numpy(), high.numpy()


def _t_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Student's interval of a mean over runs; NaN for a single run."""
    if len(values) < 2:
        return math.nan, math.nan
    half = stdtrit(len(values) - 1, (1 + LEVEL) / 2) * values.std(ddof=1) / len(values) ** 0.5
    return float(values.mean() - half), float(values.mean() + half)


def _judged(points: Sequence[PrunedPoint], tolerance: float) -> list[PrunedPoint]:
    """Mark the Pareto front, and the cheapest point whose increase stays below the tolerance."""
    front = {
        point.number
        for point in points
        if not any(
            other.operations <= point.operations
            and other.increase <= point.increase
            and (other.operations, other.increase) != (point.operations, point.increase)
            for other in points
        )
    }
    good = [point for point in points if point.number > 0 and point.high <= tolerance]
    best = min(good, key=lambda point: point.operations).number if good else None
    return [
        replace(point, on_front=point.number in front, recommended=point.number == best)
        for point in points
    ]
