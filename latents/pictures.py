"""Pictures of latent layouts: a row of panels for one epoch.

Imports NumPy, Matplotlib's objects (no pyplot, no global state) and `records`.
"""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter

from latents.coloring import COLORMAP, Coloring, coloring
from latents.layout import HALF_WIDTH
from records.files import replacing
from records.latents import ALL, ELEMENT_COUNTS, Estimate, LatentEpoch
from records.names import UNTRAINED

MAX_COLUMNS = 5
PANEL, GAP, LEFT, RIGHT = 2.35, 0.18, 0.34, 1.12
TOP, BOTTOM, TITLE, ROW_GAP = 0.62, 0.3, 0.8, 0.2
"""Sizes in inches; `TITLE` is the room above each panel."""
INK, MUTED, FRAME_COLOR, MISSING = "#1a1a1a", "#5a5a5a", "#c8c8c8", "#c4c4c4"


def draw_epoch(latent: LatentEpoch, first: LatentEpoch, path: Path) -> None:
    """Draw all panels of one epoch into a PNG.

    Parameters
    ----------
    latent : LatentEpoch
        The epoch to draw.
    first : LatentEpoch
        The run's first epoch.
    path : Path
        The PNG.
    """
    figure = compose_epoch(latent, first)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def compose_epoch(latent: LatentEpoch, first: LatentEpoch) -> Figure:
    """Compose the figure of one epoch: a panel for each block, in one row or several.

    Parameters
    ----------
    latent : LatentEpoch
        The epoch to draw.
    first : LatentEpoch
        The run's first epoch. If it is the untrained one, its kNN R^2 stands below each epoch's.

    Returns
    -------
    Figure
    """
    blocks = panel_blocks(latent)
    rows = math.ceil(len(blocks) / MAX_COLUMNS)
    columns = math.ceil(len(blocks) / rows)
    width = LEFT + columns * PANEL + (columns - 1) * GAP + RIGHT
    height = TOP + rows * (TITLE + PANEL) + (rows - 1) * ROW_GAP + BOTTOM
    figure = Figure(figsize=(width, height), dpi=latent.molecules.settings.dpi, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    colors = coloring(latent, first)
    mappable = ScalarMappable(colors.norm, COLORMAP)
    untrained = first if first.epoch == UNTRAINED < latent.epoch else None
    for position, block in enumerate(blocks):
        row, column = divmod(position, columns)
        left = LEFT + column * (PANEL + GAP)
        bottom = BOTTOM + (rows - 1 - row) * (PANEL + TITLE + ROW_GAP)
        box = (left / width, bottom / height, PANEL / width, PANEL / height)
        axes = figure.add_axes(box)
        _draw_panel(axes, latent, block, colors, mappable)
        for text in _title_panel(axes, _panel_title(latent, block, untrained)):
            _shrink_to_fit(text, canvas, (left + PANEL) * figure.dpi)
        if column == 0:
            axes.set_ylabel("UMAP 2", fontsize=7, color=MUTED, labelpad=3)
        if position + columns >= len(blocks):
            axes.set_xlabel("UMAP 1", fontsize=7, color=MUTED, labelpad=3)
    _draw_colorbar(figure, mappable, colors, width, height)
    for text in _draw_heading(figure, latent, len(blocks), height):
        _shrink_to_fit(text, canvas, (width - 0.1) * figure.dpi)
    return figure


def panel_blocks(latent: LatentEpoch) -> list[str]:
    """List the blocks that get a panel: all together and each irrep, or the only irrep."""
    irreps = [name for name in latent.layouts if name != ALL]
    return irreps if len(irreps) == 1 else [ALL, *irreps]


def _draw_panel(
    axes: Axes, latent: LatentEpoch, block: str, colors: Coloring, mappable: ScalarMappable
) -> None:
    limits = (-HALF_WIDTH, HALF_WIDTH)
    axes.set(xlim=limits, ylim=limits, xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=FRAME_COLOR, linewidth=0.8)
    layout = latent.layouts[block]
    placed = np.isfinite(layout).all(axis=1)
    if not placed.any():
        reason = latent.problems.get(block, "no layout")
        axes.text(0, 0.25, "no data", ha="center", fontsize=11, color=INK)
        axes.text(0, 0.05, _wrap(reason, 34), ha="center", va="top", fontsize=7.5, color=MUTED)
        return
    known = placed & np.isfinite(colors.values)
    size = float(np.clip(9000 / placed.sum(), 3.5, 16))
    style: dict[str, Any] = {"s": size, "linewidths": 0, "alpha": 0.85}
    axes.scatter(*layout[placed & ~known].T, color=MISSING, **style)
    axes.scatter(*layout[known].T, color=mappable.to_rgba(colors.values[known]), **style)


def _panel_title(latent: LatentEpoch, block: str, untrained: LatentEpoch | None) -> list[str]:
    """Name a panel's block and give its measures: 4 lines.

    For the target it is the kNN R^2 without composition: counting atoms alone gives an R^2 of the
    whole target above 0.9.
    """
    channels = latent.channels[block]
    if latent.molecules.settings.color_by == "spatial_score":
        metric, what = "knn_r2_complexity", "of spatial score"
    else:
        metric, what = "knn_r2_composition_free", "without composition"
    trust = _value(latent, block, "trustworthiness")
    references = [f"element counts {_number(_value(latent, ELEMENT_COUNTS, metric).value)}"]
    if untrained is not None:
        references.insert(0, f"untrained {_number(_value(untrained, block, metric).value)}")
    return [
        f"{'all irreps' if block == ALL else block} · {channels} channel{'s' * (channels != 1)}",
        f"kNN R² {what} {_with_interval(_value(latent, block, metric))}",
        ", ".join(references),
        f"trustworthiness {_number(trust.value)}",
    ]


def _title_panel(axes: Axes, lines: list[str]) -> list[Text]:
    inches = (0.58, 0.4, 0.235, 0.075)
    sizes, weights = (9.5, 7.1, 7.1, 7.1), ("bold", "normal", "normal", "normal")
    inks = (INK, INK, MUTED, INK)
    return [
        axes.text(
            0,
            1 + up / PANEL,
            line,
            transform=axes.transAxes,
            fontsize=size,
            color=color,
            fontweight=weight,
        )
        for up, line, size, color, weight in zip(inches, lines, sizes, inks, weights)
    ]


def _value(latent: LatentEpoch, block: str, metric: str) -> Estimate:
    missing = Estimate(math.nan, math.nan, math.nan, 0)
    return latent.metrics.get(block, {}).get(metric, missing)


def _with_interval(estimate: Estimate) -> str:
    value, low, high = map(_number, estimate[:3])
    return value if math.isnan(estimate.low) else f"{value} [{low}, {high}]"


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    text = f"{value:.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def _draw_colorbar(
    figure: Figure, mappable: ScalarMappable, colors: Coloring, width: float, height: float
) -> None:
    length = min(height - TOP - TITLE - BOTTOM, 1.6 * PANEL)
    middle = (BOTTOM + height - TOP - TITLE) / 2
    box = (
        (width - RIGHT + 0.16) / width,
        (middle - length / 2) / height,
        0.11 / width,
        length / height,
    )
    bar = figure.colorbar(mappable, cax=figure.add_axes(box), extend=colors.extend)
    bar.set_label(colors.label, fontsize=8, color=INK)
    if max(abs(limit or 0.0) for limit in (colors.norm.vmin, colors.norm.vmax)) >= 10_000:
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _thousands(value)))
    bar.ax.tick_params(labelsize=7, color=FRAME_COLOR, labelcolor=INK, length=2.5)
    bar.outline.set(edgecolor=FRAME_COLOR, linewidth=0.6)


