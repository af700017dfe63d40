"""What each degree is worth, by rank of the target.

Imports `reporting.compare`, `reporting.words` and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reporting.compare.target_ranks import RANKS, DegreeWorth
from reporting.plots import palette
from reporting.plots.figure import Figure, Json, Panel, View, marker, rounded
from reporting.words import formatting

ROW_HEIGHT = 54


def worth_by_rank(found: Sequence[DegreeWorth]) -> Figure:
    """Plot how much the error of each target grows without each degree.

    Parameters
    ----------
    found : sequence of DegreeWorth
    """
    return Figure(
        "target-rank",
        "What each degree is worth, by rank of the target",
        "How much the error grows when networks are trained without the degree in all layers but "
        "the last, beside every other degree; means over seeds with their 95 % interval. Errors "
        "are relative, as targets have different units.",
        [View("all targets", [_panel(found)])] if found else [],
        wide=True,
    )


def _panel(found: Sequence[DegreeWorth]) -> Panel:
    names = list(dict.fromkeys(_name(one) for one in found))
    degrees = sorted({one.degree for one in found})
    layout: Json = {
        "xaxis": {
            "title": {"text": "Growth of the error without the degree / %"},
            "zeroline": True,
            "nticks": 8,
        },
        "yaxis": {
            "tickvals": list(range(len(names))),
            "ticktext": names,
            "range": [len(names) - 0.5, -0.5],
        },
        "margin": {"t": 8, "b": 48, "l": 170, "r": 16},
    }
    traces = [_trace(number, degree, found, names) for number, degree in enumerate(degrees)]
    return Panel("", traces, layout, 56 + ROW_HEIGHT * len(names))


def _name(one: DegreeWorth) -> str:
    return f"{one.target} ({RANKS.get(one.rank, f'rank {one.rank}')})"


def _trace(number: int, degree: int, found: Sequence[DegreeWorth], names: Sequence[str]) -> Json:
    own = [one for one in found if one.degree == degree]
    half = [one.growth.half_width for one in own]
    shift = 0.16 * (number - 0.5)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"l = {degree}",
        "x": rounded(100 * one.growth.mean for one in own),
        "y": rounded(names.index(_name(one)) + shift for one in own),
        "error_x": {
            "type": "data",
            "array": rounded(100 * h if math.isfinite(h) else 0.0 for h in half),
            "color": palette.color(number),
            "thickness": 1.4,
            "width": 3,
        },
        "marker": marker(number, 9),
        "text": [
            f"{formatting.percent(one.growth.mean, sign=True)} without l = {degree}, beside "
            f"l = {', '.join(str(other) for other in (0, *one.beside))}"
            for one in own
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }
