"""What each irrep is worth by every measure, side by side.

Imports `reporting.compare`, `reporting.words` and this package only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reporting.compare.baselines import PREDICTORS, Learning
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.irrep_effects import IrrepEffect, PairEffect
from reporting.compare.nested_subsets import NestedSubsets
from reporting.compare.set_comparison import Standing
from reporting.compare.statistics import Estimate
from reporting.plots import palette
from reporting.plots.figure import Figure, Json, Panel, View, rounded
from reporting.plots.signed_axis import SignedAxis
from reporting.read.irreps import degree_of
from reporting.words import formatting
from reporting.words.titles import MEASURE_TITLES

SHOWN = ("retrained", "missed", "nested", "refitted", "resampled", "reliance", "probe")
"""Measures in the order of trust, each with the colour and marker of its number."""
LINEAR_PART = 0.05
"""The axis is nearly linear up to this part of the set's error, and logarithmic beyond."""
ROW_HEIGHT = 80
LABEL_HEIGHT = 20
TOOLBAR_HEIGHT = 28
MAX_VIEWS = 8


MARK_COLOR = "#5a6773"


@dataclass(frozen=True)
class _Mark:
    """A labelled line at some increase of the error."""

    name: str
    value: float


@dataclass(frozen=True)
class _Row:
    """One irrep, or two that are taken out together."""

    name: str
    estimates: dict[str, Estimate]


def worth_of_irreps(
    group: Group,
    rows: Sequence[Standing],
    effects: Sequence[IrrepEffect],
    pairs: Sequence[PairEffect],
    nested: Sequence[NestedSubsets],
    learning: Learning | None,
) -> Figure:
    """Plot what each irrep with l > 0 is worth by every measure, one view per set.

    Parameters
    ----------
    group : Group
    rows : sequence of Standing
        Lowest error first, which is shown first.
    effects : sequence of IrrepEffect
    pairs : sequence of PairEffect
    nested : sequence of NestedSubsets
    learning : Learning or None
        Baselines, each of which is a line where a network would have lost all that it has learned
        beyond it.
    """
    views = []
    for row in rows:
        lines = list(_lines(row.irrep_set, effects, pairs, nested))
        if lines:
            mae = row.mae.mean
            marks = [_Mark("the set's own error", mae)]
            marks += [
                _Mark(PREDICTORS[baseline.predictor], baseline.mae.mean - mae)
                for baseline in (learning.baselines if learning else ())
                if baseline.mae.mean > mae
            ]
            views.append(View(row.irrep_set.label, [_panel(group, mae, lines, marks)]))
    return Figure(
        "worth",
        "What each irrep is worth, by every measure",
        "Means over seeds with their 95 % interval, from the measure that comes closest to need "
        'down to the one that only says what breaks; the table below and "How to read this page" '
        "explain them. Dashed lines: as much is lost as the set's own error, and so much that "
        "predictors without a network would do as well.",
        views[:MAX_VIEWS],
        wide=True,
    )


def _lines(
    irrep_set: IrrepSet,
    effects: Sequence[IrrepEffect],
    pairs: Sequence[PairEffect],
    nested: Sequence[NestedSubsets],
) -> Iterator[_Row]:
    shapley = {
        degree: value
        for one in nested
        if one.irrep_set is irrep_set
        for degree, value in one.shapley.items()
    }
    for effect in effects:
        if effect.irrep_set is irrep_set and degree_of(effect.irrep) > 0:
            found = _estimates(effect)
            if degree_of(effect.irrep) in shapley:
                found["nested"] = shapley[degree_of(effect.irrep)]
            if found:
                yield _Row(effect.irrep, found)
    for pair in pairs:
        if pair.irrep_set is irrep_set and (found := _estimates(pair)):
            yield _Row(" + ".join(pair.irreps), found)


def _estimates(one: IrrepEffect | PairEffect) -> dict[str, Estimate]:
    found = {name: effect.estimate for name, effect in one.effects.items() if name in SHOWN}
    if one.retrained is not None:
        found["retrained"] = one.retrained.estimate
    return found


