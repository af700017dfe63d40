"""Errors of sets of irreps: each set's mean over seeds, and differences paired by seed.

Imports this package only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reporting.compare.groups import Group, IrrepSet
from reporting.compare.statistics import Estimate, holm, mean_interval, paired_difference

SIGNIFICANT = 0.05
"""A difference can be established only if its corrected p-value is below this level."""
FEWEST_PAIRS = 3
"""Fewest common seeds that can establish a difference: with two, one spread decides the p-value."""


@dataclass(frozen=True)
class Difference:
    """Error of one set minus error of another, paired by seed.

    Attributes
    ----------
    irrep_set, other : IrrepSet
        The first set, and the set whose error is subtracted.
    estimate : Estimate
        Mean difference and its interval, reporting units.
    adjusted_p : float
        p-value, corrected for the number of comparisons made together; NaN without a test.
    """

    irrep_set: IrrepSet
    other: IrrepSet
    estimate: Estimate
    adjusted_p: float

    @property
    def established(self) -> bool:
        """Whether enough seeds show a difference that is significant after the correction."""
        return self.adjusted_p < SIGNIFICANT and self.estimate.count >= FEWEST_PAIRS


@dataclass(frozen=True)
class Standing:
    """One row of the ablation table.

    Attributes
    ----------
    irrep_set : IrrepSet
    mae : Estimate
        Mean over seeds, reporting units.
    rate, seconds : Estimate or None
        Training throughput in molecules per second, and time spent on training batches.
    epochs : tuple of int
        Fewest and most over seeds.
    difference : Difference or None
        To the reference; None for the reference itself, and without a common seed.
    """

    irrep_set: IrrepSet
    mae: Estimate
    rate: Estimate | None
    seconds: Estimate | None
    epochs: tuple[int, int]
    difference: Difference | None


def compare_pairs(group: Group, pairs: Sequence[tuple[IrrepSet, IrrepSet]]) -> list[Difference]:
    """Compare pairs of sets, with Holm's correction over all of them.

    Parameters
    ----------
    group : Group
    pairs : sequence of tuple of IrrepSet
        The error of the second set is subtracted from the error of the first.

    Returns
    -------
    list of Difference
        In the order of `pairs`, without those that have no seed in common.
    """
    found = []
    for first, second in pairs:
        errors = group.errors_by_seed(first), group.errors_by_seed(second)
        estimate = paired_difference(*errors)
        if estimate is not None:
            found.append((first, second, estimate))
    adjusted = holm([estimate.p_value for _, _, estimate in found])
    return [Difference(*pair, float(p)) for pair, p in zip(found, adjusted, strict=True)]


def standings(group: Group, reference: IrrepSet) -> list[Standing]:
    """Compute the rows of the ablation table, lowest mean error first.

    Parameters
    ----------
    group : Group
    reference : IrrepSet
        The set that all others are compared with.
    """
    others = [irrep_set for irrep_set in group.sets if irrep_set is not reference]
    to_reference = {
        difference.irrep_set.irreps: difference
        for difference in compare_pairs(group, [(one, reference) for one in others])
    }
    rows = []
    for irrep_set in group.sets:
        epochs = [run.epochs for run in irrep_set.runs]
        rows.append(
            Standing(
                irrep_set=irrep_set,
                mae=mean_interval(list(group.errors_by_seed(irrep_set).values())),
                rate=_mean_of_known([run.molecules_per_second() for run in irrep_set.runs]),
                seconds=_mean_of_known([run.training_seconds() for run in irrep_set.runs]),
                epochs=(min(epochs), max(epochs)),
                difference=to_reference.get(irrep_set.irreps),
            )
        )
    return sorted(rows, key=lambda row: row.mae.mean)


def _mean_of_known(values: Sequence[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return mean_interval(known) if known else None


def compare_with_best(group: Group, best: IrrepSet) -> list[Difference]:
    """Compare every other set with the one that has the lowest error.

    Parameters
    ----------
    group : Group
    best : IrrepSet
        The set with the lowest mean error.

    Returns
    -------
    list of Difference
        Other set minus best, so that a positive difference is in favour of the best.
    """
    return compare_pairs(group, [(one, best) for one in group.sets if one is not best])
