"""The tables of the report.

Imports this package only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from records.names import UNTRAINED
from reporting.compare.comparison import Standing
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.statistics import Estimate
from reporting.compare.worth import LatentMeasure, Worth, cells
from reporting.html.table import Cell, Column, Table
from reporting.read.irreps import parse
from reporting.read.runs import Run
from reporting.words import formatting
from reporting.words.summary import error_name

# ---- cells ----------------------------------------------------------------------------------


def _name(irrep_set: IrrepSet, group: Group) -> Cell:
    return Cell(irrep_set.label, irrep_set.irreps, swatch=group.sets.index(irrep_set))


def _number(value: float | None, digits: int = 4) -> Cell:
    return Cell(formatting.plain(value, digits), value)


def _count(value: float | None) -> Cell:
    return Cell(formatting.whole(value), value)


def _interval(estimate: Estimate | None, sign: bool = False) -> Cell:
    """Mean with its half-width, sorted by the mean; why there is no interval, below."""
    if estimate is None:
        return Cell(formatting.plain(None), None)
    note = estimate.why_no_interval.partition(":")[0]
    return Cell(formatting.plus_minus(estimate, sign), estimate.mean, note)


def _ends(estimate: Estimate | None) -> list[Cell]:
    ends = (None, None) if estimate is None else (estimate.low, estimate.high)
    return [_number(end) for end in ends]


# ---- tables ---------------------------------------------------------------------------------


def sets_table(group: Group, rows: Sequence[Standing], reference: IrrepSet) -> Table:
    """Make the ablation table.

    Parameters
    ----------
    group : Group
    rows : sequence of Standing
    reference : IrrepSet

    Returns
    -------
    Table
    """
    unit = group.unit
    table = Table(
        "sets",
        f"Sets of irreps by {error_name(group)}{_channels(group)}",
        [
            Column("irreps", "Irreps", numeric=False),
            Column("mae", error_name(group).capitalize().replace("mae", "MAE"), f"{unit}, 95 %"),
            Column("difference", f"Against {reference.label}", f"{unit}, 95 %"),
            Column("p_holm", "p", "Holm"),
            Column("seeds", "Seeds"),
            Column("parameters", "Parameters", "total"),
            Column("reachable_parameters", "Reachable", "parameters"),
            Column("molecules_per_s", "Molecules/s", "training"),
            Column("training_seconds", "Training", "time"),
            Column("epochs", "Epochs"),
        ],
        hidden=[
            Column("unit", "Unit"),
            Column("mae_low", "MAE, lower end"),
            Column("mae_high", "MAE, upper end"),
            Column("reference", "Reference"),
            Column("difference_low", "Difference, lower end"),
            Column("difference_high", "Difference, upper end"),
            Column("pairs", "Pairs"),
        ],
    )
    for row in rows:
        table.rows.append(_standing_cells(group, row, reference))
    return table


def _channels(group: Group) -> str:
    """Tell the number of channels where labels leave it out."""
    known = group.sets[0]
    if known.label == known.irreps:
        return ""
    return f" ({next(iter(parse(known.irreps).values()))} channels of each irrep)"


def _standing_cells(group: Group, row: Standing, reference: IrrepSet) -> list[Cell]:
    known, difference = row.irrep_set, row.difference
    run = known.runs[0]
    seconds = row.seconds.mean if row.seconds else None
    least, most = row.epochs
    against = _interval(difference.estimate if difference else None, sign=True)
    if known is reference:
        against = Cell("reference", 0.0)
    p_value = difference.adjusted_p if difference else math.nan
    return [
        _name(known, group),
        _interval(row.mae),
        against,
        Cell(formatting.p_value(p_value), p_value),
        Cell(str(row.mae.count), row.mae.count),
        _count(known.parameters),
        _count(run.number("params/reachable")),
        _number(row.rate.mean if row.rate else None, 3),
        Cell(formatting.duration(seconds), seconds),
        Cell(str(most) if least == most else f"{least} to {most}", most),
        Cell(group.unit, group.unit),
        *_ends(row.mae),
        Cell(reference.irreps, reference.irreps),
        *_ends(difference.estimate if difference else None),
        Cell("", difference.estimate.count if difference else None),
    ]


def worth_table(group: Group, measured: Sequence[Worth]) -> Table:
    """Make the table of what each irrep is worth to each set.

    Parameters
    ----------
    group : Group
    measured : sequence of Worth

    Returns
    -------
    Table
        Without irreps of which nothing is known.
    """
    unit = group.unit
    table = Table(
        "irreps",
        "What each irrep is worth: removed from trained networks, and never trained with",
        [
            Column("irreps", "Set", numeric=False),
            Column("irrep", "Irrep", numeric=False),
            Column("used", "Used in", "networks"),
            Column("ablation", "Removed", f"from all layers: MAE, {unit}"),
            Column("relative", "Removed", "share of the MAE"),
            Column("untrained", "Removed untrained", f"MAE, {unit}"),
            Column("retrained", "Trained without", f"MAE, {unit}"),
            Column("p_holm", "p", "Holm"),
        ],
        hidden=[
            Column("networks", "Networks"),
            Column("verdicts", "Verdicts"),
            Column("ablation_low", "Removed, lower end"),
            Column("ablation_high", "Removed, upper end"),
            Column("retrained_low", "Trained without, lower end"),
            Column("retrained_high", "Trained without, upper end"),
        ],
    )
    for worth in measured:
        if worth.ablation is not None or worth.retrained is not None:
            table.rows.append(_worth_cells(group, worth))
    return table


def _worth_cells(group: Group, worth: Worth) -> list[Cell]:
    total, used = worth.verdicts.total(), worth.verdicts["used"]
    retrained = worth.retrained.estimate if worth.retrained else None
    p_value = worth.retrained.adjusted_p if worth.retrained else math.nan
    verdicts = "; ".join(f"{name} {count}" for name, count in sorted(worth.verdicts.items()))
    return [
        _name(worth.irrep_set, group),
        Cell(worth.irrep, worth.irrep),
        Cell(f"{used} of {total}" if total else formatting.plain(None), used if total else None),
        _interval(worth.ablation, sign=True),
        Cell(formatting.percent(worth.relative, sign=True), worth.relative),
        _number(worth.untrained, 3),
        _interval(retrained, sign=True),
        Cell(formatting.p_value(p_value), p_value),
        Cell("", total),
        Cell("", verdicts),
        *_ends(worth.ablation),
        *_ends(retrained),
    ]


def runs_table(group: Group) -> Table:
    """Make the list of all runs, counted or not.

    Parameters
    ----------
    group : Group

    Returns
    -------
    Table
    """
    unit = group.unit
    table = Table(
        "runs",
        "All runs of this group",
        [
            Column("run", "Run", numeric=False),
            Column("status", "Status", numeric=False),
            Column("counted", "In the means", numeric=False),
            Column("irreps", "Irreps", numeric=False),
            Column("seed", "Seed"),
            Column("val_mae", "Validation MAE", unit),
            Column("test_mae", "Test MAE", unit),
            Column("epochs", "Epochs"),
        ],
        hidden=[
            Column("test_rmse", "Test RMSE"),
            Column("test_mse_standardized", "Test MSE, standardized"),
            Column("test_mae_of_mean", "Test MAE of the mean"),
            Column("unit", "Unit"),
            Column("configuration_hash", "Configuration"),
            Column("git_commit", "Commit"),
            Column("directory", "Directory"),
        ],
    )
    reasons = {id(run): reason for run, reason in group.left_out}
    for run in sorted(group.runs, key=lambda r: (id(r) in reasons, r.irreps, r.seed or 0, r.name)):
        table.rows.append(_run_cells(run, reasons.get(id(run), "")))
    return table


def _run_cells(run: Run, reason: str) -> list[Cell]:
    texts = [str(run.summary.get(key, "")) for key in ("configuration_hash", "git_commit")]
    return [
        Cell(run.name, run.name),
        Cell(run.status, run.status),
        Cell(f"no: {reason}" if reason else "yes", reason or "yes"),
        Cell(run.irreps or formatting.plain(None), run.irreps),
        Cell(formatting.plain(None) if run.seed is None else str(run.seed), run.seed),
        _number(run.number("val/mae")),
        _number(run.number("test/mae")),
        Cell(str(run.epochs), run.epochs),
        _number(run.number("test/rmse")),
        _number(run.number("test/mse_standardized")),
        _number(run.number("test/mae_of_mean")),
        *(Cell(text, text) for text in (run.unit, *texts, str(run.path or ""))),
    ]


def blocks_table(group: Group) -> Table:
    """Make the table behind the heatmaps, for the CSV file.

    Parameters
    ----------
    group : Group

    Returns
    -------
    Table
        Means over seeds.
    """
    measures = ("ablation", "relative", "power_share", "effective_channels", "attribution")
    keys = ("irreps", "layer", "irrep", "verdict", *measures)
    table = Table("utilization", "Utilization by layer", [Column(key, key) for key in keys])
    for known in group.sets:
        for block in cells(known):
            texts = (known.irreps, block.layer, block.irrep, block.verdict)
            values = [block.values[name] for name in measures]
            table.rows.append([*(Cell(t, t) for t in texts), *(_number(v) for v in values)])
    return table


def latent_table(measured: Sequence[LatentMeasure]) -> Table:
    """Make the table behind the plot of latent spaces, for the CSV file.

    Parameters
    ----------
    measured : sequence of LatentMeasure

    Returns
    -------
    Table
    """
    keys = ("irreps", "block", "metric", "trained", "untrained")
    table = Table("latent", "Latent space", [Column(key, key) for key in keys])
    for one in measured:
        texts = (one.irrep_set.irreps, one.block, one.metric)
        values = (one.trained, one.untrained)
        table.rows.append([*(Cell(t, t) for t in texts), *(_number(v) for v in values)])
    return table


def curves_table(group: Group) -> Table:
    """Make the table behind the learning curves, for the CSV file.

    Parameters
    ----------
    group : Group

    Returns
    -------
    Table
    """
    keys = ("irreps", "seed", "epoch", "val_mae", "train_loss")
    table = Table("curves", "Learning curves", [Column(key, key) for key in keys])
    for known in group.sets:
        for run in known.runs:
            for epoch, row in sorted(run.metrics.items()):
                if epoch > UNTRAINED:
                    values = (row.get("val/mae"), row.get("train/loss"))
                    table.rows.append(
                        [
                            Cell("", known.irreps),
                            Cell("", run.seed),
                            Cell("", epoch),
                            *(_number(value) for value in values),
                        ]
                    )
    return table
