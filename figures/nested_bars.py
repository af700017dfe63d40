"""Draw the MAE of every subset of degrees, and what each degree adds, as bars with intervals.

Imports matplotlib's object API (no pyplot, no global state) and `records`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from records.nested import Estimate, NestedEpoch

ROW = 0.3
"""Height of a bar and its gap, inches."""
ABOVE, BELOW = 0.75, 0.6
"""Room for titles above the bars and for the axis below them, inches."""
INK, GREY = "#222222", "#8a8a8a"
SUBSETS = mpl.colormaps["Blues"]
"""Sequential: the more degrees a subset has, the darker its bar."""
DEGREES = "#d55e00"
DPI = 120


def draw_nested(nested: NestedEpoch, title: str, unit: str, path: Path) -> None:
    """Write `nested_figure` to a PNG file.

    Parameters
    ----------
    nested, title, unit
        See `nested_figure`.
    path : Path
        File to write, of any suffix.
    """
    FigureCanvasAgg(nested_figure(nested, title, unit)).print_png(path)


def nested_figure(nested: NestedEpoch, title: str, unit: str) -> Figure:
    """Draw the subsets' MAE on the left and the degrees' Shapley values on the right.

    Parameters
    ----------
    nested : NestedEpoch
        What to draw.
    title : str
        One line over both panels; names the epoch.
    unit : str
        Reporting unit.

    Returns
    -------
    Figure
    """
    left_height, right_height = (max(len(bars), 2) * ROW for bars in (nested.mae, nested.shapley))
    height = left_height + ABOVE + BELOW
    figure = Figure(figsize=(9.6, height), dpi=DPI, facecolor="white")
    left = figure.add_axes((0.13, BELOW / height, 0.47, left_height / height))
    bottom = BELOW + left_height - right_height
    right = figure.add_axes((0.70, bottom / height, 0.26, right_height / height))
    sizes = [len(name.split(",")) for name in nested.mae]
    shades = SUBSETS(0.3 + 0.55 * (np.array(sizes) - 1) / max(1, max(sizes) - 1))
    _bars(left, [f"[{name}]" for name in nested.mae], list(nested.mae.values()), list(shades))
    left.set_title("MAE with these degrees", fontsize=10, color=INK)
    left.set_xlim(left=0)
    names = [f"l = {degree}" for degree in nested.shapley]
    _bars(right, names, list(nested.shapley.values()), [DEGREES] * len(names))
    right.set_title("Shapley value: what a degree adds", fontsize=10, color=INK)
    right.axvline(0, color=INK, linewidth=0.8)
    for axes in (left, right):
        axes.set_xlabel(unit, fontsize=9, color=INK)
    figure.text(0.5, 1 - 0.25 / height, title, ha="center", va="center", fontsize=11, color=INK)
    return figure


def _bars(
    axes: Axes, names: Sequence[str], estimates: Sequence[Estimate], colors: Sequence[Any]
) -> None:
    """Horizontal bars from top to bottom, each with its interval and its value."""
    values = np.array([estimate.value for estimate in estimates])
    low = np.nan_to_num([estimate.low for estimate in estimates], nan=0.0)
    high = np.nan_to_num([estimate.high for estimate in estimates], nan=0.0)
    lengths = np.clip([values - low, high - values], 0, None)
    places = np.arange(len(names))
    axes.barh(places, values, height=0.72, color=colors, zorder=2)
    axes.errorbar(values, places, xerr=lengths, fmt="none", ecolor=INK, elinewidth=1, capsize=2.5)
    for place, value, length in zip(places, values, lengths[1]):
        axes.annotate(
            f"{value:.3g}".replace("-", "−"),
            (max(value + length, 0), place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    axes.set_yticks(places, names, fontsize=9)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.18)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.7, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GREY)
