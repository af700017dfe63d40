"""Pictures of latent layouts: a row of panels for one epoch, and the animation of all epochs.

Imports NumPy, Matplotlib's objects (no pyplot, no global state), Pillow and `latent_files`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from latents.layout import FRAME
from records.files import replacing
from records.latents import ALL, LatentEpoch
from records.names import UNTRAINED

MAX_COLUMNS = 5
PANEL, GAP, LEFT, RIGHT = 2.35, 0.18, 0.34, 1.0
TOP, BOTTOM, TITLE, ROW_GAP = 0.62, 0.3, 0.62, 0.2
"""Sizes in inches; `TITLE` is the room above each panel."""
INK, MUTED, FRAME_COLOR, MISSING = "#1a1a1a", "#5a5a5a", "#c8c8c8", "#c4c4c4"
COLORMAP = "viridis"
"""Perceptually uniform, safe for colour-blind readers, and without the grey of missing values."""
ERROR_DECADES = 4
GIF_WIDTH = 1400
FRAME_MILLISECONDS, LAST_FRAME_MILLISECONDS, LONGEST_ANIMATION = 500, 3000, 20_000


@dataclass(frozen=True)
class Coloring:
    """Value of each molecule, and the colour scale that all epochs share.

    Attributes
    ----------
    values : array
        [g]; NaN is drawn grey.
    norm : Normalize
        Limits.
    label : str
        Of the colour bar, with the unit.
    extend : str
        Ends of the colour bar beyond which values are cut off, as Matplotlib names them.
    """

    values: NDArray[np.float64]
    norm: Normalize
    label: str
    extend: str


def coloring(latent: LatentEpoch, first: LatentEpoch) -> Coloring:
    """Colours of one epoch's molecules.

    Parameters
    ----------
    latent : LatentEpoch
        To be drawn.
    first : LatentEpoch
        The run's first epoch, which sets the limits for errors.

    Returns
    -------
    Coloring
    """
    settings = latent.molecules.settings
    if settings.color_by == "error":
        # Errors fall by orders of magnitude during training: one logarithmic scale for all.
        known = first.error[np.isfinite(first.error) & (first.error > 0)]
        top = 10.0 ** math.ceil(math.log10(np.quantile(known, 0.98))) if len(known) else 1.0
        norm: Normalize = LogNorm(top / 10**ERROR_DECADES, top, clip=True)
        label = f"absolute error of {settings.target} ({settings.reporting_unit})"
        return Coloring(latent.error, norm, label, "both")
    if settings.color_by == "spatial_score":
        values, label = latent.spatial_score, "normalized spatial score"
    else:
        values = latent.molecules.target / settings.reporting_factor
        label = f"{settings.target} ({settings.unit})"
    known = values[np.isfinite(values)]
    low, high = np.quantile(known, [0.01, 0.99]) if len(known) else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    ends = (bool((known < low).any()), bool((known > high).any()))
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[ends]
    return Coloring(values, Normalize(low, high, clip=True), label, extend)


def draw_epoch(latent: LatentEpoch, first: LatentEpoch, path: Path) -> None:
    """Draw all panels of one epoch into a PNG.

    Parameters
    ----------
    latent : LatentEpoch
        To be drawn.
    first : LatentEpoch
        The run's first epoch.
    path : Path
        Where to.
    """
    figure = compose_epoch(latent, first)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def compose_epoch(latent: LatentEpoch, first: LatentEpoch) -> Figure:
    """Compose the figure of one epoch: a panel for each block, in one row or several.

    Parameters
    ----------
    latent : LatentEpoch
        To be drawn.
    first : LatentEpoch
        The run's first epoch. If it is the untrained one, its metrics stand beside each epoch's.

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
    for position, block in enumerate(blocks):
        row, column = divmod(position, columns)
        left = LEFT + column * (PANEL + GAP)
        bottom = BOTTOM + (rows - 1 - row) * (PANEL + TITLE + ROW_GAP)
        box = (left / width, bottom / height, PANEL / width, PANEL / height)
        axes = figure.add_axes(box)
        _draw_panel(axes, latent, block, colors, mappable)
        shows_change = first.epoch == UNTRAINED < latent.epoch
        before = first.metrics.get(block, {}) if shows_change else {}
        for text in _title_panel(axes, latent, block, before):
            _fit(text, canvas, (left + PANEL) * figure.dpi)
        if column == 0:
            axes.set_ylabel("UMAP 2", fontsize=7, color=MUTED, labelpad=3)
        if position + columns >= len(blocks):
            axes.set_xlabel("UMAP 1", fontsize=7, color=MUTED, labelpad=3)
    _draw_colorbar(figure, mappable, colors, width, height)
    for text in _head(figure, latent, len(blocks), height):
        _fit(text, canvas, (width - 0.1) * figure.dpi)
    return figure


