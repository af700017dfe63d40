"""Verdicts on blocks: an equivalence test of the MAE's increase against a margin.

Imports `records` only.
"""

from __future__ import annotations

import math
from dataclasses import replace

from records.utilization import INTERACTION, MEASURES, Utilization, Verdict

MARGIN = 0.01
"""Increases within this part of the MAE, to either side, are negligible."""
FEWEST_MOLECULES = 30
"""Intervals from fewer molecules decide nothing."""


def judge(
    measure: str, low: float, high: float, mae: float, num_molecules: int, reachable: bool = True
) -> Verdict:
    """Judge a block by the interval of the MAE's increase when it is taken away.

    Parameters
    ----------
    measure : str
        A key of `records.utilization.MEASURES`, or `records.utilization.INTERACTION`; decides on
        the words for findings.
    low, high : float
        Ends of the interval, simultaneous over all that is judged together.
    mae : float
        MAE of the intact network, same unit.
    num_molecules : int
        Molecules that the interval is made of.
    reachable : bool
        Whether any selection-rule path leads from the block to the output.

    Returns
    -------
    Verdict
        ``unreachable``; ``negligible`` if the whole interval lies within +-`MARGIN` of the MAE;
        ``harmful`` (for an interaction ``less than the sum``) if it lies below that; the measure's
        own word if it lies above; otherwise, and
        for fewer than `FEWEST_MOLECULES` molecules, ``undecided``.
    """
    if not reachable:
        return "unreachable"
    if num_molecules < FEWEST_MOLECULES or not all(map(math.isfinite, (low, high, mae))):
        return "undecided"
    margin = MARGIN * mae
    above: Verdict = "more than the sum" if measure == INTERACTION else MEASURES[measure]  # type: ignore[index]
    below: Verdict = "less than the sum" if measure == INTERACTION else "harmful"
    if low > margin:
        return above
    if high < -margin:
        return below
    if -margin < low and high < margin:
        return "negligible"
    return "undecided"


def rejudged(utilization: Utilization, scale: float) -> Utilization:
    """Judge all effects against another scale than the intact network's MAE.

    Parameters
    ----------
    utilization : Utilization
        From `analysis.measurement`.
    scale : float
        Takes the place of the MAE, same unit.

    Returns
    -------
    Utilization
        With `scale` as its ``mae``. What is unreachable stays so.
    """
    count = utilization.num_molecules
    rows = [
        replace(
            row,
            effects={
                measure: effect
                if effect.verdict == "unreachable"
                else replace(effect, verdict=judge(measure, effect.low, effect.high, scale, count))
                for measure, effect in row.effects.items()
            },
        )
        for row in utilization.rows
    ]
    return Utilization(rows, scale, count)
