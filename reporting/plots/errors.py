"""Errors of sets against number of parameters, training cost and epoch.

Imports `records`, `reporting.compare`, `reporting.words` and this package only.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from records.names import OPERATIONS, UNTRAINED
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.set_comparison import Standing
from reporting.plots import palette
from reporting.plots.figure import (
    Figure,
    Json,
    Panel,
    View,
    error_bar,
    marker,
    rounded,
    value_axis,
)
from reporting.words import formatting
from reporting.words.titles import error_title

TIME_UNITS = ((formatting.HOUR, "hours"), (formatting.MINUTE, "minutes"), (1, "seconds"))
"""Seconds per unit, and the unit's name."""


def error_against_size(group: Group, rows: Sequence[Standing]) -> Figure:
    """Plot errors against the numbers of parameters, and against the operations per molecule.

    Parameters
    ----------
    group : Group
    rows : sequence of Standing
    """
    views = [
        _error_view(group, rows, label, title, _parameters(key))
        for label, title, key in (
            ("All", "Parameters", "params/total"),
            ("Reachable", "Parameters that can reach the output", "params/reachable"),
            ("Operations", "Multiply-adds per molecule", OPERATIONS),
        )
    ]
    return Figure(
        "size",
        f"{error_title(group)} against parameters",
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
    """
    longest = max((row.seconds.mean for row in rows if row.seconds), default=0.0)
    size, unit = next((t for t in TIME_UNITS if longest >= t[0]), TIME_UNITS[-1])

    def duration(row: Standing) -> float | None:
        return row.seconds.mean / size if row.seconds else None

    view = _error_view(group, rows, "", f"Training time in {unit}", duration)
    return Figure(
        "cost",
        f"{error_title(group)} against training cost",
        "Time spent on training batches: molecules seen divided by molecules per second. It "
        "depends on the machine and on what else was running there.",
        [view] if view.panels else [],
    )


def _parameters(key: str) -> Callable[[Standing], float | None]:
    return lambda row: row.irrep_set.runs[0].number(key)


def _error_view(
    group: Group,
    rows: Sequence[Standing],
    label: str,
    title: str,
    x_of: Callable[[Standing], float | None],
) -> View:
    traces: list[Json] = []
    shown = []
    for row in sorted(rows, key=lambda r: group.sets.index(r.irrep_set)):
        x = x_of(row)
        if x:
            shown.append(x)
            traces += _error_traces(group, row, x)
    errors = [error for one in group.sets for error in group.errors_by_seed(one).values()]
    layout = {
        "xaxis": value_axis(title, shown, si_prefixes=True),
        "yaxis": value_axis(f"{error_title(group)} / {group.unit}", errors),
    }
    return View(label, [Panel("", traces, layout)] if traces else [])


def _error_traces(group: Group, row: Standing, x: float) -> list[Json]:
    number = group.sets.index(row.irrep_set)
    label = row.irrep_set.label
    errors = group.errors_by_seed(row.irrep_set)
    traces: list[Json] = []
    if len(errors) > 1:
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [x] * len(errors),
                "y": rounded(errors.values()),
                "text": [f"seed {seed}" for seed in errors],
                "name": label,
                "legendgroup": label,
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
            "y": rounded([row.mae.mean]),
            "name": label,
            "legendgroup": label,
            "marker": marker(number, 12),
            "error_y": error_bar(row.mae.half_width, number),
            "hovertemplate": f"{formatting.plus_minus(row.mae)} {group.unit}<br>%{{x:.4~s}}",
        }
    )
    return traces


def learning_curves(group: Group) -> Figure:
    """Plot validation errors by epoch: mean and range over the seeds of each set.

    Parameters
    ----------
    group : Group
    """
    traces: list[Json] = []
    for number, irrep_set in enumerate(group.sets):
        traces += _curve_traces(irrep_set, number, group.unit)
    errors = [y for trace in traces for y in trace["y"] if y is not None]
    layout = {
        "xaxis": {"title": {"text": "Epochs trained"}, "rangemode": "tozero"},
        "yaxis": value_axis(f"Validation MAE / {group.unit}", errors),
        "hovermode": "closest",
    }
    return Figure(
        "curves",
        "Learning curves",
        "Lines are means over seeds; bands reach from the best to the worst seed.",
        [View("", [Panel("", traces, layout)])] if traces else [],
    )


def _curve_traces(irrep_set: IrrepSet, number: int, unit: str) -> list[Json]:
    by_epoch = _errors_by_epoch(irrep_set)
    if not by_epoch:
        return []
    epochs = list(by_epoch)
    label = irrep_set.label
    common = {"type": "scatter", "x": epochs, "name": label, "legendgroup": label}
    mean: Json = {
        **common,
        "mode": "lines+markers" if len(epochs) < 40 else "lines",
        "y": rounded(statistics.fmean(errors) for errors in by_epoch.values()),
        "line": {"color": palette.color(number), "width": 2, "dash": palette.dash(number)},
        "marker": {**marker(number, 7), "line": {"width": 0}, "maxdisplayed": 12},
        "hovertemplate": f"epoch %{{x}}: %{{y:.4~g}} {unit}",
    }
    if len(irrep_set.runs) == 1:
        return [mean]
    edge: Json = {**common, "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    edge["showlegend"] = False
    low = {**edge, "y": rounded(min(errors) for errors in by_epoch.values())}
    high = {**edge, "y": rounded(max(errors) for errors in by_epoch.values())}
    high |= {"fill": "tonexty", "fillcolor": palette.transparent(number, 0.15)}
    return [low, high, mean]


def _errors_by_epoch(irrep_set: IrrepSet) -> dict[int, list[float]]:
    """Collect the validation errors of all seeds by the number of epochs trained, in order."""
    found: dict[int, list[float]] = {}
    for run in irrep_set.runs:
        for epoch, row in run.metrics.items():
            error = row.get("val/mae", math.nan)
            if epoch > UNTRAINED and math.isfinite(error):
                found.setdefault(epoch + 1, []).append(error)
    return dict(sorted(found.items()))