def _panel(group: Group, mae: float, lines: Sequence[_Row], marks: Sequence[_Mark]) -> Panel:
    ends = [x for line in lines for e in line.estimates.values() for x in _ends(e)]
    axis = SignedAxis(ends, LINEAR_PART * mae if mae > 0 else 1.0)
    present = [name for name in SHOWN if any(name in line.estimates for line in lines)]
    traces = [
        _trace(group, name, present.index(name) / len(present), lines, axis) for name in present
    ]
    # From left to right, each label higher than the lines that it passes over.
    shown = sorted(
        (mark for mark in marks if mark.value <= 1.5 * max(ends)), key=lambda mark: mark.value
    )
    layout: Json = {
        "xaxis": axis.layout(f"Increase of the MAE / {group.unit}"),
        "yaxis": {
            "tickvals": [row + 0.5 for row in range(len(lines))],
            "ticktext": [line.name for line in lines],
            "range": [len(lines) + 0.05, -0.05],
            "showgrid": False,
            "fixedrange": True,
        },
        "shapes": [
            _line(
                x0=axis.place(mark.value),
                x1=axis.place(mark.value),
                yref="paper",
                y0=0,
                y1=1 + _lift(i, len(lines)),
                dash=True,
            )
            for i, mark in enumerate(shown)
        ]
        + [
            _line(xref="paper", x0=0, x1=1, y0=row, y1=row, dash=False)
            for row in range(1, len(lines))
        ],
        "annotations": [
            {
                "text": mark.name,
                "x": axis.place(mark.value),
                "yref": "paper",
                "y": 1 + _lift(i, len(lines)),
                "xanchor": "right",
                "yanchor": "top",
                "showarrow": False,
                "font": {"size": 11, "color": MARK_COLOR},
            }
            for i, mark in enumerate(shown)
        ],
        "margin": {"t": TOOLBAR_HEIGHT + LABEL_HEIGHT * len(shown), "r": 10, "b": 40, "l": 50},
    }
    height = 48 + TOOLBAR_HEIGHT + LABEL_HEIGHT * len(shown) + ROW_HEIGHT * len(lines)
    return Panel("", traces, layout, height)


def _lift(number: int, rows: int) -> float:
    """Part of the plot's height by which a line stands out, so that no two labels overlap."""
    return LABEL_HEIGHT * (number + 1) / (ROW_HEIGHT * rows)


def _line(dash: bool, **ends: object) -> Json:
    line = {"color": "#8a96a3", "width": 1, "dash": "dash" if dash else "solid"}
    return {"type": "line", "layer": "below", "line": line, **ends}


def _trace(group: Group, name: str, offset: float, lines: Sequence[_Row], axis: SignedAxis) -> Json:
    number = SHOWN.index(name)
    known = [(row, line) for row, line in enumerate(lines) if name in line.estimates]
    estimates = [line.estimates[name] for _, line in known]
    means = [estimate.mean for estimate in estimates]
    color = palette.color(number)
    bars = axis.error_bars(means, [_ends(estimate) for estimate in estimates])
    return {
        "type": "scatter",
        "mode": "markers",
        "name": MEASURE_TITLES[name],
        "legendgroup": name,
        "x": rounded(axis.place(mean) for mean in means),
        "y": rounded(row + 0.12 + 0.9 * offset for row, _ in known),
        "error_x": bars | {"color": color, "thickness": 1.6, "width": 3},
        "marker": {"size": 10, "color": color, "symbol": palette.symbol(number)},
        "text": [
            f"{line.name}, {MEASURE_TITLES[name].lower()}: "
            f"{formatting.plus_minus(line.estimates[name], sign=True)} {group.unit}"
            for _, line in known
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }


def _ends(estimate: Estimate) -> tuple[float, float]:
    if estimate.has_interval:
        return estimate.low, estimate.high
    return estimate.mean, estimate.mean
