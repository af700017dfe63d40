"""Figures of the page: Plotly traces and layouts as plain data, and what all plots share.

Imports `reporting.plots.palette` only. Plotly itself runs in the browser.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from reporting.plots import palette

Json = dict[str, Any]
LOG_SPAN = 8.0
"""An axis is logarithmic if its largest value is at least this many times the smallest."""


@dataclass
class Panel:
    """One Plotly figure.

    Attributes
    ----------
    title : str
        Heading above the panel; may be empty.
    data : list of dict
        Traces.
    layout : dict
        What differs from the layout that ``page.js`` gives to all plots.
    height : int
        Height in pixels.
    span : int
        Number of columns that the panel takes if several panels lie side by side.
    toolbar : bool
        Whether Plotly's buttons appear above the panel.
    """

    title: str
    data: list[Json]
    layout: Json
    height: int = 380
    span: int = 1
    toolbar: bool = True


@dataclass
class View:
    """One of several ways to show the same panels.

    Attributes
    ----------
    label : str
        Text on the button that chooses this view.
    panels : list of Panel
    legend : list of str
        Evenly spaced labels of the colour scale above the panels; empty without a scale.
    note : str
        Explanation of this view.
    """

    label: str
    panels: list[Panel]
    legend: list[str] = field(default_factory=list)
    note: str = ""


@dataclass
class Figure:
    """A figure of the page.

    Attributes
    ----------
    key : str
        Identifies the figure within its group.
    title, caption : str
    views : list of View
        The first is shown first. A figure without views is empty.
    wide : bool
        Whether the figure is as wide as the page.
    """

    key: str
    title: str
    caption: str
    views: list[View]
    wide: bool = False


def marker(number: int, size: int) -> Json:
    """Return the marker of a set.

    Parameters
    ----------
    number : int
        Number of the set in its group.
    size : int
        Diameter in pixels.
    """
    return {
        "size": size,
        "color": palette.color(number),
        "symbol": palette.symbol(number),
        "line": {"width": 1, "color": "#ffffff"},
    }


def error_bar(half_width: float, number: int) -> Json:
    """Return an error bar in the colour of a set.

    Parameters
    ----------
    half_width : float
        Half of the interval's width; NaN hides the error bar.
    number : int
        Number of the set in its group.
    """
    if not math.isfinite(half_width):
        return {"visible": False}
    color = palette.color(number)
    bar = {"type": "data", "array": rounded([half_width]), "color": color}
    return bar | {"thickness": 1.5, "width": 3}


def value_axis(title: str, values: Iterable[float], si_prefixes: bool = False) -> Json:
    """Return an axis for some values: logarithmic if they span a wide range, otherwise linear.

    Parameters
    ----------
    title : str
    values : iterable of float
        What will be shown; NaN is ignored.
    si_prefixes : bool
        Whether to write 1,000 as 1k.
    """
    finite = [value for value in values if math.isfinite(value)]
    axis: Json = {"title": {"text": title}}
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    if low <= 0 or high / low < LOG_SPAN:
        return axis | ({"exponentformat": "SI"} if si_prefixes else {"separatethousands": True})
    ticks = _log_ticks(low, high)
    texts = [_with_prefix(tick) if si_prefixes else f"{tick:,.9g}" for tick in ticks]
    return axis | {"type": "log", "tickvals": ticks, "ticktext": texts}


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if math.log10(high / low) < 2.5 else (1,)
    return [float(f"{step}e{decade}") for decade in decades for step in steps]


def _with_prefix(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def rounded(values: Iterable[float]) -> list[float | None]:
    """Round values to six significant digits, which keeps the page small; NaN becomes None."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]
