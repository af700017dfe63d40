"""Numbers of the comparison: each set's mean over seeds, and differences paired by seed.

Imports `reporting.compare.statistics` and this package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from reporting.compare.groups import Group, IrrepSet
from reporting.compare.statistics import Estimate, holm, mean_interval, paired_difference

SIGNIFICANT = 0.05
"""Level of the corrected p-values below which a difference is called established."""
FEWEST_PAIRS = 3
"""Seeds in common from which it may be: with two, a small p-value rests on a single spread."""


@dataclass(frozen=True)
class Difference:
    """One set's error minus another's, paired by seed.

    Attributes
    ----------
    irrep_set, other : IrrepSet
        Whose error, and what is subtracted from it.
    estimate : Estimate
        Reporting units.
    adjusted_p : float
        Corrected for the number of comparisons made together; NaN without a test.
    """

    irrep_set: IrrepSet
    other: IrrepSet
    estimate: Estimate
    adjusted_p: float

    @property
    def established(self) -> bool:
        """Whether there is a difference, after the correction and from enough seeds."""
        return self.adjusted_p < SIGNIFICANT and self.estimate.count >= FEWEST_PAIRS


@dataclass(frozen=True)
class Standing:
    """One row of the ablation table.

    Attributes
    ----------
    irrep_set : IrrepSet
    mae : Estimate
        Over seeds, reporting units.
    rate, seconds : Estimate or None
        Molecules trained on per second, and time spent on training batches.
    epochs : tuple of int
        Least and most over seeds.
    difference : Difference or None
        To the reference; None for the reference itself and without a common seed.
    """

    irrep_set: IrrepSet
    mae: Estimate
    rate: Estimate | None
    seconds: Estimate | None
    epochs: tuple[int, int]
    difference: Difference | None


def compare(group: Group, pairs: Sequence[tuple[IrrepSet, IrrepSet]]) -> list[Difference]:
    """Compare pairs of sets, with Holm's correction over all of them.

    Parameters
    ----------
    group : Group
    pairs : sequence of tuple of IrrepSet
        Differences are the first's error minus the second's.

    Returns
    -------
    list of Difference
        Of the pairs that have a seed in common, in the order given.
    """
    found = []
    for one, other in pairs:
        estimate = paired_difference(group.values(one), group.values(other))
        if estimate is not None:
            found.append((one, other, estimate))
    adjusted = holm([estimate.p_value for _, _, estimate in found])
    return [Difference(*pair, float(p)) for pair, p in zip(found, adjusted, strict=True)]


def standings(group: Group, reference: IrrepSet) -> list[Standing]:
    """Rows of the ablation table, by rising mean error.

    Parameters
    ----------
    group : Group
    reference : IrrepSet
        What all others are compared with.

    Returns
    -------
    list of Standing
    """
    others = [known for known in group.sets if known is not reference]
    to_reference = {
        difference.irrep_set.irreps: difference
        for difference in compare(group, [(known, reference) for known in others])
    }
    rows = []
    for known in group.sets:
        epochs = [run.epochs for run in known.runs]
        rows.append(
            Standing(
                irrep_set=known,
                mae=mean_interval(list(group.values(known).values())),
                rate=_over_seeds([run.molecules_per_second() for run in known.runs]),
                seconds=_over_seeds([run.training_seconds() for run in known.runs]),
                epochs=(min(epochs), max(epochs)),
                difference=to_reference.get(known.irreps),
            )
        )
    return sorted(rows, key=lambda row: row.mae.mean)


def _over_seeds(values: Sequence[float | None]) -> Estimate | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return mean_interval(known) if known else None


def rivals(group: Group, best: IrrepSet) -> list[Difference]:
    """Compare the set with the lowest error with every other one.

    Parameters
    ----------
    group : Group
    best : IrrepSet

    Returns
    -------
    list of Difference
        Other minus best, so positive numbers favour the best; corrected by Holm's method.
    """
    return compare(group, [(known, best) for known in group.sets if known is not best])
