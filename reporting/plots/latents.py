"""Measures of latent spaces, before and after training.

Imports `records`, `reporting.compare`, `reporting.words` and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from records.latents import ALL
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.latent_spaces import LatentMeasure
from reporting.compare.statistics import Estimate
from reporting.plots import palette
from reporting.plots.figure import Figure, Json, Panel, View, rounded
from reporting.read.irreps import degree_of
from reporting.words.titles import LATENT_TITLES

ROW_HEIGHT = 13
"""Pixels per row."""


def latent_spaces(group: Group, measured: Sequence[LatentMeasure]) -> Figure:
    """Plot the measures of each set's latent spaces, before and after training.

    Parameters
    ----------
    group : Group
    measured : sequence of LatentMeasure
    """
    sets = [one for one in group.sets if any(m.irrep_set is one for m in measured)]
    views = []
    for metric, title in LATENT_TITLES.items():
        of_metric = [measure for measure in measured if measure.metric == metric]
        if of_metric:
            views.append(View(title, [_latent_panel(sets, of_metric, title)]))
    return Figure(
        "latent",
        "Latent space, before and after training",
        "Filled: trained, with 95 % interval; open: the same network before training, a random one "
        "of the same width; dotted: element counts alone, without a network. Means over seeds, for "
        "all irreps together and for each alone. Dimensions compare only between equal widths.",
        views,
        wide=True,
    )


def _latent_panel(sets: Sequence[IrrepSet], measured: Sequence[LatentMeasure], title: str) -> Panel:
    """Draw one row per block; sets are separated by an empty row."""
    row_of: dict[tuple[str, str], float] = {}
    centers, separators, next_row = [], [], 0.0
    for irrep_set in sets:
        blocks = sorted((m.block for m in measured if m.irrep_set is irrep_set), key=_block_order)
        centers.append(next_row + (len(blocks) - 1) / 2)
        for block in blocks:
            row_of[irrep_set.irreps, block] = next_row
            next_row += 1
        separators.append(next_row)
        next_row += 1
    traces: list[Json] = []
    for block in sorted({m.block for m in measured}, key=_block_order):
        of_block = [m for m in measured if m.block == block]
        rows = [row_of[m.irrep_set.irreps, block] for m in of_block]
        traces += _latent_traces(of_block, block, rows)
    layout: Json = {
        "xaxis": {"title": {"text": title}, "zeroline": True},
        "yaxis": {
            "tickvals": centers,
            "ticktext": [irrep_set.label for irrep_set in sets],
            "range": [next_row - 0.5, -1],
            "automargin": True,
            "showgrid": False,
        },
        "shapes": [*(_separator(row) for row in separators[:-1]), *_element_counts(measured)],
    }
    return Panel("", traces, layout, int(70 + ROW_HEIGHT * (next_row + 0.5)))


def _mean(estimate: Estimate | None) -> float:
    return math.nan if estimate is None else estimate.mean


def _separator(row: float) -> Json:
    line = {"color": "#e7ebef", "width": 1}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": row, "y1": row, "line": line}


def _element_counts(measured: Sequence[LatentMeasure]) -> list[Json]:
    """Draw what element counts alone reach as a line across all sets."""
    known = [m.element_counts.mean for m in measured if m.element_counts is not None]
    if not known:
        return []
    (x,) = rounded([sum(known) / len(known)])
    line = {"color": "#8a4b00", "width": 1.4, "dash": "dot"}
    return [{"type": "line", "yref": "paper", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": line}]


def _block_order(block: str) -> tuple[int, str]:
    return (-1, "") if block == ALL else (degree_of(block), block)


def _latent_traces(
    measured: Sequence[LatentMeasure], block: str, rows: Sequence[float]
) -> list[Json]:
    if block == ALL:
        name, color, symbol = "all irreps together", "#222222", "hexagram"
    else:
        degree = degree_of(block)
        name, color, symbol = block, palette.color(degree), palette.symbol(degree)
    both = [
        (m.untrained.mean, m.trained.mean, row)
        for m, row in zip(measured, rows)
        if m.trained is not None and m.untrained is not None
    ]
    common: Json = {"type": "scatter", "legendgroup": block, "name": name}
    return [
        {
            **common,
            "mode": "lines",
            "x": [x for before, after, _ in both for x in (*rounded([before, after]), None)],
            "y": [y for *_, row in both for y in (row, row, None)],
            "line": {"color": color, "width": 1.2},
            "showlegend": False,
            "hoverinfo": "skip",
        },
        {
            **common,
            "mode": "markers",
            "x": rounded(_mean(m.untrained) for m in measured),
            "y": list(rows),
            "marker": {"size": 8, "color": "#ffffff", "symbol": symbol}
            | {"line": {"color": color, "width": 1.5}},
            "showlegend": False,
            "hovertemplate": f"{name}, untrained: %{{x:.3~g}}<extra></extra>",
        },
        {
            **common,
            "mode": "markers",
            "x": rounded(_mean(m.trained) for m in measured),
            "error_x": {
                "type": "data",
                "array": rounded(m.trained.half_width if m.trained else 0.0 for m in measured),
                "color": color,
                "thickness": 1.2,
                "width": 2,
            },
            "y": list(rows),
            "marker": {"size": 9, "color": color, "symbol": symbol},
            "hovertemplate": f"{name}, trained: %{{x:.3~g}}<extra></extra>",
        },
    ]
