"""Draw what pruned networks cost against how much their error has grown, in four panels.

Imports matplotlib's object API (no pyplot, no global state) and `records`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from records.pruning import PrunedFront, PrunedPoint

INK, GREY, LIGHT = "#222222", "#8a8a8a", "#e6e6e6"
COLORS = {"intact": INK, "irreps": "#0072b2", "channels": "#e69f00", "chosen": "#0072b2"}
NAMES = {
    "intact": "intact",
    "irreps": "fewer irreps",
    "channels": "fewer channels",
    "chosen": "irreps as given",
}
RECOMMENDED = "#009e73"
DPI = 120


def draw_front(front: PrunedFront, title: str, path: Path) -> None:
    """Write `front_figure` to a PNG file.

    Parameters
    ----------
    front, title
        See `front_figure`.
    path : Path
        File to write, of any suffix.
    """
    FigureCanvasAgg(front_figure(front, title)).print_png(path)


def front_figure(front: PrunedFront, title: str) -> Figure:
    """Draw the increase of the MAE against operations, training speed, parameters and memory.

    Parameters
    ----------
    front : PrunedFront
        What to draw.
    title : str
        One line over all panels.

    Returns
    -------
    Figure
    """
    figure = Figure(figsize=(10.2, 7.4), dpi=DPI, facecolor="white", layout="constrained")
    figure.suptitle(title, fontsize=11, color=INK)
    intact = front.points[0]
    panels = figure.subplots(2, 2, sharey=True)
    shares = (
        ("operations", [p.operations / intact.operations for p in front.points]),
        ("time of a training step", [1 / p.training_rate for p in front.points]),
        ("parameters", [p.parameters / intact.parameters for p in front.points]),
        ("memory of a training step", [p.memory / intact.memory for p in front.points]),
    )
    for axes, (name, shares_p) in zip(panels.flat, shares):
        _panel(axes, front, np.array(shares_p))
        axes.set_xlabel(f"{name}, share of the intact network's", fontsize=9, color=INK)
    on_front = sorted(
        (s, 100 * p.increase) for s, p in zip(shares[0][1], front.points) if p.on_front
    )
    panels[0, 0].plot(*zip(*on_front), color=GREY, linewidth=1, linestyle=":", zorder=1)
    for axes in panels[:, 0]:
        axes.set_ylabel("increase of the test MAE, %", fontsize=9, color=INK)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=9, frameon=False)
    return figure


def _panel(axes: Axes, front: PrunedFront, shares: np.ndarray) -> None:
    axes.axhspan(
        -100 * front.tolerance,
        100 * front.tolerance,
        color=LIGHT,
        linewidth=0,
        label=f"within the tolerance of {100 * front.tolerance:g} %",
    )
    axes.axhline(0, color=GREY, linewidth=0.8)
    for phase, color in COLORS.items():
        chosen = [i for i, point in enumerate(front.points) if point.phase == phase]
        if chosen:
            _points(axes, [front.points[i] for i in chosen], shares[chosen], color, NAMES[phase])
    for share, point in zip(shares, front.points):
        if point.recommended:
            axes.plot(
                share, 100 * point.increase, "o", markersize=13, markerfacecolor="none",
                markeredgecolor=RECOMMENDED, markeredgewidth=2, label="recommended",
            )  # fmt: skip
        axes.annotate(
            str(point.number),
            (share, 100 * point.increase),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=7.5,
            color=INK,
        )
    axes.set_xlim(0, max(1.08, 1.05 * float(shares.max())))
    axes.grid(color=LIGHT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=9)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _points(
    axes: Axes, points: list[PrunedPoint], shares: np.ndarray, color: str, name: str
) -> None:
    """Markers with their intervals."""
    values, low, high = (
        100 * np.array([getattr(point, end) for point in points])
        for end in ("increase", "low", "high")
    )
    lengths = np.nan_to_num(np.clip([values - low, high - values], 0, None))
    axes.errorbar(
        shares, values, yerr=lengths, fmt="o", color=color, markersize=5, elinewidth=1,
        capsize=2, label=name, zorder=3,
    )  # fmt: skip
