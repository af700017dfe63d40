"""Subsets of degrees inside networks that were trained with irrep dropout, means over seeds.

Imports `records` and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import records.nested
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.statistics import Estimate, mean_interval


@dataclass(frozen=True)
class NestedSubsets:
    """What the nested networks of one set reach after their last epoch.

    Attributes
    ----------
    irrep_set : IrrepSet
    mae : dict of str to Estimate
        Validation MAE by the degrees of the subset, for example ``0,1``, reporting units. A single
        network's interval is over molecules.
    shapley : dict of int to Estimate
        By degree: how much the MAE falls when the degree joins, averaged over the orders of
        joining.
    """

    irrep_set: IrrepSet
    mae: dict[str, Estimate]
    shapley: dict[int, Estimate]


def nested_subsets(group: Group) -> list[NestedSubsets]:
    """Average what nested networks reach over the seeds of each set.

    Parameters
    ----------
    group : Group

    Returns
    -------
    list of NestedSubsets
        Sets that were not trained with irrep dropout are left out.
    """
    found = []
    for irrep_set in group.sets:
        last = [run.nested[max(run.nested)] for run in irrep_set.runs if run.nested]
        if not last:
            continue
        subsets = dict.fromkeys(name for one in last for name in one.mae)
        degrees = sorted({degree for one in last for degree in one.shapley})
        found.append(
            NestedSubsets(
                irrep_set,
                {name: _mean([o.mae[name] for o in last if name in o.mae]) for name in subsets},
                {d: _mean([o.shapley[d] for o in last if d in o.shapley]) for d in degrees},
            )
        )
    return found


def _mean(values: Sequence[records.nested.Estimate]) -> Estimate:
    estimate = mean_interval([one.value for one in values])
    if len(values) > 1:
        return estimate
    return replace(estimate, low=values[0].low, high=values[0].high)
