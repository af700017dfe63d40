"""Irreps: relied on or needed, and the heatmaps of utilization.

Imports this package only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from records.names import NETWORK
from reporting.compare.comparison import Standing
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.statistics import Estimate
from reporting.compare.worth import Cell, Worth, cells
from reporting.plots import palette
from reporting.plots.figure import Figure, Json, Panel, View, error_bar, marker, short, value_axis
from reporting.read.irreps import degree, parse
from reporting.words import formatting
from reporting.words.summary import error_name

ROW_HEIGHT = 30
MOST_HEATMAPS = 24
LOG_FROM, LOG_TO = -3.0, 1.0
"""Decades of the scale of relative ablations: 0.1 % to 1000 % of the MAE."""


def ablation_against_retraining(group: Group, measured: Sequence[Worth]) -> Figure:
    """Plot what removing an irrep costs against what never training with it costs.

    Parameters
    ----------
    group : Group
    measured : sequence of Worth

    Returns
    -------
    Figure
        Without views if there is nothing to show.
    """
    shown = [w for w in measured if w.ablation is not None and w.retrained is not None]
    costs = [_costs(worth) for worth in shown]
    named: set[str] = set()
    traces = [_worth_trace(group.unit, worth, named) for worth in shown]
    unit = group.unit
    layout: Json = {
        "xaxis": value_axis(f"Trained without it: {error_name(group)}, {unit} more", _at(costs, 0)),
        "yaxis": value_axis(f"Removed after training: MAE, {unit} more", _at(costs, 1)),
        "shapes": _diagonal(shown),
    }
    for axis in ("xaxis", "yaxis"):
        layout[axis] |= {"zeroline": True, "zerolinecolor": "#9aa5b1"}
    return Figure(
        "ablation",
        "Relied on, or needed?",
        "Each marker is one irrep of one set. Upwards: how much a trained network loses when the "
        "irrep is removed from it (validation). To the right: how much worse the set without it "
        "becomes when it is trained from the start (test). Above the dotted diagonal, networks "
        "rely on what they could do without.",
        [View("", [Panel("", traces, layout, 420)])] if traces else [],
    )


def _costs(worth: Worth) -> tuple[float, float]:
    assert worth.ablation is not None
    assert worth.retrained is not None
    return worth.retrained.estimate.mean, worth.ablation.mean


def _at(costs: Sequence[tuple[float, float]], which: int) -> list[float]:
    return [pair[which] for pair in costs]


def _worth_trace(unit: str, worth: Worth, named: set[str]) -> Json:
    assert worth.ablation is not None
    assert worth.retrained is not None
    number = degree(worth.irrep)
    x, y = _costs(worth)
    is_first = worth.irrep not in named
    named.add(worth.irrep)
    return {
        "type": "scatter",
        "mode": "markers",
        "x": short([x]),
        "y": short([y]),
        "name": worth.irrep,
        "legendgroup": worth.irrep,
        "showlegend": is_first,
        "marker": marker(number, 11),
        "error_x": error_bar(worth.retrained.estimate.half_width, number),
        "error_y": error_bar(worth.ablation.half_width, number),
        "hovertemplate": (
            f"{worth.irrep} of {worth.irrep_set.label}<br>"
            f"removed: {formatting.plus_minus(worth.ablation, sign=True)} {unit}<br>"
            f"trained without: {formatting.plus_minus(worth.retrained.estimate, sign=True)} {unit}"
            "<extra></extra>"
        ),
    }


def _diagonal(shown: Sequence[Worth]) -> list[Json]:
    """Line of equal costs, as far as it runs through the region that the markers span."""
    pairs = [(w.retrained.estimate, w.ablation) for w in shown if w.retrained and w.ablation]
    if not pairs:
        return []
    spans = [[_ends(pair[axis]) for pair in pairs] for axis in (0, 1)]
    start = max(min(low for low, _ in ends) for ends in spans)
    stop = min(max(high for _, high in ends) for ends in spans)
    if start >= stop:
        return []
    line = {"color": "#9aa5b1", "width": 1, "dash": "dot"}
    ends = {"x0": start, "y0": start, "x1": stop, "y1": stop}
    return [{"type": "line", "layer": "below", "line": line, **ends}]


def _ends(estimate: Estimate) -> tuple[float, float]:
    if estimate.has_interval:
        return estimate.low, estimate.high
    return estimate.mean, estimate.mean


def heatmaps(group: Group, rows: Sequence[Standing]) -> Figure:
    """Draw layers times irreps, one heatmap a set.

    Parameters
    ----------
    group : Group
    rows : sequence of Standing
        By rising error; only the first `MOST_HEATMAPS` are drawn.

    Returns
    -------
    Figure
        Without views if there is nothing to show.
    """
    best = [row.irrep_set for row in rows[:MOST_HEATMAPS]]
    found = [(known, cells(known)) for known in group.sets if known in best]
    found = [(known, blocks) for known, blocks in found if blocks]
    left_out = len(group.sets) - len(best)
    note = f" The {len(best)} best sets; {left_out} more are in the CSV file." if left_out else ""
    views = [_heatmap_view(found, *measure, group.unit) for measure in MEASURES] if found else []
    return Figure(
        "heatmaps",
        "Utilization: what each irrep of each layer is worth",
        "Means over seeds, measured on validation molecules after the last epoch. "
        f"Grey: cannot reach the output; empty: the layer has no such irrep.{note}",
        views,
        wide=True,
    )


MEASURES: tuple[tuple[str, str, str], ...] = (
    ("Removed, % of MAE", "relative", "Increase of the validation MAE when the block is removed."),
    ("Removed, absolute", "ablation", "Increase of the validation MAE when the block is removed."),
    ("Share of power", "power_share", "The block's share of its layer's mean square."),
    ("Effective channels", "effective_channels", "Channels that vary independently."),
    ("Attribution", "attribution", "Gradient times activation of the squared error, relative."),
)
"""Label, name in `Cell.values`, explanation."""


def _heatmap_view(
    found: Sequence[tuple[IrrepSet, list[Cell]]], label: str, measure: str, note: str, unit: str
) -> View:
    finite = [
        cell.values[measure]
        for _, blocks in found
        for cell in blocks
        if math.isfinite(cell.values[measure])
    ]
    top = max(finite, default=1.0) or 1.0
    panels = [_heatmap(known, blocks, measure, top) for known, blocks in found]
    if measure in ("relative", "ablation"):
        legend = ["≤ 0.1 %", "1 %", "10 %", "100 %", "1000 % of the MAE"]
        if measure == "ablation":
            note += f" Numbers in {unit}, colours by its ratio to the MAE."
    else:
        ends = [0.0, top / 2, top]
        legend = [_cell_text(measure, value) for value in ends]
    return View(label, panels, legend, note)


def _heatmap(known: IrrepSet, blocks: Sequence[Cell], measure: str, top: float) -> Panel:
    irreps = list(parse(known.irreps))
    layers = list(dict.fromkeys(cell.layer for cell in blocks))
    if measure not in ("relative", "ablation"):
        layers = [layer for layer in layers if layer != NETWORK]
    by_place = {(cell.layer, cell.irrep): cell for cell in blocks}
    rows = [[by_place.get((layer, irrep)) for irrep in irreps] for layer in layers]
    common: Json = {"type": "heatmap", "x": irreps, "y": [_layer(layer) for layer in layers]}
    common |= {"showscale": False, "xgap": 2, "ygap": 2}
    unreachable = [[1 if c and c.verdict == "unreachable" else None for c in row] for row in rows]
    traces: list[Json] = [
        {**common, "z": unreachable, "colorscale": [[0, "#dfe3e8"], [1, "#dfe3e8"]]}
        | {"hovertemplate": "%{y}, %{x}: cannot reach the output<extra></extra>"},
        {
            **common,
            "z": [[_shade(cell, measure, top) for cell in row] for row in rows],
            "zmin": 0,
            "zmax": 1,
            "colorscale": _scale(),
            "text": [[_text(cell, measure) for cell in row] for row in rows],
            "texttemplate": "%{text}",
            "customdata": [[_hover(cell) for cell in row] for row in rows],
            "hovertemplate": "%{y}, %{x}: %{customdata}<extra></extra>",
        },
    ]
    layout: Json = {
        "xaxis": {"side": "top", "type": "category", "showgrid": False, "fixedrange": True},
        "yaxis": {"autorange": "reversed", "type": "category", "showgrid": False}
        | {"fixedrange": True},
        "margin": {"t": 26, "b": 6, "l": 70, "r": 6},
    }
    span = 2 if len(irreps) > 4 else 1
    return Panel(known.label, traces, layout, 40 + ROW_HEIGHT * len(layers), span, bar=False)


def _layer(name: str) -> str:
    return "all layers" if name == NETWORK else name.replace("layer", "layer ")


def _shade(cell: Cell | None, measure: str, top: float) -> float | None:
    """Colour from 0 to 1; None leaves the cell empty."""
    if cell is None or cell.verdict in ("unreachable", "absent"):
        return None
    value = cell.values["relative" if measure == "ablation" else measure]
    if not math.isfinite(value):
        return None
    if measure in ("relative", "ablation"):
        decades = math.log10(value) if value > 0 else LOG_FROM
        value, top = decades - LOG_FROM, LOG_TO - LOG_FROM
    return round(min(1.0, max(0.0, value / top)), 3)


def _text(cell: Cell | None, measure: str) -> str:
    if cell is None or _shade(cell, measure, 1.0) is None:
        return ""
    return _cell_text(measure, cell.values[measure])


def _cell_text(measure: str, value: float) -> str:
    if measure == "relative":
        return formatting.percent(value, sign=True)
    if measure == "power_share":
        return formatting.percent(value)
    return formatting.plain(value, 2)


def _hover(cell: Cell | None) -> str:
    if cell is None:
        return ""
    parts = [cell.verdict]
    for name, shown in (
        ("ablation", "removed"),
        ("relative", "of the MAE"),
        ("power_share", "share of power"),
        ("effective_channels", "effective channels"),
    ):
        if math.isfinite(cell.values[name]):
            parts.append(f"{shown} {_cell_text(name, cell.values[name])}")
    return "<br>".join(parts)


def _scale() -> list[list[Any]]:
    last = len(palette.SEQUENTIAL) - 1
    return [[number / last, color] for number, color in enumerate(palette.SEQUENTIAL)]
