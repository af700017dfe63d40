"""A figure of the page: Plotly traces and layouts as plain data, and what all plots share.

Imports `reporting.plots.palette`; Plotly itself is needed in the browser alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from reporting.plots import palette

Json = dict[str, Any]
LOG_SPAN = 8.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


@dataclass
class Panel:
    """One Plotly figure.

    Attributes
    ----------
    title : str
        Heading above it; may be empty.
    data : list of dict
        Traces.
    layout : dict
    height : int
        Pixels.
    span : int
        Columns that it takes where several panels lie beside each other.
    bar : bool
        Whether Plotly's buttons appear above it.
    """

    title: str
    data: list[Json]
    layout: Json
    height: int = 380
    span: int = 1
    bar: bool = True


@dataclass
class View:
    """One of several ways to show the same panels.

    Attributes
    ----------
    label : str
        On the button.
    panels : list of Panel
    legend : list of str
        Labels of a colour scale shown above the panels, evenly spaced; empty without one.
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
        Unique in the group.
    title, caption : str
    views : list of View
        The first is shown first.
    wide : bool
        Whether it takes the page's whole width.
    """

    key: str
    title: str
    caption: str
    views: list[View]
    wide: bool = False


def marker(number: int, size: int) -> Json:
    """Marker of the set with this number.

    Parameters
    ----------
    number : int
    size : int
        Pixels.

    Returns
    -------
    dict
    """
    return {
        "size": size,
        "color": palette.color(number),
        "symbol": palette.symbol(number),
        "line": {"width": 1, "color": "#ffffff"},
    }


def error_bar(half_width: float, number: int) -> Json:
    """Error bar in the colour of the set with this number.

    Parameters
    ----------
    half_width : float
        NaN for none.
    number : int

    Returns
    -------
    dict
    """
    if not math.isfinite(half_width):
        return {"visible": False}
    color = palette.color(number)
    bar = {"type": "data", "array": short([half_width]), "color": color}
    return bar | {"thickness": 1.5, "width": 3}


def value_axis(title: str, values: Iterable[float], kilo: bool = False) -> Json:
    """Axis that suits some values: logarithmic where they span much, otherwise linear.

    Parameters
    ----------
    title : str
    values : iterable of float
        What will be shown; NaN is left out.
    kilo : bool
        Whether to write 1,000 as 1k.

    Returns
    -------
    dict
    """
    known = [value for value in values if math.isfinite(value)]
    axis: Json = {"title": {"text": title}}
    low, high = min(known, default=0.0), max(known, default=0.0)
    if low <= 0 or high / low < LOG_SPAN:
        return axis | ({"exponentformat": "SI"} if kilo else {"separatethousands": True})
    ticks = _log_ticks(low, high)
    texts = [_with_prefix(tick) if kilo else f"{tick:,.9g}" for tick in ticks]
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


def short(values: Iterable[float]) -> list[float | None]:
    """Round to six significant digits, so that the page stays small.

    Parameters
    ----------
    values : iterable of float

    Returns
    -------
    list of float or None
        None for NaN.
    """
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values]


def capital(text: str) -> str:
    """Make the first letter a capital one.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    return text[0].upper() + text[1:]
