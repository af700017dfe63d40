"""Removal against training without an irrep: what networks rely on, and what they need.

Imports `reporting.compare`, `reporting.words` and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reporting.compare.groups import Group, IrrepSet
from reporting.compare.irrep_effects import IrrepEffect
from reporting.compare.statistics import Estimate
from reporting.plots import palette
from reporting.plots.figure import Figure, Json, Panel, View, marker, rounded
from reporting.plots.signed_axis import SignedAxis
from reporting.read.irreps import degree_of
from reporting.words import formatting
from reporting.words.titles import error_name

LINE_COLOR = "#9aa5b1"
LINEAR_PART = 0.02
"""Axes are nearly linear up to this part of the smallest error, and logarithmic beyond."""
TITLE = "Relied on, or needed?"
CAPTION = (
    "Each marker is one irrep of one set. Vertical axis: how much the validation error of a "
    "trained network grows when the irrep is removed. Horizontal axis: how much larger the error "
    "is when networks are trained without it from the start. Above the dotted diagonal, networks "
    "rely on an irrep more than they need it."
)


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
    if not points:
        return Figure("reliance", TITLE, CAPTION, [])
    unit = LINEAR_PART * min(error for one in group.sets for error in _errors(group, one))
    trained = SignedAxis([x for p in points for x in _ends(p.retrained)], unit)
    removed = SignedAxis([x for p in points for x in _ends(p.reliance)], unit)
    layout: Json = {
        "xaxis": trained.layout(f"Trained without it: {error_name(group)}, {group.unit} more"),
        "yaxis": removed.layout(f"Removed after training: MAE, {group.unit} more"),
        "shapes": [_diagonal(trained, removed)],
    }
    traces = _traces(group.unit, points, trained, removed)
    return Figure("reliance", TITLE, CAPTION, [View("", [Panel("", traces, layout, 420)])])


def _errors(group: Group, irrep_set: IrrepSet) -> list[float]:
    errors = [error for error in group.errors_by_seed(irrep_set).values() if error > 0]
    return errors or [1.0]


def _traces(
    unit: str, points: Sequence[_Point], trained: SignedAxis, removed: SignedAxis
) -> list[Json]:
    """Make one trace per irrep."""
    by_irrep: dict[str, list[_Point]] = {}
    for point in points:
        by_irrep.setdefault(point.irrep, []).append(point)
    return [_trace(unit, irrep, of, trained, removed) for irrep, of in by_irrep.items()]


def _trace(
    unit: str, irrep: str, points: Sequence[_Point], trained: SignedAxis, removed: SignedAxis
) -> Json:
    degree = degree_of(irrep)
    retrained, reliance = [p.retrained for p in points], [p.reliance for p in points]
    line = {"color": palette.transparent(degree, 0.55), "thickness": 1.2, "width": 0}
    return {
        "type": "scatter",
        "mode": "markers",
        "x": rounded(trained.place(one.mean) for one in retrained),
        "y": rounded(removed.place(one.mean) for one in reliance),
        "name": irrep,
        "legendgroup": irrep,
        "marker": marker(degree, 11),
        "error_x": line | trained.error_bars(_means(retrained), [_ends(e) for e in retrained]),
        "error_y": line | removed.error_bars(_means(reliance), [_ends(e) for e in reliance]),
        "text": [
            f"{irrep} of {point.label}<br>"
            f"removed: {formatting.plus_minus(point.reliance, sign=True)} {unit}<br>"
            f"trained without: {formatting.plus_minus(point.retrained, sign=True)} {unit}"
            for point in points
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _means(estimates: Sequence[Estimate]) -> list[float]:
    return [estimate.mean for estimate in estimates]


def _diagonal(trained: SignedAxis, removed: SignedAxis) -> Json:
    """Draw the line of equal costs over all that is shown, zero included."""
    start, stop = min(trained.low, removed.low, 0.0), max(trained.high, removed.high)
    low, high = trained.place(start), trained.place(stop)
    line = {"color": LINE_COLOR, "width": 1, "dash": "dot"}
    ends = {"x0": low, "y0": low, "x1": high, "y1": high}
    return {"type": "line", "layer": "below", "line": line, **ends}


def _ends(estimate: Estimate) -> tuple[float, float]:
    if estimate.has_interval:
        return estimate.low, estimate.high
    return estimate.mean, estimate.mean
