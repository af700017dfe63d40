"""The tables of a group of runs, for the page and as CSV files.

Imports `records` and `reporting` only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from records.names import UNTRAINED
from reporting.compare.baselines import PREDICTORS, Learning, compare_with_baselines
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.irrep_effects import IrrepEffect, block_means
from reporting.compare.latent_spaces import LatentMeasure
from reporting.compare.set_comparison import MARGIN, Standing
from reporting.compare.statistics import Estimate
from reporting.html.table import Cell, Column, Table
from reporting.read.irreps import parse_irreps
from reporting.read.runs import Run
from reporting.read.utilization import MEASURES
from reporting.words import formatting
from reporting.words.titles import error_name, error_title

# ---- cells ----------------------------------------------------------------------------------


def _set_cell(irrep_set: IrrepSet, group: Group) -> Cell:
    return Cell(irrep_set.label, irrep_set.irreps, swatch=group.sets.index(irrep_set))


def _text(text: str) -> Cell:
    return Cell(text, text)


def _number(value: float | None, digits: int = 4) -> Cell:
    return Cell(formatting.plain(value, digits), value)


def _count(value: float | None) -> Cell:
    return Cell(formatting.whole(value), value)


def _interval(estimate: Estimate | None, sign: bool = False) -> Cell:
    """Show a mean with the half-width of its interval, or with a note that there is no interval."""
    if estimate is None:
        return Cell(formatting.plain(None), None)
    note = "" if estimate.has_interval else "one seed"
    return Cell(formatting.plus_minus(estimate, sign), estimate.mean, note)


def _share(value: float | None) -> Cell:
    return Cell(formatting.plain(None) if value is None else formatting.percent(value), value)


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
        The set that the others are compared with.
    """
    unit = group.unit
    table = Table(
        "sets",
        f"Sets of irreps by {error_name(group)}{_number_of_channels(group)}",
        [
            Column("irreps", "Irreps", numeric=False),
            Column("mae", error_title(group), f"{unit}, 95 %"),
            Column("mae_pooled", "Pooled", "± over seeds"),
            Column("baseline_multiple", "Share of", "best baseline"),
            Column("difference", f"Against {reference.label}", f"{unit}, 95 %"),
            Column("p_holm", "p", "Holm"),
            Column("relation", "Verdict", formatting.within(MARGIN), numeric=False),
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
            Column("paired_low", "Paired difference, lower end"),
            Column("paired_high", "Paired difference, upper end"),
            Column("paired_p", "Paired p, not corrected"),
            Column("equivalence_p_holm", "Equivalence p, Holm"),
        ],
    )
    learning = compare_with_baselines(group)
    for row in rows:
        table.rows.append(_standing_cells(group, row, reference, learning))
    return table


def _number_of_channels(group: Group) -> str:
    """Say how many channels there are if the labels of the sets do not."""
    first = group.sets[0]
    if first.label == first.irreps:
        return ""
    channels = next(iter(parse_irreps(first.irreps).values()))
    return f" ({channels} channels of each irrep)"


def _standing_cells(
    group: Group, row: Standing, reference: IrrepSet, learning: Learning | None
) -> list[Cell]:
    irrep_set, difference = row.irrep_set, row.difference
    run = irrep_set.runs[0]
    seconds = row.seconds.mean if row.seconds else None
    fewest, most = row.epochs
    to_reference = _interval(difference.estimate if difference else None, sign=True)
    if irrep_set is reference:
        to_reference = Cell("reference", 0.0)
    p_value = difference.adjusted_p if difference else math.nan
    relation = difference.relation.value if difference else ""
    multiple = learning.multiples[irrep_set.irreps].mean if learning else None
    paired = difference.paired if difference else None
    half = row.pooled.half_width
    return [
        _set_cell(irrep_set, group),
        _interval(row.mae),
        Cell(formatting.plain(half, 2), half),
        Cell(
            formatting.plain(None) if multiple is None else formatting.percent(multiple), multiple
        ),
        to_reference,
        Cell(formatting.p_value(p_value), p_value),
        _text(relation),
        Cell(str(row.mae.count), row.mae.count),
        _count(irrep_set.parameters),
        _count(run.number("params/reachable")),
        _number(row.rate.mean if row.rate else None, 3),
        Cell(formatting.duration(seconds), seconds),
        Cell(str(most) if fewest == most else f"{fewest} to {most}", most),
        _text(group.unit),
        *_ends(row.mae),
        _text(reference.irreps),
        *_ends(difference.estimate if difference else None),
        Cell("", difference.estimate.count if difference else None),
        *_ends(paired),
        _number(paired.p_value if paired else None),
        _number(difference.equivalence_p if difference else None),
    ]


def baselines_table(group: Group, learning: Learning) -> Table:
    """Make the table of what is reached without a network.

    Parameters
    ----------
    group : Group
    learning : Learning
    """
    table = Table(
        "baselines",
        "Without a network",
        [
            Column("predictor", "Predictor", numeric=False),
            Column("mae", error_title(group), group.unit),
            *(
                Column(f"multiple_{one.irreps}", one.label, "share of its error")
                for one in group.sets
            ),
        ],
    )
    for baseline in learning.baselines:
        shares = [
            learning.multiples[one.irreps].mean * learning.best.mae.mean / baseline.mae.mean
            for one in group.sets
        ]
        table.rows.append(
            [
                _text(PREDICTORS[baseline.predictor]),
                Cell(formatting.plain(baseline.mae.mean, 3), baseline.mae.mean),
                *(Cell(formatting.percent(share), share) for share in shares),
            ]
        )
    return table


