"""What pruned networks cost against how much their error has grown.

Imports `records`, `reporting.words` and this package only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from records.pruning import PrunedFront, PrunedPoint, increase_in_words, sentence
from reporting.plots import palette
from reporting.plots.figure import Figure, Json, Panel, View, rounded

PHASES = {
    "intact": "intact",
    "irreps": "fewer irreps",
    "channels": "fewer channels",
    "chosen": "irreps as given",
}
"""Names of the phases, each with the colour of its number."""
COSTS: dict[str, Callable[[PrunedPoint, PrunedPoint], float]] = {
    "Operations": lambda point, intact: point.operations / intact.operations,
    "Time of a training step": lambda point, intact: 1 / point.training_rate,
    "Parameters": lambda point, intact: point.parameters / intact.parameters,
    "Memory of a training step": lambda point, intact: point.memory / intact.memory,
}
"""Panels: each cost as a share of the intact network's."""
MAX_VIEWS = 8


def pruned_figure(fronts: Sequence[PrunedFront]) -> Figure:
    """Plot every front, one view per way of pruning.

    Parameters
    ----------
    fronts : sequence of PrunedFront
    """
    views = [
        View(
            f"{name_front(front)}",
            [_panel(front, title, cost) for title, cost in COSTS.items()],
            note=sentence(front),
        )
        for front in fronts[:MAX_VIEWS]
    ]
    return Figure(
        "pruned",
        "What can be left out, and what that costs",
        "Each point is a network with fewer irreps (squares; triangles for irreps as given) or "
        "with fewer channels, too (diamonds); its number is that of the table below. The increase "
        "of the test MAE is relative to the intact network (circle), trained on for as many "
        "steps, with 95 % intervals that hold together. The band is the tolerance; a ring marks "
        "the recommendation.",
        views,
        wide=True,
    )


def name_front(front: PrunedFront) -> str:
    """Name a front by its runs and its way of pruning."""
    runs = front.of[0] if len(front.of) == 1 else f"{len(front.of)} runs"
    return f"{runs}, by {front.by}"


def _panel(
    front: PrunedFront, title: str, cost: Callable[[PrunedPoint, PrunedPoint], float]
) -> Panel:
    intact, tolerance = front.points[0], 100 * front.tolerance
    band = {"type": "rect", "xref": "paper", "x0": 0, "x1": 1, "y0": -tolerance, "y1": tolerance}
    layout: Json = {
        "xaxis": {"title": {"text": f"{title}, share"}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "Increase of the test MAE / %"}, "zeroline": True},
        "shapes": [band | {"fillcolor": "#8a96a3", "opacity": 0.2, "line": {"width": 0}}],
    }
    data = [
        _trace([p for p in front.points if p.phase == phase], intact, number, name, cost)
        for number, (phase, name) in enumerate(PHASES.items())
        if any(point.phase == phase for point in front.points)
    ]
    if front.recommended is not None:
        data.append(_ring(front.recommended, cost(front.recommended, intact)))
    return Panel(title, data, layout, 380, toolbar=False)


def _trace(
    points: Sequence[PrunedPoint],
    intact: PrunedPoint,
    number: int,
    name: str,
    cost: Callable[[PrunedPoint, PrunedPoint], float],
) -> Json:
    color = palette.color(number)
    return {
        "type": "scatter",
        "mode": "markers+text",
        "name": name,
        "legendgroup": name,
        "x": rounded(cost(point, intact) for point in points),
        "y": rounded(100 * point.increase for point in points),
        "text": [str(point.number) for point in points],
        "textposition": "top right",
        "textfont": {"size": 10},
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": rounded(100 * (point.high - point.increase) for point in points),
            "arrayminus": rounded(100 * (point.increase - point.low) for point in points),
            "color": color,
            "thickness": 1.4,
            "width": 3,
        },
        "marker": {"size": 8, "color": color, "symbol": palette.symbol(number)},
        "customdata": [
            f"without {point.removed}: {increase_in_words(point)}" if point.removed else "intact"
            for point in points
        ],
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def _ring(point: PrunedPoint, share: float) -> Json:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "recommended",
        "x": rounded([share]),
        "y": rounded([100 * point.increase]),
        "marker": {
            "size": 17,
            "color": "rgba(0,0,0,0)",
            "line": {"width": 2.5, "color": "#009e73"},
        },
        "hoverinfo": "skip",
    }
