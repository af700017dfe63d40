"""Heatmaps of utilization: layers by irreps, one heatmap per set.

Imports `records`, `reporting.compare`, `reporting.words` and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from records.contrast import BLACK, WHITE, readable_on
from records.names import NETWORK
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.irrep_effects import ABSENT, BlockMean, block_means
from reporting.compare.set_comparison import Standing
from reporting.plots import palette
from reporting.plots.figure import Figure, Json, Panel, View
from reporting.read.irreps import parse_irreps
from reporting.read.utilization import (
    CONTRIBUTION,
    EFFECTIVE_CHANNELS,
    POWER_SHARE,
    RELATIVE_RELIANCE,
    RELIANCE,
    UNREACHABLE,
)
from reporting.words import formatting

ROW_HEIGHT = 30
"""Pixels per layer."""
MAX_HEATMAPS = 24
WIDE_FROM = 5
"""A heatmap with at least this many irreps takes two columns."""
UNREACHABLE_COLOR = "#dfe3e8"
LOG_FROM, LOG_TO = -3.0, 1.0
"""Decades of the colour scale of relative reliance: 0.1 % to 1000 % of the MAE."""
LOG_LEGEND = ("≤ 0.1 %", "1 %", "10 %", "100 %", "1000 % of the MAE")


@dataclass(frozen=True)
class _Measure:
    """One measure as the heatmaps show it.

    Attributes
    ----------
    label : str
        Text on the button.
    name : str
        The measure that is written into the cells, see `reporting.read.utilization.MEASURES`.
    note : str
        Explanation.
    """

    label: str
    name: str
    note: str

    @property
    def is_reliance(self) -> bool:
        """Whether the colours show the relative reliance, on a logarithmic scale."""
        return self.name in (RELATIVE_RELIANCE, RELIANCE)


_MEASURES = (
    _Measure(
        "Removed, % of MAE",
        RELATIVE_RELIANCE,
        "Increase of the validation MAE when the block is removed.",
    ),
    _Measure(
        "Removed, absolute",
        RELIANCE,
        "Increase of the validation MAE when the block is removed.",
    ),
    _Measure("Share of power", POWER_SHARE, "The block's share of its layer's mean square."),
    _Measure("Effective channels", EFFECTIVE_CHANNELS, "Channels that vary independently."),
    _Measure(
        "Contribution",
        CONTRIBUTION,
        "Standard deviation over molecules of what the block contributes to the prediction.",
    ),
)
_HOVER_NAMES = {
    RELIANCE: "removed",
    RELATIVE_RELIANCE: "of the MAE",
    POWER_SHARE: "share of power",
    EFFECTIVE_CHANNELS: "effective channels",
}
Blocks = list[tuple[IrrepSet, list[BlockMean]]]


def heatmaps(group: Group, rows: Sequence[Standing]) -> Figure:
    """Draw layers by irreps, one heatmap per set.

    Parameters
    ----------
    group : Group
    rows : sequence of Standing
        Lowest error first; only the first `MAX_HEATMAPS` are drawn.
    """
    best = [row.irrep_set for row in rows[:MAX_HEATMAPS]]
    measured = [(one, block_means(one)) for one in group.sets if one in best]
    measured = [(irrep_set, blocks) for irrep_set, blocks in measured if blocks]
    left_out = len(group.sets) - len(best)
    note = f" The {len(best)} best sets; {left_out} more are in the CSV file." if left_out else ""
    return Figure(
        "heatmaps",
        "Utilization: what each irrep of each layer is worth",
        "Means over seeds, measured on validation molecules with the best checkpoint. "
        f"Grey: cannot reach the output; empty: the layer has no such irrep.{note}",
        [_view(measured, measure, group.unit) for measure in _MEASURES] if measured else [],
        wide=True,
    )


def _view(measured: Blocks, measure: _Measure, unit: str) -> View:
    values = [block.values[measure.name] for _, blocks in measured for block in blocks]
    top = max((value for value in values if math.isfinite(value)), default=1.0) or 1.0
    panels = [_panel(irrep_set, blocks, measure, top) for irrep_set, blocks in measured]
    if not measure.is_reliance:
        note = (
            f"{measure.note} Numbers in {unit}." if measure.name == CONTRIBUTION else measure.note
        )
        legend = [_format(measure.name, value) for value in (0.0, top / 2, top)]
        return View(measure.label, panels, legend, note)
    note = measure.note
    if measure.name == RELIANCE:
        note += f" Numbers in {unit}; colours show the ratio to the MAE."
    return View(measure.label, panels, list(LOG_LEGEND), note)


def _panel(
    irrep_set: IrrepSet, blocks: Sequence[BlockMean], measure: _Measure, top: float
) -> Panel:
    irreps = list(parse_irreps(irrep_set.irreps))
    layers = list(dict.fromkeys(block.layer for block in blocks))
    if not measure.is_reliance:  # other measures are not defined for all layers together
        layers = [layer for layer in layers if layer != NETWORK]
    block_at = {(block.layer, block.irrep): block for block in blocks}
    grid = [[block_at.get((layer, irrep)) for irrep in irreps] for layer in layers]
    axes: Json = {"type": "heatmap", "x": irreps, "y": [_layer_name(layer) for layer in layers]}
    axes |= {"showscale": False, "xgap": 2, "ygap": 2}
    layout: Json = {
        "xaxis": {"side": "top", "type": "category", "showgrid": False, "fixedrange": True},
        "yaxis": {"autorange": "reversed", "type": "category", "showgrid": False}
        | {"fixedrange": True},
        "margin": {"t": 26, "b": 6, "l": 70, "r": 6},
    }
    traces = [
        axes | _unreachable_trace(grid),
        *(axes | t for t in _value_traces(grid, measure, top)),
    ]
    height = 40 + ROW_HEIGHT * len(layers)
    span = 2 if len(irreps) >= WIDE_FROM else 1
    return Panel(irrep_set.label, traces, layout, height, span, toolbar=False)


Grid = Sequence[Sequence[BlockMean | None]]


def _unreachable_trace(grid: Grid) -> Json:
    return {
        "z": [[1 if _is_unreachable(block) else None for block in row] for row in grid],
        "colorscale": [[0, UNREACHABLE_COLOR], [1, UNREACHABLE_COLOR]],
        "hovertemplate": "%{y}, %{x}: cannot reach the output<extra></extra>",
    }


def _is_unreachable(block: BlockMean | None) -> bool:
    return block is not None and block.verdict == UNREACHABLE


def _value_traces(grid: Grid, measure: _Measure, top: float) -> list[Json]:
    """Make one trace of the cells with black text and one of those with white text."""
    shades = [[_shade(block, measure, top) for block in row] for row in grid]
    inks = [[None if s is None else readable_on(palette.sequential(s)) for s in r] for r in shades]
    return [
        _value_trace(
            grid,
            measure,
            ink,
            [[s if i == ink else None for s, i in zip(*both)] for both in zip(shades, inks)],
        )
        for ink in (BLACK, WHITE)
    ]


def _value_trace(
    grid: Grid, measure: _Measure, ink: str, shades: Sequence[Sequence[float | None]]
) -> Json:
    return {
        "z": shades,
        "textfont": {"color": ink},
        "zmin": 0,
        "zmax": 1,
        "colorscale": _color_scale(),
        "text": [
            [
                _cell_text(block, shade, measure)
                for block, shade in zip(row, row_shades, strict=True)
            ]
            for row, row_shades in zip(grid, shades, strict=True)
        ],
        "texttemplate": "%{text}",
        "customdata": [[_hover_text(block) for block in row] for row in grid],
        "hovertemplate": "%{y}, %{x}: %{customdata}<extra></extra>",
    }


def _layer_name(layer: str) -> str:
    return "all layers" if layer == NETWORK else layer.replace("layer", "layer ")


def _shade(block: BlockMean | None, measure: _Measure, top: float) -> float | None:
    """Return a position on the colour scale from 0 to 1; None leaves the cell empty."""
    if block is None or block.verdict in (UNREACHABLE, ABSENT):
        return None
    value = block.values[RELATIVE_RELIANCE if measure.is_reliance else measure.name]
    if not math.isfinite(value):
        return None
    if measure.is_reliance:
        decade = math.log10(value) if value > 0 else LOG_FROM
        fraction = (decade - LOG_FROM) / (LOG_TO - LOG_FROM)
    else:
        fraction = value / top
    return round(min(1.0, max(0.0, fraction)), 3)


def _cell_text(block: BlockMean | None, shade: float | None, measure: _Measure) -> str:
    if block is None or shade is None:
        return ""
    return _format(measure.name, block.values[measure.name])


def _format(name: str, value: float) -> str:
    if name == RELATIVE_RELIANCE:
        return formatting.percent(value, sign=True)
    if name == POWER_SHARE:
        return formatting.percent(value)
    return formatting.plain(value, 2)


def _hover_text(block: BlockMean | None) -> str:
    if block is None:
        return ""
    lines = [
        f"{text} {_format(name, block.values[name])}"
        for name, text in _HOVER_NAMES.items()
        if math.isfinite(block.values[name])
    ]
    return "<br>".join([block.verdict, *lines])


def _color_scale() -> list[list[Any]]:
    last = len(palette.SEQUENTIAL) - 1
    return [[number / last, color] for number, color in enumerate(palette.SEQUENTIAL)]
