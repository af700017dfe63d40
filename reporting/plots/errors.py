"""Errors of sets: against size, against training cost, and by epoch.

Imports this package only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from records.names import UNTRAINED
from reporting.compare.comparison import Standing
from reporting.compare.groups import Group, IrrepSet
from reporting.plots import palette
from reporting.plots.figure import (
    Figure,
    Json,
    Panel,
    View,
    capital,
    error_bar,
    marker,
    short,
    value_axis,
)
from reporting.words import formatting
from reporting.words.summary import error_name

TIMES = ((formatting.HOUR, "hours"), (formatting.MINUTE, "minutes"), (1, "seconds"))


def error_against_size(group: Group, rows: Sequence[Standing]) -> Figure:
    """Plot errors against total and reachable parameters.

    Parameters
    ----------
    group : Group
    rows : sequence of Standing

    Returns
    -------
    Figure
        Without views if there is nothing to show.
    """
    views = [
        _error_view(group, rows, label, title, _parameter(key))
        for label, title, key in (
            ("All", "Parameters", "params/total"),
            ("Reachable", "Parameters that can reach the output", "params/reachable"),
        )
    ]
    return Figure(
        "size",
        f"{capital(error_name(group))} against parameters",
        "Large markers are means over seeds with their 95 % interval, small ones single seeds. "
        "Lower and further left is better.",
        [view for view in views if view.panels],
    )


def error_against_cost(group: Group, rows: Sequence[Standing]) -> Figure:
    """Plot errors against the time spent on training batches.

    Parameters
    ----------
    group : Group
    rows : sequence of Standing

    Returns
    -------
    Figure
        Without views if there is nothing to show.
    """
    longest = max((row.seconds.mean for row in rows if row.seconds), default=0.0)
    size, unit = next((t for t in TIMES if longest >= t[0]), TIMES[-1])

    def time(row: Standing) -> float | None:
        return row.seconds.mean / size if row.seconds else None

    view = _error_view(group, rows, "", f"Training time in {unit}", time)
    return Figure(
        "cost",
        f"{capital(error_name(group))} against training cost",
        "Time spent on training batches: molecules seen divided by molecules per second. It "
        "depends on the machine and on what else ran there.",
        [view] if view.panels else [],
    )


def _parameter(key: str) -> Callable[[Standing], float | None]:
    return lambda row: row.irrep_set.runs[0].number(key)


def _error_view(
    group: Group,
    rows: Sequence[Standing],
    label: str,
    title: str,
    x_of: Callable[[Standing], float | None],
) -> View:
    traces: list[Json] = []
    places = []
    for row in sorted(rows, key=lambda r: group.sets.index(r.irrep_set)):
        x = x_of(row)
        if x:
            places.append(x)
            traces += _error_traces(group, row, x)
    errors = [value for known in group.sets for value in group.values(known).values()]
    layout = {
        "xaxis": value_axis(title, places, kilo=True),
        "yaxis": value_axis(f"{capital(error_name(group))} / {group.unit}", errors),
    }
    return View(label, [Panel("", traces, layout)] if traces else [])


def _error_traces(group: Group, row: Standing, x: float) -> list[Json]:
    known, number = row.irrep_set, group.sets.index(row.irrep_set)
    values = group.values(known)
    traces: list[Json] = []
    if len(values) > 1:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [x] * len(values),
                "y": short(values.values()),
                "text": [f"seed {seed}" for seed in values],
                "name": known.label,
                "legendgroup": known.label,
                "showlegend": False,
                "marker": {"size": 6, "color": palette.transparent(number, 0.45)},
                "hovertemplate": f"%{{text}}<br>%{{y:.4~g}} {group.unit}",
            }
        )
    traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "x": [x],
            "y": short([row.mae.mean]),
            "name": known.label,
            "legendgroup": known.label,
            "marker": marker(number, 12),
            "error_y": error_bar(row.mae.half_width, number),
            "hovertemplate": f"{formatting.plus_minus(row.mae)} {group.unit}<br>%{{x:.4~s}}",
        }
    )
    return traces


def learning_curves(group: Group) -> Figure:
    """Plot validation errors by epoch: each set's mean and range over seeds.

    Parameters
    ----------
    group : Group

    Returns
    -------
    Figure
        Without views if there is nothing to show.
    """
    traces: list[Json] = []
    for number, known in enumerate(group.sets):
        traces += _curve_traces(known, number, group.unit)
    logged = [y for trace in traces for y in trace["y"] if y is not None]
    layout = {
        "xaxis": {"title": {"text": "Epochs trained"}, "rangemode": "tozero"},
        "yaxis": value_axis(f"Validation MAE / {group.unit}", logged),
        "hovermode": "closest",
    }
    return Figure(
        "curves",
        "Learning curves",
        "Lines are means over seeds, bands the range from the best to the worst seed.",
        [View("", [Panel("", traces, layout)])] if traces else [],
    )


def _curve_traces(known: IrrepSet, number: int, unit: str) -> list[Json]:
    by_epoch: dict[int, list[float]] = {}
    for run in known.runs:
        for epoch, row in run.metrics.items():
            value = row.get("val/mae", math.nan)
            if epoch > UNTRAINED and math.isfinite(value):
                by_epoch.setdefault(epoch + 1, []).append(value)
    if not by_epoch:
        return []
    epochs = sorted(by_epoch)
    common = {"type": "scatter", "x": epochs, "name": known.label, "legendgroup": known.label}
    edge: Json = {**common, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    band: list[Json] = []
    if len(known.runs) > 1:
        fill = palette.transparent(number, 0.15)
        band = [
            {**edge, "y": short(min(by_epoch[e]) for e in epochs), "showlegend": False},
            {
                **edge,
                "y": short(max(by_epoch[e]) for e in epochs),
                "showlegend": False,
                "fill": "tonexty",
                "fillcolor": fill,
            },
        ]
    line: Json = {"color": palette.color(number), "width": 2, "dash": palette.dash(number)}
    mean: Json = {
        **common,
        "mode": "lines+markers" if len(epochs) < 40 else "lines",
        "y": short(sum(by_epoch[e]) / len(by_epoch[e]) for e in epochs),
        "line": line,
        "marker": {**marker(number, 7), "line": {"width": 0}, "maxdisplayed": 12},
        "hovertemplate": f"epoch %{{x}}: %{{y:.4~g}} {unit}",
    }
    return [*band, mean]
