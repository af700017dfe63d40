"""Whether networks have learned more than can be known without a network.

Imports `records`, `reporting.compare` and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence

from records.baselines import FACTOR
from reporting.compare.baselines import PREDICTORS, Learning
from reporting.compare.groups import Group
from reporting.compare.set_comparison import Standing
from reporting.words import formatting


def describe_learning(
    group: Group, learning: Learning | None, rows: Sequence[Standing]
) -> list[str]:
    """Say how far below the best baseline the best set is, and which sets are not far enough.

    Parameters
    ----------
    group : Group
    learning : Learning or None
    rows : sequence of Standing
        Lowest error first.

    Returns
    -------
    list of str
        Empty if no baseline is known.
    """
    if learning is None:
        return []
    best, unit = rows[0], group.unit
    baseline = formatting.plain(learning.best.mae.mean, 3)
    predictor = PREDICTORS[learning.best.predictor]
    if not learning.learned_enough(best.irrep_set):
        return [
            "**These networks have learned too little for their irreps to be judged**: the best "
            f"error, {formatting.plain(best.mae.mean, 3)} {unit}, is not {FACTOR:g} times smaller "
            f"than the {baseline} {unit} of {predictor}. Train longer, or on more molecules."
        ]
    times = formatting.plain(1 / learning.multiples[best.irrep_set.irreps].mean, 2)
    text = (
        f"Learned enough to be judged: the best error is {times} times smaller than the "
        f"{baseline} {unit} of {predictor}, the best predictor without a network."
    )
    weak = [row.irrep_set for row in rows if not learning.learned_enough(row.irrep_set)]
    if not weak:
        return [text]
    names = formatting.join_first([f"`{one.label}`" for one in weak])
    return [text, f"Not {FACTOR:g} times better than it, so not to be judged: {names}."]
