"""Draw a utilization table as two heatmaps, layers by irreps.

Imports matplotlib's object API (no pyplot, no global state) and `analysis`.
"""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import offset_copy

from analysis.verdicts import MARGIN
from records.contrast import readable_on
from records.names import NETWORK
from records.probing import Quantity
from records.utilization import PAIR, BlockUtilization, Effect, Utilization

CELL = (0.86, 0.5)
"""Width and height of a cell, inches."""
INK, GREY, PALE = "#222222", "#8a8a8a", "#f3f3f3"
COLOURS = mpl.colormaps["YlGnBu"].with_extremes(under=PALE)
"""Sequential, dark is much, and readable to the colour-blind; unused cells stay uncoloured."""
DPI = 120
WORDS: dict[Quantity, tuple[str, str]] = {
    "error": ("increase of the MAE", "MAE"),
    "shift": ("shift of the prediction", "spread of predictions"),
}
"""What grows without a block, and what is compared with."""

Cells = dict[tuple[int, int], BlockUtilization]
"""(row, column) to its entry."""


def draw_heatmap(
    utilization: Utilization, title: str, unit: str, path: Path, quantity: Quantity = "error"
) -> None:
    """Write `heatmap_figure` to a PNG file.

    Parameters
    ----------
    utilization, title, unit, quantity
        See `heatmap_figure`.
    path : Path
        File to write, of any suffix.
    """
    FigureCanvasAgg(heatmap_figure(utilization, title, unit, quantity)).print_png(path)


def heatmap_figure(
    utilization: Utilization, title: str, unit: str, quantity: Quantity = "error"
) -> Figure:
    """Draw reliance and power share side by side.

    Cells of the reliance hold the increase of the MAE and its 95 % interval. Unreachable cells are
    hatched, blocks that are not relied on have no colour; the colours begin at `MARGIN` of the MAE.

    Parameters
    ----------
    utilization : Utilization
        What to draw.
    title : str
        One line over both panels; names the epoch.
    unit : str
        Unit of the MAE and of all effects.
    quantity : {"error", "shift"}
        What the reliance is an increase of, see `records.probing.Probing`.

    Returns
    -------
    Figure
    """
    effect, scale = WORDS[quantity]
    rows = [row for row in utilization.rows if PAIR not in row.irrep]
    irreps = list(dict.fromkeys(row.irrep for row in rows))
    layers = list(dict.fromkeys(row.layer for row in rows))
    cells = {(layers.index(row.layer), irreps.index(row.irrep)): row for row in rows}
    figure, (left, left_bar, right, right_bar) = _axes(len(irreps), len(layers))
    _draw_reliance(left, left_bar, cells, utilization.mae, f"{effect} without the block, {unit}")
    _draw_power(right, right_bar, {at: c for at, c in cells.items() if c.layer != NETWORK})
    for axes in (left, right):
        _label(axes, irreps, layers)
    height = figure.get_figheight()
    figure.text(0.5, 1 - 0.25 / height, title, ha="center", va="center", fontsize=11, color=INK)
    note = (
        f"hatched: unreachable.   grey: the 95 % interval reaches below {100 * MARGIN:.0f} % of "
        f"the {scale}.   0e is set to its mean, l > 0 to zero: do not rank them."
    )
    figure.text(0.5, 0.17 / height, note, ha="center", va="center", fontsize=7.5, color=GREY)
    return figure


def compact(value: float, sign: bool = False) -> str:
    """Write a number in few characters.

    Parameters
    ----------
    value : float
        Any; NaN gives a dash.
    sign : bool
        Write the plus of positive numbers.

    Returns
    -------
    str
        Two or three digits that count, with k, M, G or T for thousands and so on.
    """
    if math.isnan(value):
        return "–"
    suffixes = ("", "k", "M", "G", "T")
    thousands = 0
    while abs(value) >= 999.5 and thousands < len(suffixes) - 1:
        value /= 1000
        thousands += 1
    digits = 0 if abs(value) >= 9.95 else 1 if abs(value) >= 0.995 else 2
    if thousands == 0 and 0 < abs(value) < 0.095:
        digits = min(1 - math.floor(math.log10(abs(value))), 5)
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return "0" if float(text) == 0 else text.replace("-", "−") + suffixes[thousands]


def _axes(num_irreps: int, num_layers: int) -> tuple[Figure, tuple[Axes, ...]]:
    """Lay out panels and colour bars in inches, so that a cell is the same for all tables."""
    width, height = max(num_irreps * CELL[0], 2.6), num_layers * CELL[1]
    left, gap, bar, bar_labels, top, bottom = 0.85, 0.12, 0.14, 0.9, 0.8, 0.85
    total = (2 * (left + width + gap + bar + bar_labels), top + height + bottom)
    figure = Figure(figsize=total, dpi=DPI, facecolor="white")
    axes = []
    for panel, cut in enumerate((0.0, CELL[1])):  # the power panel has no network row
        start = left + panel * total[0] / 2
        for x, w in ((start, width), (start + width + gap, bar)):
            box = (x / total[0], (bottom + cut) / total[1], w / total[0], (height - cut) / total[1])
            axes.append(figure.add_axes(box))
    return figure, tuple(axes)