def panel_blocks(latent: LatentEpoch) -> list[str]:
    """Blocks that get a panel: all together and each irrep, or the only irrep."""
    irreps = [name for name in latent.layouts if name != ALL]
    return irreps if len(irreps) == 1 else [ALL, *irreps]


def _draw_panel(
    axes: Axes, latent: LatentEpoch, block: str, colors: Coloring, mappable: ScalarMappable
) -> None:
    axes.set(xlim=(-FRAME, FRAME), ylim=(-FRAME, FRAME), xticks=[], yticks=[])
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


def _title_panel(
    axes: Axes, latent: LatentEpoch, block: str, untrained: dict[str, float]
) -> list[Text]:
    channels = latent.channels[block]
    name = "all irreps" if block == ALL else block
    metrics = latent.metrics[block]
    r2 = "knn_r2_complexity" if _by_score(latent) else "knn_r2_target"
    what = "complexity" if _by_score(latent) else latent.molecules.settings.target
    trust = _beside(metrics, untrained, "trustworthiness")
    lines = [
        (0.42, f"{name} · {channels} channel{'s' if channels != 1 else ''}", 9.5, "bold"),
        (0.235, f"kNN R² of {what} {_beside(metrics, untrained, r2)}", 7.5, "normal"),
        (0.075, f"trustworthiness {trust}", 7.5, "normal"),
    ]
    return [
        axes.text(
            0,
            1 + inches / PANEL,
            text,
            transform=axes.transAxes,
            fontsize=size,
            color=INK,
            fontweight=weight,
        )
        for inches, text, size, weight in lines
    ]


def _beside(metrics: dict[str, float], untrained: dict[str, float], name: str) -> str:
    value = metrics.get(name, math.nan)
    before = untrained.get(name, math.nan)
    text = "–" if math.isnan(value) else f"{value:.3f}"
    text = text if math.isnan(before) else f"{text} (untrained {before:.3f})"
    return text.replace("-", "−")


def _by_score(latent: LatentEpoch) -> bool:
    return latent.molecules.settings.color_by == "spatial_score"


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
    bar.ax.tick_params(labelsize=7, color=FRAME_COLOR, labelcolor=INK, length=2.5)
    bar.outline.set(edgecolor=FRAME_COLOR, linewidth=0.6)


def _head(figure: Figure, latent: LatentEpoch, panels: int, height: float) -> list[Text]:
    settings = latent.molecules.settings
    epoch = "untrained" if latent.epoch == UNTRAINED else f"epoch {latent.epoch}"
    finite = latent.error[np.isfinite(latent.error)]
    mae = f" · MAE {_short(finite.mean())} {settings.reporting_unit}" if len(finite) else ""
    space = "  " if panels > 1 else " "
    left = LEFT / figure.get_figwidth()
    title = figure.text(
        left,
        1 - 0.27 / height,
        f"UMAP of the latent space{space}·{space}{settings.target}{space}·{space}{epoch}",
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


def _fit(text: Text, canvas: FigureCanvasAgg, right: float) -> None:
    """Make a line smaller where it would run past `right`, in pixels: irreps can be long."""
    box = text.get_window_extent(canvas.get_renderer())
    room = right - box.x0
    if box.width > room:
        text.set_fontsize(text.get_fontsize() * room / box.width)


def _wrap(text: str, columns: int) -> str:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > columns:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return "\n".join(lines)


def animate(pictures: Sequence[Path], path: Path) -> None:
    """Join the epochs' pictures to an animated GIF.

    Parameters
    ----------
    pictures : sequence of Path
        PNG files of one size, in order. At least one.
    path : Path
        Where to. Each frame is shown for half a second, or less so that the whole takes no more
        than 20 s; the last for 3 s.
    """
    palette = _palette()
    frames = (
        _frame(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures
    )
    each = max(40, min(FRAME_MILLISECONDS, LONGEST_ANIMATION // len(pictures)))
    durations = [each] * (len(pictures) - 1) + [LAST_FRAME_MILLISECONDS]
    with replacing(path) as temporary:
        next(frames).save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=frames,
            duration=durations,
            loop=0,
            optimize=False,
        )


def _palette() -> Image.Image:
    """Colours of all frames: white, greys, and the colour map at full and at half strength.

    One palette that is taken from a picture would tint the background and flicker.
    """
    full = colormaps[COLORMAP](np.linspace(0, 1, 104))[:, :3]
    # No grey close to white: Pillow looks colours up coarsely and would take it for white.
    greys = np.repeat(np.append(np.linspace(0, 0.9, 47), 1.0)[:, None], 3, axis=1)
    colors = np.concatenate([greys, full, (1 + full) / 2])
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * colors).round().astype(np.uint8).tobytes())
    return palette


def _frame(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        frame = picture.convert("RGB")
    if frame.width > GIF_WIDTH:
        height = round(frame.height * GIF_WIDTH / frame.width)
        frame = frame.resize((GIF_WIDTH, height), Image.Resampling.LANCZOS)
    return frame
