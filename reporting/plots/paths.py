"""Bars: the terms of the decomposition, and the subsets of nested networks.

Imports `reporting.compare`, `reporting.words` and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence

from reporting.compare.decompositions import REFERENCE, TermMean
from reporting.compare.groups import Group
from reporting.compare.nested_subsets import NestedSubsets
from reporting.compare.statistics import Estimate
from reporting.plots import palette
from reporting.plots.figure import Figure, Json, Panel, View, rounded
from reporting.words import formatting
from reporting.words.titles import word_term

BAR_HEIGHT = 30


def decomposition_bars(group: Group, terms: Sequence[TermMean]) -> Figure:
    """Plot how much each term of the prediction varies over molecules, one panel per set.

    Parameters
    ----------
    group : Group
    terms : sequence of TermMean
    """
    panels = []
    computed = [term for term in terms if term.name != REFERENCE]
    for number, irrep_set in enumerate(group.sets):
        of_set = [term for term in computed if term.irrep_set is irrep_set]
        if of_set:
            names = [word_term(term.name) for term in of_set]
            values = [term.sd for term in of_set]
            bars = _bars(names, values, number, group.unit)
            panels.append(_panel(irrep_set.label, bars, names, f"SD / {group.unit}"))
    return Figure(
        "decomposition",
        "The prediction by the degrees that its paths visit",
        "Standard deviation over molecules of each term; together with the reference they sum to "
        "the prediction exactly. Nothing is torn out. Terms may cancel each other.",
        [View("", panels)] if panels else [],
        wide=True,
    )


def nested_bars(group: Group, nested: Sequence[NestedSubsets]) -> Figure:
    """Plot the error of every subset of degrees, and what each degree adds.

    Parameters
    ----------
    group : Group
    nested : sequence of NestedSubsets
    """
    views = []
    for one in nested:
        number = group.sets.index(one.irrep_set)
        subsets = [f"l = {name}" for name in one.mae]
        degrees = [f"l = {degree}" for degree in one.shapley]
        panels = [
            _panel(
                "MAE of every subset",
                _bars(subsets, list(one.mae.values()), number, group.unit),
                subsets,
                f"Validation MAE / {group.unit}",
            ),
            _panel(
                "What each degree adds (Shapley value)",
                _bars(degrees, list(one.shapley.values()), number, group.unit),
                degrees,
                f"Fall of the MAE / {group.unit}",
            ),
        ]
        views.append(View(one.irrep_set.label, panels))
    return Figure(
        "nested",
        "Nested training: every subset of degrees of one network",
        "Networks trained with irrep dropout, after their last epoch. The order of subsets is to "
        "be trusted more than their level.",
        views,
        wide=True,
    )


def _bars(names: Sequence[str], values: Sequence[Estimate], number: int, unit: str) -> Json:
    return {
        "type": "bar",
        "orientation": "h",
        "x": rounded(value.mean for value in values),
        "y": list(names),
        "marker": {"color": palette.color(number)},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": rounded(value.high - value.mean for value in values),
            "arrayminus": rounded(value.mean - value.low for value in values),
            "color": "#5a6773",
            "thickness": 1.4,
            "width": 3,
        },
        "customdata": [formatting.plus_minus(value) for value in values],
        "hovertemplate": f"%{{y}}: %{{customdata}} {unit}<extra></extra>",
    }


def _panel(title: str, bars: Json, names: Sequence[str], axis: str) -> Panel:
    layout: Json = {
        "xaxis": {"title": {"text": axis}, "zeroline": True, "nticks": 5},
        "yaxis": {"autorange": "reversed", "type": "category", "showgrid": False},
        "bargap": 0.35,
        "margin": {"t": 6, "r": 12, "b": 40, "l": 60},
    }
    return Panel(title, [bars], layout, 70 + BAR_HEIGHT * len(names), toolbar=False)
