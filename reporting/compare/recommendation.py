"""The cheapest set that is as good as the best one.

Imports this package only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reporting.compare.set_comparison import Difference, Relation, Standing

FASTER = 1.05
"""Sets count as cheaper from this ratio of training rates on."""


@dataclass(frozen=True)
class Recommendation:
    """What to train.

    Attributes
    ----------
    best : Standing
        The set with the lowest error.
    cheapest : Standing
        The fastest set that is equivalent to the best; the best itself if there is none.
    difference : Difference or None
        Error of the cheapest minus error of the best; None if they are the same set.
    perhaps : list of Standing
        Faster sets of which the seeds do not show whether they are equivalent.
    """

    best: Standing
    cheapest: Standing
    difference: Difference | None
    perhaps: list[Standing]


def recommend(rows: Sequence[Standing], to_best: Sequence[Difference]) -> Recommendation | None:
    """Choose the fastest set whose error is established to be that of the best, within the margin.

    Parameters
    ----------
    rows : sequence of Standing
        Lowest error first.
    to_best : sequence of Difference
        Error of every other set minus error of the best.

    Returns
    -------
    Recommendation or None
        None for fewer than two sets, or where no two have common seeds.
    """
    if len(rows) < 2 or not any(d.estimate.has_interval for d in to_best):
        return None
    best = rows[0]
    differences = {d.irrep_set.irreps: d for d in to_best}
    equivalent, perhaps = [best], []
    for row in rows[1:]:
        difference = differences.get(row.irrep_set.irreps)
        if difference is None or speed_ratio(row, best) < FASTER:
            continue
        if difference.relation is Relation.EQUIVALENT:
            equivalent.append(row)
        elif difference.relation is Relation.UNDECIDED:
            perhaps.append(row)
    cheapest = max(equivalent, key=lambda row: speed_ratio(row, best))
    faster = [row for row in perhaps if speed_ratio(row, cheapest) >= FASTER]
    return Recommendation(best, cheapest, differences.get(cheapest.irrep_set.irreps), faster)


def speed_ratio(row: Standing, other: Standing) -> float:
    """Return how many times faster one set trains than another; sizes stand in for unknown rates.

    Parameters
    ----------
    row, other : Standing
    """
    if row.rate is not None and other.rate is not None and other.rate.mean > 0:
        return row.rate.mean / other.rate.mean
    mine, others = row.irrep_set.parameters, other.irrep_set.parameters
    return others / mine if mine and others else 1.0


def size_ratio(row: Standing, other: Standing, key: str) -> float | None:
    """Return a cost of one set in units of that of another.

    Parameters
    ----------
    row, other : Standing
    key : str
        Result of the runs, for example ``params/total``.

    Returns
    -------
    float or None
        None if it is not known of both.
    """
    mine, others = (one.irrep_set.runs[0].number(key) for one in (row, other))
    return mine / others if mine and others else None
