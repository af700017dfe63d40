"""What each irrep is worth by every measure, side by side.

Imports `reporting.compare`, `reporting.words` and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reporting.compare.groups import Group, IrrepSet
from reporting.compare.irrep_effects import IrrepEffect, MeasuredEffect, PairEffect
from reporting.compare.set_comparison import Standing
from reporting.compare.statistics import Estimate
from reporting.plots import palette
from reporting.plots.figure import Figure, Json, Panel, View, rounded
from reporting.read.irreps import degree_of
from reporting.words import formatting
from reporting.words.titles import MEASURE_TITLES

SHOWN = ("retrained", "missed", "refitted", "resampled", "reliance", "probe")
"""Measures in the order of trust, each with the colour and marker of its number."""
LINEAR_PART = 0.05
"""The axis is nearly linear up to this part of the set's error, and logarithmic beyond."""
ROW_HEIGHT = 84
MAX_TICKS = 4
"""Most ticks to either side of zero."""
MAX_VIEWS = 8


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
) -> Figure:
    """Plot what each irrep with l > 0 is worth by every measure, one view per set.

    Parameters
    ----------
    group : Group
    rows : sequence of Standing
        Lowest error first, which is shown first.
    effects : sequence of IrrepEffect
    pairs : sequence of PairEffect
    """
    views = []
    for row in rows:
        lines = list(_lines(row.irrep_set, effects, pairs))
        if lines:
            label = f"{row.irrep_set.label}"
            views.append(View(label, [_panel(group, row.mae.mean, lines)]))
    return Figure(
        "worth",
        "What each irrep is worth, by every measure",
        "Means over seeds with their 95 % interval, from the measure that comes closest to need "
        'down to the one that only says what breaks; the table below and "How to read this page" '
        "explain them. Right of the dashed line, more is lost than the error of the set itself.",
        views[:MAX_VIEWS],
        wide=True,
    )


def _lines(
    irrep_set: IrrepSet, effects: Sequence[IrrepEffect], pairs: Sequence[PairEffect]
) -> Iterator[_Row]:
    for effect in effects:
        if effect.irrep_set is irrep_set and degree_of(effect.irrep) > 0:
            found = _estimates(effect.effects)
            if effect.retrained is not None:
                found["retrained"] = effect.retrained.estimate
            if found:
                yield _Row(effect.irrep, found)
    for pair in pairs:
        if pair.irrep_set is irrep_set and (found := _estimates(pair.effects)):
            yield _Row(" + ".join(pair.irreps), found)


def _estimates(effects: dict[str, MeasuredEffect]) -> dict[str, Estimate]:
    return {name: effect.estimate for name, effect in effects.items() if name in SHOWN}


def _panel(group: Group, mae: float, lines: Sequence[_Row]) -> Panel:
    unit = LINEAR_PART * mae if mae > 0 else 1.0
    present = [name for name in SHOWN if any(name in line.estimates for line in lines)]
    traces = [
        _trace(group, name, present.index(name) / len(present), lines, unit) for name in present
    ]
    ends = [x for line in lines for e in line.estimates.values() for x in _ends(e)]
    ticks = _ticks(min(ends), max(ends), unit)
    layout: Json = {
        "xaxis": {
            "title": {"text": f"Increase of the MAE / {group.unit}"},
            "tickvals": rounded(_scaled(tick, unit) for tick in ticks),
            "ticktext": [_tick_text(tick) for tick in ticks],
            "zeroline": True,
            "zerolinecolor": "#5a6773",
        },
        "yaxis": {
            "tickvals": [row + 0.5 for row in range(len(lines))],
            "ticktext": [line.name for line in lines],
            "range": [len(lines) + 0.05, -0.05],
            "showgrid": False,
            "fixedrange": True,
        },
        "shapes": [
            _line(x0=_scaled(mae, unit), x1=_scaled(mae, unit), yref="paper", y0=0, y1=1, dash=True)
        ]
        + [
            _line(xref="paper", x0=0, x1=1, y0=row, y1=row, dash=False)
            for row in range(1, len(lines))
        ],
    }
    return Panel("", traces, layout, 70 + ROW_HEIGHT * len(lines))


def _line(dash: bool, **ends: object) -> Json:
    line = {"color": "#8a96a3", "width": 1, "dash": "dash" if dash else "solid"}
    return {"type": "line", "layer": "below", "line": line, **ends}


def _trace(group: Group, name: str, offset: float, lines: Sequence[_Row], unit: float) -> Json:
    number = SHOWN.index(name)
    known = [(row, line) for row, line in enumerate(lines) if name in line.estimates]
    estimates = [line.estimates[name] for _, line in known]
    x = [_scaled(estimate.mean, unit) for estimate in estimates]
    ends = [_ends(estimate) for estimate in estimates]
    color = palette.color(number)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": MEASURE_TITLES[name],
        "legendgroup": name,
        "x": rounded(x),
        "y": rounded(row + 0.12 + 0.9 * offset for row, _ in known),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": rounded(_scaled(high, unit) - at for at, (_, high) in zip(x, ends)),
            "arrayminus": rounded(at - _scaled(low, unit) for at, (low, _) in zip(x, ends)),
            "color": color,
            "thickness": 1.6,
            "width": 3,
        },
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


def _scaled(value: float, unit: float) -> float:
    """Place a value on the axis: nearly linear below `unit`, logarithmic above it."""
    return math.asinh(value / unit)


def _ticks(low: float, high: float, unit: float) -> list[float]:
    """Choose zero and powers of ten that lie within the values, at most `MAX_TICKS` a side."""
    first = math.ceil(math.log10(unit))
    found = [0.0]
    for end, sign in ((high, 1.0), (-low, -1.0)):
        last = math.ceil(math.log10(end)) if end > 0 else first - 1
        powers = list(range(first, last + 1))
        step = max(1, math.ceil(len(powers) / MAX_TICKS))
        found += [sign * 10.0**power for power in powers[::-1][::step]]
    return sorted(found)


def _tick_text(value: float) -> str:
    if value == 0:
        return "0"
    return ("+" if value > 0 else "\N{MINUS SIGN}") + f"{abs(value):,.9g}"
