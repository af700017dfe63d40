"""Errors against the number of training molecules.

Imports `reporting.compare`, `reporting.words` and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reporting.compare.statistics import Estimate
from reporting.compare.training_sizes import SizeFamily
from reporting.plots import palette
from reporting.plots.figure import Figure, Json, Panel, View, marker, rounded
from reporting.read.irreps import shortest_labels
from reporting.words import formatting
from reporting.words.titles import error_title


def error_against_training_size(families: Sequence[SizeFamily]) -> Figure:
    """Plot the error of each set against the number of training molecules, both logarithmic.

    Parameters
    ----------
    families : sequence of SizeFamily
    """
    return Figure(
        "training-size",
        "Error against the number of training molecules",
        "Means over seeds with their 95 % interval. On these axes a power law is a line, and lines "
        "that draw apart say that a set gains from more molecules.",
        [View(family.name, [_panel(family)]) for family in families],
        wide=True,
    )


def _panel(family: SizeFamily) -> Panel:
    labels = shortest_labels(family.curves)
    sizes = sorted({size for points in family.curves.values() for size, _ in points})
    first = family.groups[0]
    layout: Json = {
        "xaxis": {
            "title": {"text": "Training molecules"},
            "type": "log",
            "tickvals": sizes,
            "ticktext": [formatting.whole(size) for size in sizes],
        },
        "yaxis": {
            "title": {"text": f"{error_title(first)} / {first.unit}"},
            "type": "log",
            "nticks": 6,
            "separatethousands": True,
        },
    }
    traces = [
        _trace(number, labels[irreps], points, first.unit)
        for number, (irreps, points) in enumerate(family.curves.items())
    ]
    return Panel("", traces, layout, 360)


def _trace(number: int, label: str, points: Sequence[tuple[int, Estimate]], unit: str) -> Json:
    half = [e.half_width if math.isfinite(e.half_width) else 0.0 for _, e in points]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": label,
        "legendgroup": label,
        "x": [size for size, _ in points],
        "y": rounded(estimate.mean for _, estimate in points),
        "error_y": {
            "type": "data",
            "array": rounded(half),
            "color": palette.color(number),
            "thickness": 1.4,
            "width": 3,
        },
        "marker": marker(number, 9),
        "line": {"color": palette.color(number), "dash": palette.dash(number), "width": 1.6},
        "text": [f"{formatting.plus_minus(estimate)} {unit}" for _, estimate in points],
        "hovertemplate": "%{x:,} molecules<br>%{text}",
    }
