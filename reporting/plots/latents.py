"""Measures of latent spaces, before and after training.

Imports this package only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from reporting.compare.groups import Group, IrrepSet
from reporting.compare.worth import LATENT_METRICS, LatentMeasure
from reporting.plots import palette
from reporting.plots.figure import Figure, Json, Panel, View, short
from reporting.read.irreps import degree

ROW_HEIGHT = 13
LATENT_TITLES = {
    "knn_r2_target": "R² of the target from neighbours",
    "knn_r2_complexity": "R² of the spatial score from neighbours",
    "trustworthiness": "Trustworthiness of the UMAP",
    "intrinsic_dimension": "Intrinsic dimension",
}


def latent_space(group: Group, latent: Sequence[LatentMeasure]) -> Figure:
    """Plot measures of each set's latent space beside the untrained networks'.

    Parameters
    ----------
    group : Group
    latent : sequence of LatentMeasure

    Returns
    -------
    Figure
        Without views if there is nothing to show.
    """
    sets = [known for known in group.sets if any(m.irrep_set is known for m in latent)]
    views = []
    for metric in LATENT_METRICS:
        mine = [measure for measure in latent if measure.metric == metric]
        if mine:
            views.append(View(LATENT_TITLES[metric], [_latent_panel(sets, mine, metric)]))
    return Figure(
        "latent",
        "Latent space, before and after training",
        "Filled: trained; open: the same network before training. Means over seeds, for all irreps "
        "together and for each alone.",
        views,
        wide=True,
    )


def _latent_panel(
    sets: Sequence[IrrepSet], measured: Sequence[LatentMeasure], metric: str
) -> Panel:
    rows: dict[tuple[str, str], float] = {}
    centres, edges, at = [], [], 0.0
    for known in sets:
        blocks = sorted((m.block for m in measured if m.irrep_set is known), key=_block_order)
        centres.append(at + (len(blocks) - 1) / 2)
        for block in blocks:
            rows[known.irreps, block] = at
            at += 1
        edges.append(at)
        at += 1
    traces: list[Json] = []
    for block in sorted({m.block for m in measured}, key=_block_order):
        mine = [m for m in measured if m.block == block]
        traces += _latent_traces(mine, block, [rows[m.irrep_set.irreps, block] for m in mine])
    layout: Json = {
        "xaxis": {"title": {"text": LATENT_TITLES[metric]}, "zeroline": True},
        "yaxis": {
            "tickvals": centres,
            "ticktext": [known.label for known in sets],
            "range": [at - 0.5, -1],
            "automargin": True,
            "showgrid": False,
        },
        "shapes": [_separator(edge) for edge in edges[:-1]],
    }
    return Panel("", traces, layout, int(70 + ROW_HEIGHT * (at + 0.5)))


def _separator(at: float) -> Json:
    line = {"color": "#e7ebef", "width": 1}
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": at, "y1": at, "line": line}


def _block_order(block: str) -> tuple[int, str]:
    return (-1, "") if block == "all" else (degree(block), block)


def _latent_traces(
    measured: Sequence[LatentMeasure], block: str, rows: Sequence[float]
) -> list[Json]:
    is_all = block == "all"
    number = 0 if is_all else degree(block)
    color = "#222222" if is_all else palette.color(number)
    symbol = "hexagram" if is_all else palette.symbol(number)
    name = "all irreps together" if is_all else block
    both = [(m, row) for m, row in zip(measured, rows) if math.isfinite(m.trained + m.untrained)]
    common: Json = {"type": "scatter", "legendgroup": block, "name": name}
    return [
        {
            **common,
            "mode": "lines",
            "x": [x for m, _ in both for x in (*short([m.untrained, m.trained]), None)],
            "y": [y for _, row in both for y in (row, row, None)],
            "line": {"color": color, "width": 1.2},
            "showlegend": False,
            "hoverinfo": "skip",
        },
        {
            **common,
            "mode": "markers",
            "x": short(m.untrained for m in measured),
            "y": list(rows),
            "marker": {"size": 8, "color": "#ffffff", "symbol": symbol}
            | {"line": {"color": color, "width": 1.5}},
            "showlegend": False,
            "hovertemplate": f"{name}, untrained: %{{x:.3~g}}<extra></extra>",
        },
        {
            **common,
            "mode": "markers",
            "x": short(m.trained for m in measured),
            "y": list(rows),
            "marker": {"size": 9, "color": color, "symbol": symbol},
            "hovertemplate": f"{name}, trained: %{{x:.3~g}}<extra></extra>",
        },
    ]