def _draw_reliance(axes: Axes, bar: Axes, cells: Cells, mae: float, words: str) -> None:
    unit = words.rpartition(" ")[2]
    low = max(MARGIN * mae, 1e-12)
    effects = {at: _reliance(cell) for at, cell in cells.items()}
    scale = LogNorm(low, max(100 * low, *(effect.value for effect in effects.values())))
    values = {
        at: max(effect.value, low) if effect.verdict == "relied on" else 0.5 * low
        for at, effect in effects.items()
    }
    _draw_cells(axes, cells, values, scale)
    for (y, x), effect in effects.items():
        if cells[y, x].reachable:
            colour = _text_colour(scale, values[y, x])
            interval = f"[{compact(effect.low)}, {compact(effect.high)}]"
            for text, up, size in (
                (compact(effect.value, sign=True), -0.15, 8),
                (interval, 0.22, 6),
            ):
                axes.text(x, y + up, text, ha="center", va="center", fontsize=size, color=colour)
    axes.axhline(max(y for y, _ in cells) - 0.5, color=INK, linewidth=1.2)  # over the network row
    _title(axes, f"Reliance: {words}")
    decades = 10.0 ** np.arange(math.ceil(math.log10(low)), math.log10(scale.vmax or 1) + 1e-9)
    _draw_bar(bar, {f"{_decade(v)} {unit}": _position(scale, v) for v in decades})


def _reliance(cell: BlockUtilization) -> Effect:
    nothing = Effect(math.nan, math.nan, math.nan, "undecided")
    return cell.effects.get("reliance", nothing)


def _decade(value: float) -> str:
    return f"{value:g}" if value < 1000 else compact(value).replace(".0", "")


def _draw_power(axes: Axes, bar: Axes, cells: Cells) -> None:
    values = {at: cell.power_share for at, cell in cells.items()}
    scale = Normalize(0, 1)
    _draw_cells(axes, cells, values, scale)
    for (y, x), cell in cells.items():
        if math.isnan(cell.power_share):
            continue
        colour = _text_colour(scale, values[y, x]) if cell.reachable else GREY
        paper = None if cell.reachable else {"facecolor": "white", "linewidth": 0, "pad": 1.5}
        text = _percent(cell.power_share)
        axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour, bbox=paper)
    _title(axes, "Share of the layer's power")
    _draw_bar(bar, {f"{100 * share:.0f} %": share for share in (0.0, 0.25, 0.5, 0.75, 1.0)})


def _percent(share: float) -> str:
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.{0 if share >= 0.0995 else 1}f} %"


def _draw_cells(
    axes: Axes, cells: Cells, values: dict[tuple[int, int], float], scale: Normalize
) -> None:
    """Coloured cells with white gaps, hatched where unreachable."""
    shape = (max(y for y, _ in cells) + 1, max(x for _, x in cells) + 1)
    grid = np.full(shape, np.nan)
    for at, cell in cells.items():
        if cell.reachable:
            grid[at] = values[at]
    axes.imshow(grid, cmap=COLOURS, norm=scale, aspect="auto")
    for (y, x), cell in cells.items():
        if not cell.reachable:
            box = Rectangle((x - 0.5, y - 0.5), 1, 1, hatch="////", linewidth=0)
            box.set(facecolor="white", edgecolor="#b5b5b5")
            axes.add_patch(box)
    axes.hlines(np.arange(shape[0] + 1) - 0.5, -0.5, shape[1] - 0.5, color="white", linewidth=2)
    axes.vlines(np.arange(shape[1] + 1) - 0.5, -0.5, shape[0] - 0.5, color="white", linewidth=2)


def _position(scale: Normalize, value: float) -> float:
    """Where a value lies between the scale's ends, from 0 to 1."""
    return float(np.asarray(scale(np.array([value])))[0])


def _text_colour(scale: Normalize, value: float) -> str:
    return readable_on(to_hex(COLOURS(_position(scale, value))))


def _title(axes: Axes, text: str) -> None:
    above = offset_copy(axes.transAxes, axes.get_figure(root=True), y=6, units="points")
    axes.text(0.5, 1.0, text, ha="center", fontsize=9.5, color=INK, transform=above)


def _draw_bar(axes: Axes, labels: dict[str, float]) -> None:
    """Colour bar with labels at heights from 0 to 1."""
    # Axes with ticks and titles, and matplotlib's own colour bars, double the time of a picture.
    axes.set_axis_off()
    ramp = np.linspace(0, 1, 256)[:, None]
    axes.imshow(ramp, cmap=COLOURS, origin="lower", aspect="auto", extent=(0, 1, 0, 1))
    for text, height in labels.items():
        axes.text(1.4, height, text, va="center", fontsize=7.5, color=INK)


def _label(axes: Axes, irreps: list[str], layers: list[str]) -> None:
    axes.set_axis_off()
    shown = round(max(axes.get_ylim()) + 0.5)  # the power panel has no network row
    for y, name in enumerate(layers[:shown]):
        text = "all layers" if name == NETWORK else name.replace("layer", "layer ")
        axes.text(-0.5, y, f"{text}  ", ha="right", va="center", fontsize=8.5, color=INK)
    below = shown - 0.5
    for x, name in enumerate(irreps):
        axes.text(x, below + 0.1, name, ha="center", va="top", fontsize=8.5, color=INK)
    middle = (len(irreps) - 1) / 2
    axes.text(
        middle,
        below + 0.48,
        "irrep of the features",
        ha="center",
        va="top",
        fontsize=8.5,
        color=INK,
    )
