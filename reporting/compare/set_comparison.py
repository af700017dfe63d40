"""Errors of sets of irreps: each set's mean over seeds, and differences between sets.

Differences are means over the seeds that both sets have. Their intervals come from the scatter over
seeds, pooled over all sets of the group; the paired test stands beside it.

Imports this package only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from reporting.compare.groups import Group, IrrepSet
from reporting.compare.statistics import (
    Estimate,
    PooledScatter,
    equivalence_p_value,
    holm,
    mean_interval,
    needed_t,
    paired_difference,
    pool,
    pooled_difference,
    pooled_mean,
)

SIGNIFICANT = 0.05
"""Corrected p-values below this level establish a difference or an equivalence."""
FEWEST_SEEDS = 3
"""Fewest common seeds that can establish anything: with two, one spread decides the p-value."""
MARGIN = 0.05
"""Sets are equivalent if their errors differ by less than this part of the error subtracted."""
LARGEST_T = 12.5
"""More seeds are recommended if a paired difference must be this many times its standard error."""
RECOMMENDED_SEEDS = 5


class Relation(Enum):
    """How the error of one set relates to that of another."""

    EQUIVALENT = "equivalent"
    WORSE = "worse"
    BETTER = "better"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Difference:
    """Error of one set minus error of another, over the seeds that both have.

    Attributes
    ----------
    irrep_set, other : IrrepSet
        The first set, and the set whose error is subtracted.
    estimate : Estimate
        Mean difference, reporting units; its interval comes from the group's pooled scatter.
    adjusted_p : float
        p-value, corrected for the number of comparisons made together; NaN without a test.
    paired : Estimate or None
        The same with the interval of the paired test.
    equivalence_p : float
        p-value of the two one-sided tests against `MARGIN`, corrected in the same way.
    """

    irrep_set: IrrepSet
    other: IrrepSet
    estimate: Estimate
    adjusted_p: float
    paired: Estimate | None = None
    equivalence_p: float = math.nan

    @property
    def established(self) -> bool:
        """Whether enough seeds show a difference that is significant after the correction."""
        return self.adjusted_p < SIGNIFICANT and self.estimate.count >= FEWEST_SEEDS

    @property
    def relation(self) -> Relation:
        """What the seeds establish; a small difference that does not matter is an equivalence."""
        if self.equivalence_p < SIGNIFICANT and self.estimate.count >= FEWEST_SEEDS:
            return Relation.EQUIVALENT
        if not self.established:
            return Relation.UNDECIDED
        return Relation.WORSE if self.estimate.mean > 0 else Relation.BETTER


@dataclass(frozen=True)
class Standing:
    """One row of the ablation table.

    Attributes
    ----------
    irrep_set : IrrepSet
    mae : Estimate
        Mean over seeds, reporting units, with the interval of the set's own scatter.
    pooled : Estimate
        The same with the interval of the scatter pooled over all sets.
    rate, seconds : Estimate or None
        Training throughput in molecules per second, and time spent on training batches.
    epochs : tuple of int
        Fewest and most over seeds.
    difference : Difference or None
        To the reference; None for the reference itself, and without a common seed.
    """

    irrep_set: IrrepSet
    mae: Estimate
    pooled: Estimate
    rate: Estimate | None
    seconds: Estimate | None
    epochs: tuple[int, int]
    difference: Difference | None


def pooled_scatter(group: Group) -> PooledScatter:
    """Pool the scatter of the errors over seeds across the sets of a group."""
    return pool([list(group.errors_by_seed(one).values()) for one in group.sets])


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
    scatter = pooled_scatter(group)
    found = []
    for first, second in pairs:
        errors, others = group.errors_by_seed(first), group.errors_by_seed(second)
        paired = paired_difference(errors, others)
        if paired is not None:
            common = sorted(set(errors) & set(others))
            pooled = pooled_difference([errors[s] - others[s] for s in common], scatter)
            margin = MARGIN * math.fsum(others[s] for s in common) / len(common)
            found.append((first, second, pooled, paired, margin))
    adjusted = holm([pooled.p_value for _, _, pooled, _, _ in found])
    equivalence = holm([equivalence_p_value(e, scatter, margin) for _, _, e, _, margin in found])
    return [
        Difference(first, second, pooled, float(p), paired, float(q))
        for (first, second, pooled, paired, _), p, q in zip(
            found, adjusted, equivalence, strict=True
        )
    ]


def paired_test_needs(differences: Sequence[Difference]) -> float:
    """Return the |t| that paired differences need after the correction, for the fewest seeds.

    Parameters
    ----------
    differences : sequence of Difference
        Compared together.

    Returns
    -------
    float
        NaN if no pair of sets has two common seeds.
    """
    counts = [difference.estimate.count for difference in differences]
    fewest = min((count for count in counts if count > 1), default=1)
    return needed_t(fewest - 1, len(counts), SIGNIFICANT) if fewest > 1 else math.nan


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
    scatter = pooled_scatter(group)
    for irrep_set in group.sets:
        errors = list(group.errors_by_seed(irrep_set).values())
        epochs = [run.epochs for run in irrep_set.runs]
        rows.append(
            Standing(
                irrep_set=irrep_set,
                mae=mean_interval(errors),
                pooled=pooled_mean(errors, scatter),
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
