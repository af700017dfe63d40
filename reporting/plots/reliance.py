"""Removal against training without an irrep: what networks rely on, and what they need.

Imports `reporting.compare`, `reporting.words` and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reporting.compare.groups import Group
from reporting.compare.irrep_effects import IrrepEffect
from reporting.compare.statistics import Estimate
from reporting.plots.figure import Figure, Json, Panel, View, error_bar, marker, rounded, value_axis
from reporting.read.irreps import degree_of
from reporting.words import formatting
from reporting.words.titles import error_name

LINE_COLOR = "#9aa5b1"


@dataclass(frozen=True)
class _Point:
    """One irrep of one set, with both of its costs."""

    irrep: str
    label: str
    retrained: Estimate
    reliance: Estimate


def reliance_against_retraining(group: Group, effects: Sequence[IrrepEffect]) -> Figure:
    """Plot the cost of removing an irrep against the cost of training without it.

    Parameters
    ----------
    group : Group
    effects : sequence of IrrepEffect
    """
    points = [
        _Point(effect.irrep, effect.irrep_set.label, effect.retrained.estimate, effect.reliance)
        for effect in effects
        if effect.reliance is not None and effect.retrained is not None
    ]
    unit, diagonal = group.unit, _diagonal(points)
    layout: Json = {
        "xaxis": value_axis(
            f"Trained without it: {error_name(group)}, {unit} more",
            [point.retrained.mean for point in points],
        ),
        "yaxis": value_axis(
            f"Removed after training: MAE, {unit} more", [point.reliance.mean for point in points]
        ),
        "shapes": diagonal,
    }
    for axis in ("xaxis", "yaxis"):
        layout[axis] |= {"zeroline": True, "zerolinecolor": LINE_COLOR}
    return Figure(
        "reliance",
        "Relied on, or needed?",
        "Each marker is one irrep of one set. Vertical axis: how much the validation error of a "
        "trained network grows when the irrep is removed. Horizontal axis: how much larger the "
        f"{error_name(group)} is when networks are trained without it from the start. Networks "
        "rely on an irrep more than they need it "
        + ("above the dotted diagonal." if diagonal else "where the first is larger."),
        [View("", [Panel("", _traces(unit, points), layout, 420)])] if points else [],
    )


def _traces(unit: str, points: Sequence[_Point]) -> list[Json]:
    """Make one trace per marker; the first of each irrep stands for all in the legend."""
    traces: list[Json] = []
    in_legend: set[str] = set()
    for point in points:
        traces.append(_trace(unit, point) | {"showlegend": point.irrep not in in_legend})
        in_legend.add(point.irrep)
    return traces


def _trace(unit: str, point: _Point) -> Json:
    degree = degree_of(point.irrep)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": rounded([point.retrained.mean]),
        "y": rounded([point.reliance.mean]),
        "name": point.irrep,
        "legendgroup": point.irrep,
        "marker": marker(degree, 11),
        "error_x": error_bar(point.retrained.half_width, degree),
        "error_y": error_bar(point.reliance.half_width, degree),
        "hovertemplate": (
            f"{point.irrep} of {point.label}<br>"
            f"removed: {formatting.plus_minus(point.reliance, sign=True)} {unit}<br>"
            f"trained without: {formatting.plus_minus(point.retrained, sign=True)} {unit}"
            "<extra></extra>"
        ),
    }


def _diagonal(points: Sequence[_Point]) -> list[Json]:
    """Draw the line of equal costs, where it crosses the region that the markers span."""
    if not points:
        return []
    spans = [
        [_ends(estimate) for estimate in estimates]
        for estimates in ([p.retrained for p in points], [p.reliance for p in points])
    ]
    start = max(min(low for low, _ in ends) for ends in spans)
    stop = min(max(high for _, high in ends) for ends in spans)
    if start >= stop:
        return []
    line = {"color": LINE_COLOR, "width": 1, "dash": "dot"}
    ends = {"x0": start, "y0": start, "x1": stop, "y1": stop}
    return [{"type": "line", "layer": "below", "line": line, **ends}]


def _ends(estimate: Estimate) -> tuple[float, float]:
    if estimate.has_interval:
        return estimate.low, estimate.high
    return estimate.mean, estimate.mean