def _thousands(value: float) -> str:
    return f"{value:,.0f}".replace("-", "−")


def _draw_heading(figure: Figure, latent: LatentEpoch, panels: int, height: float) -> list[Text]:
    settings = latent.molecules.settings
    moment = "untrained" if latent.epoch == UNTRAINED else f"epoch {latent.epoch}"
    if latent.is_best:
        moment = f"best checkpoint ({moment})"
    finite = latent.error[np.isfinite(latent.error)]
    mae = f" · MAE {_short(finite.mean())} {settings.reporting_unit}" if len(finite) else ""
    space = "  " if panels > 1 else " "
    left = LEFT / figure.get_figwidth()
    title = figure.text(
        left,
        1 - 0.27 / height,
        f"UMAP of the latent space{space}·{space}{settings.target}{space}·{space}{moment}",
        fontsize=12,
        fontweight="bold",
        color=INK,
    )
    details = figure.text(
        left,
        1 - 0.5 / height,
        f"{settings.irreps} · output of layer {settings.layer} · "
        f"{len(latent.error):,} validation molecules{mae}",
        fontsize=8.5,
        color=MUTED,
    )
    return [title, details]


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _shrink_to_fit(text: Text, canvas: FigureCanvasAgg, right: float) -> None:
    """Make a line smaller where it would run past `right`, in pixels: irreps can be long."""
    box = text.get_window_extent(canvas.get_renderer())
    room = right - box.x0
    if box.width > room:
        # Widths are not quite proportional to sizes: glyphs are fitted to pixels.
        text.set_fontsize(0.97 * float(text.get_fontsize()) * room / box.width)


def _wrap(text: str, columns: int) -> str:
    return "\n".join(textwrap.wrap(text, columns, break_long_words=False))
