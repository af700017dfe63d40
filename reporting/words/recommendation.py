"""What to train, in one sentence.

Imports `records`, `reporting.compare` and this package only.
"""

from __future__ import annotations

from records.names import MEMORY, OPERATIONS
from reporting.compare.recommendation import Recommendation, size_ratio, speed_ratio
from reporting.compare.set_comparison import MARGIN
from reporting.words import formatting

COSTS = ((OPERATIONS, "operations"), (MEMORY, "memory"), ("params/total", "parameters"))
"""Costs that are named, the first two that are known."""

NAMED = 2


def describe_recommendation(found: Recommendation | None) -> str:
    """Recommend the cheapest set that is equivalent to the best.

    Parameters
    ----------
    found : Recommendation or None

    Returns
    -------
    str
        Empty if there is nothing to recommend.
    """
    if found is None:
        return ""
    name, best = (f"`{row.irrep_set.label}`" for row in (found.cheapest, found.best))
    margin = formatting.within(MARGIN)
    open_ones = formatting.join_first([f"`{row.irrep_set.label}`" for row in found.perhaps])
    if found.difference is None:
        text = f"**Recommended: {best}.** No faster set is shown to be as good within {margin}."
        return f"{text} Undecided: {open_ones}." if open_ones else text
    relative = found.difference.estimate.mean / found.best.mae.mean
    speed = formatting.plain(speed_ratio(found.cheapest, found.best), 2)
    ratios = [(what, size_ratio(found.cheapest, found.best, key)) for key, what in COSTS]
    sizes = [f"{formatting.percent(r)} of the {what}" for what, r in ratios if r is not None]
    costs = [f"trains {speed} times faster"]
    if sizes:
        costs.append(f"needs {' and '.join(sizes[:NAMED])}")
    text = (
        f"**Recommended: {name}.** Its error is that of {best} within {margin} "
        f"({formatting.percent(relative, sign=True)}), and it {', and '.join(costs)}."
    )
    return f"{text} Perhaps as good, but undecided: {open_ones}." if open_ones else text
