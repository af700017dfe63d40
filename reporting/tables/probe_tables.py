"""Tables of a probed model: what its blocks are worth, and what its features tell.

Imports `records`, `reporting.words` and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from records.names import NETWORK
from records.probing import LinearProbe, Probing
from records.utilization import INTERACTION, PAIR, BlockUtilization, Effect
from reporting.tables.table import Cell, Column, Table
from reporting.words import formatting

EFFECTS = {
    "reliance": ("Reliance", "block at its mean"),
    "resampled": ("Resampled", "another atom's block"),
    "refitted": ("Refitted", "readout fitted anew"),
    "probe": ("Probe", "ridge without the block"),
    INTERACTION: ("Interaction", "beyond the sum"),
}
"""Measures in the order of the columns, with headings."""


def blocks_table(found: Probing) -> Table:
    """Make the table of every irrep of every layer.

    Parameters
    ----------
    found : Probing
    """
    measured = {name for row in found.utilization.rows for name in row.effects}
    shown = [name for name in EFFECTS if name in measured]
    words = "the error" if found.quantity == "error" else "the distance from the intact prediction"
    table = Table(
        "blocks",
        f"What each irrep of each layer is worth, {found.unit}",
        [
            Column("layer", "Layer", numeric=False),
            Column("irrep", "Irrep", numeric=False),
            Column("channels", "Channels"),
            Column("power_share", "Power", "share of the layer"),
            Column("contribution_sd", "Contribution", "SD over molecules"),
            *(Column(name, *EFFECTS[name]) for name in shown),
        ],
        note=f"Growth of {words} when a block is taken away, with simultaneous 95 % intervals. "
        f"Verdicts compare the interval with ±1 % of {formatting.plain(found.scale, 3)} "
        f"{found.unit}, {_scale_words(found)}. 0e is set to its mean, l > 0 to zero: do not rank "
        "them against each other.",
    )
    for row in found.utilization.rows:
        if row.channels or row.layer == NETWORK:
            table.rows.append(_block_cells(row, shown))
    return table


def _scale_words(found: Probing) -> str:
    if found.quantity == "error":
        return "the intact model's mean absolute error"
    return "the mean absolute deviation of the predictions from a fit on element counts"


def _block_cells(row: BlockUtilization, shown: Sequence[str]) -> list[Cell]:
    layer = "all layers" if row.layer == NETWORK else row.layer.replace("layer", "layer ")
    share = row.power_share
    return [
        Cell(layer, row.layer),
        Cell(row.irrep.replace(PAIR, " and "), row.irrep),
        Cell(str(row.channels), row.channels),
        Cell("" if math.isnan(share) else formatting.percent(share), share),
        Cell(
            "" if math.isnan(row.contribution_sd) else _number(row.contribution_sd),
            row.contribution_sd,
        ),
        *(_effect_cell(row.effects.get(name)) for name in shown),
    ]


def _effect_cell(effect: Effect | None) -> Cell:
    if effect is None:
        return Cell("", None)
    note = f"[{_number(effect.low)}, {_number(effect.high)}] {effect.verdict}"
    return Cell(_number(effect.value, sign=True), effect.value, note)


def _number(value: float, sign: bool = False) -> str:
    """Three digits that count."""
    text = formatting.plain(value, 3)
    return f"+{text}" if sign and value > 0 else text


def linear_table(probes: Sequence[LinearProbe]) -> Table:
    """Make the table of linear probes per degree.

    Parameters
    ----------
    probes : sequence of LinearProbe
    """
    count = probes[0].num_molecules if probes else 0
    base = ""
    table = Table(
        "linear_probes",
        f"What features of one degree tell, five-fold cross-validation on {count:,} molecules",
        [
            Column("target", "Property", numeric=False),
            Column("features", "Features", numeric=False),
            Column("num_features", "Number"),
            Column("r2", "R²", "95 % interval"),
            Column("mae", "MAE", "95 % interval"),
            Column("gain", "Gain", "over the first line"),
        ],
        note="Ridge regression from element counts and the invariants of one degree in all layers "
        "(values of 0e, norms of each channel of l > 0). For a vector, a linear map of the l = 1 "
        "features, beside a fixed charge per element. Energies are taken without their fit on "
        "element counts.",
    )
    for probe in probes:
        gain = Cell("", None)
        if not probe.is_baseline:
            note = f"[{_number(probe.gain_low)}, {_number(probe.gain_high)}] {probe.verdict}"
            gain = Cell(_number(probe.gain, sign=True), probe.gain, note)
        if probe.is_baseline:
            base = probe.features
        table.rows.append(
            [
                Cell(f"{probe.target}, {probe.unit}", probe.target),
                Cell(
                    probe.features if probe.is_baseline else f"{base} + {probe.features}",
                    probe.features,
                ),
                Cell(str(probe.num_features), probe.num_features),
                Cell(
                    formatting.fixed(probe.r2, 3),
                    probe.r2,
                    f"[{formatting.fixed(probe.r2_low, 3)}, {formatting.fixed(probe.r2_high, 3)}]",
                ),
                Cell(
                    _number(probe.mae),
                    probe.mae,
                    f"[{_number(probe.mae_low)}, {_number(probe.mae_high)}]",
                ),
                gain,
            ]
        )
    return table