def irreps_table(group: Group, effects: Sequence[IrrepEffect]) -> Table:
    """Make the table of what each irrep is worth to each set that has it.

    Parameters
    ----------
    group : Group
    effects : sequence of IrrepEffect

    Returns
    -------
    Table
        Irreps of which nothing was measured are left out.
    """
    unit = group.unit
    table = Table(
        "irreps",
        "What each irrep is worth: removed from trained networks, and left out of training",
        [
            Column("irreps", "Set", numeric=False),
            Column("irrep", "Irrep", numeric=False),
            Column("used", "Used in", "networks"),
            Column("reliance", "Removed", f"from all layers: MAE, {unit}"),
            Column("relative", "Removed", "share of the MAE"),
            Column("untrained", "Removed untrained", f"MAE, {unit}"),
            Column("retrained", "Trained without", f"MAE, {unit}"),
            Column("p_holm", "p", "Holm"),
        ],
        hidden=[
            Column("networks", "Networks"),
            Column("verdicts", "Verdicts"),
            Column("reliance_low", "Removed, lower end"),
            Column("reliance_high", "Removed, upper end"),
            Column("retrained_low", "Trained without, lower end"),
            Column("retrained_high", "Trained without, upper end"),
        ],
    )
    for effect in effects:
        if effect.reliance is not None or effect.retrained is not None:
            table.rows.append(_effect_cells(group, effect))
    return table


def _effect_cells(group: Group, effect: IrrepEffect) -> list[Cell]:
    total, used = effect.measured, effect.used
    retrained = effect.retrained.estimate if effect.retrained else None
    p_value = effect.retrained.adjusted_p if effect.retrained else math.nan
    verdicts = "; ".join(f"{name} {count}" for name, count in sorted(effect.verdicts.items()))
    return [
        _set_cell(effect.irrep_set, group),
        _text(effect.irrep),
        Cell(f"{used} of {total}" if total else formatting.plain(None), used if total else None),
        _interval(effect.reliance, sign=True),
        Cell(formatting.percent(effect.relative_reliance, sign=True), effect.relative_reliance),
        _number(effect.untrained_reliance, 3),
        _interval(retrained, sign=True),
        Cell(formatting.p_value(p_value), p_value),
        Cell("", total),
        Cell("", verdicts),
        *_ends(effect.reliance),
        *_ends(retrained),
    ]


def runs_table(group: Group) -> Table:
    """Make the list of all runs, counted or not.

    Parameters
    ----------
    group : Group
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
    return [
        _text(run.name),
        _text(run.status),
        Cell(f"no: {reason}" if reason else "yes", reason or "yes"),
        Cell(run.irreps or formatting.plain(None), run.irreps),
        Cell(formatting.plain(None) if run.seed is None else str(run.seed), run.seed),
        _number(run.number("val/mae")),
        _number(run.number("test/mae")),
        Cell(str(run.epochs), run.epochs),
        _number(run.number("test/rmse")),
        _number(run.number("test/mse_standardized")),
        _number(run.number("test/mae_of_mean")),
        _text(run.unit),
        _text(run.summary.configuration_hash or ""),
        _text(run.summary.git_commit or ""),
        _text(str(run.path or "")),
    ]


def utilization_table(group: Group) -> Table:
    """Make the CSV file behind the heatmaps: means over seeds, one row per layer and irrep.

    Parameters
    ----------
    group : Group
    """
    table = _csv_table(
        "utilization", "Utilization by layer", ("irreps", "layer", "irrep", "verdict", *MEASURES)
    )
    for irrep_set in group.sets:
        for block in block_means(irrep_set):
            texts = (irrep_set.irreps, block.layer, block.irrep, block.verdict)
            values = (block.values[name] for name in MEASURES)
            table.rows.append([*map(_text, texts), *map(_number, values)])
    return table


def latent_table(measured: Sequence[LatentMeasure]) -> Table:
    """Make the CSV file behind the plot of latent spaces.

    Parameters
    ----------
    measured : sequence of LatentMeasure
    """
    keys = ("irreps", "block", "metric", "trained", "untrained")
    table = _csv_table("latent", "Latent space", keys)
    for measure in measured:
        texts = (measure.irrep_set.irreps, measure.block, measure.metric)
        values = (measure.trained, measure.untrained)
        table.rows.append([*map(_text, texts), *map(_number, values)])
    return table


def curves_table(group: Group) -> Table:
    """Make the CSV file behind the learning curves: one row per run and epoch.

    Parameters
    ----------
    group : Group
    """
    keys = ("irreps", "seed", "epoch", "val_mae", "train_loss")
    table = _csv_table("curves", "Learning curves", keys)
    for irrep_set in group.sets:
        for run in irrep_set.runs:
            for epoch, row in sorted(run.metrics.items()):
                if epoch > UNTRAINED:
                    values = (row.get("val/mae"), row.get("train/loss"))
                    identity = (irrep_set.irreps, run.seed, epoch)
                    cells = [Cell("", value) for value in identity]
                    table.rows.append([*cells, *map(_number, values)])
    return table


def _csv_table(key: str, caption: str, keys: Sequence[str]) -> Table:
    return Table(key, caption, [Column(name, name) for name in keys])
