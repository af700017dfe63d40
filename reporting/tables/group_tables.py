"""The tables of sets and runs.

Imports `records` and `reporting` only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from records.names import MEMORY, OPERATIONS, UNTRAINED
from reporting.compare.baselines import PREDICTORS, Learning, compare_with_baselines
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.irrep_effects import block_means
from reporting.compare.set_comparison import MARGIN, Standing
from reporting.read.irreps import parse_irreps
from reporting.read.runs import Run
from reporting.read.utilization import MEASURES
from reporting.tables.cells import (
    count_cell,
    ends_cells,
    interval_cell,
    number_cell,
    set_cell,
    text_cell,
)
from reporting.tables.table import Cell, Column, Table
from reporting.words import formatting
from reporting.words.titles import error_name, error_title


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
            Column("relation", "Verdict", f"margin {formatting.within(MARGIN)}", numeric=False),
            Column("seeds", "Seeds"),
            Column("parameters", "Parameters", "total"),
            Column("reachable_parameters", "Reachable", "parameters"),
            Column("operations", "Multiply-adds", "10⁶ per molecule"),
            Column("memory", "Memory", "kB per molecule"),
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
    if all(_all_reachable(row.irrep_set) for row in rows):
        table.hide("reachable_parameters")
    for key, column in ((OPERATIONS, "operations"), (MEMORY, "memory")):
        if all(row.irrep_set.runs[0].number(key) is None for row in rows):
            table.hide(column)
    if len({row.epochs for row in rows}) == 1:
        table.hide("epochs")
    return table


def _all_reachable(irrep_set: IrrepSet) -> bool:
    return irrep_set.runs[0].number("params/reachable") == irrep_set.parameters


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
    operations, memory = run.number(OPERATIONS), run.number(MEMORY)
    to_reference = interval_cell(difference.estimate if difference else None, sign=True)
    if irrep_set is reference:
        to_reference = Cell("reference", 0.0)
    p_value = difference.adjusted_p if difference else math.nan
    relation = difference.relation.value if difference else ""
    multiple = learning.multiples[irrep_set.irreps].mean if learning else None
    paired = difference.paired if difference else None
    half = row.pooled.half_width
    return [
        set_cell(irrep_set, group),
        interval_cell(row.mae),
        Cell(formatting.plain(half, 2), half),
        Cell(
            formatting.plain(None) if multiple is None else formatting.percent(multiple), multiple
        ),
        to_reference,
        Cell(formatting.p_value(p_value), p_value),
        text_cell(relation),
        Cell(str(row.mae.count), row.mae.count),
        count_cell(irrep_set.parameters),
        count_cell(run.number("params/reachable")),
        number_cell(None if operations is None else operations / 1e6, 3),
        number_cell(None if memory is None else memory / 1e3, 3),
        number_cell(row.rate.mean if row.rate else None, 3),
        Cell(formatting.duration(seconds), seconds),
        Cell(str(most) if fewest == most else f"{fewest} to {most}", most),
        text_cell(group.unit),
        *ends_cells(row.mae),
        text_cell(reference.irreps),
        *ends_cells(difference.estimate if difference else None),
        Cell("", difference.estimate.count if difference else None),
        *ends_cells(paired),
        number_cell(paired.p_value if paired else None),
        number_cell(difference.equivalence_p if difference else None),
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
                text_cell(PREDICTORS[baseline.predictor]),
                Cell(formatting.plain(baseline.mae.mean, 3), baseline.mae.mean),
                *(Cell(formatting.percent(share), share) for share in shares),
            ]
        )
    return table


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
            Column("test_vector_error", "Test norm of the deviation"),
            Column("test_norm_mae", "Test MAE of the norm"),
            Column("target_rank", "Rank of the target"),
            Column("method", "Level of theory"),
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
        text_cell(run.name),
        text_cell(run.status),
        Cell(f"no: {reason}" if reason else "yes", reason or "yes"),
        Cell(run.irreps or formatting.plain(None), run.irreps),
        Cell(formatting.plain(None) if run.seed is None else str(run.seed), run.seed),
        number_cell(run.number("val/mae")),
        number_cell(run.number("test/mae")),
        Cell(str(run.epochs), run.epochs),
        number_cell(run.number("test/rmse")),
        number_cell(run.number("test/mse_standardized")),
        number_cell(run.number("test/mae_of_mean")),
        number_cell(run.number("test/vector_error")),
        number_cell(run.number("test/norm_mae")),
        number_cell(run.summary.rank),
        text_cell(run.summary.method or ""),
        text_cell(run.unit),
        text_cell(run.summary.configuration_hash or ""),
        text_cell(run.summary.git_commit or ""),
        text_cell(str(run.path or "")),
    ]


def utilization_table(group: Group) -> Table:
    """Make the CSV file behind the heatmaps: means over seeds, one row per layer and irrep.

    Parameters
    ----------
    group : Group
    """
    table = csv_table(
        "utilization", "Utilization by layer", ("irreps", "layer", "irrep", "verdict", *MEASURES)
    )
    for irrep_set in group.sets:
        for block in block_means(irrep_set):
            texts = (irrep_set.irreps, block.layer, block.irrep, block.verdict)
            values = (block.values[name] for name in MEASURES)
            table.rows.append([*map(text_cell, texts), *map(number_cell, values)])
    return table


def curves_table(group: Group) -> Table:
    """Make the CSV file behind the learning curves: one row per run and epoch.

    Parameters
    ----------
    group : Group
    """
    keys = ("irreps", "seed", "epoch", "val_mae", "train_loss")
    table = csv_table("curves", "Learning curves", keys)
    for irrep_set in group.sets:
        for run in irrep_set.runs:
            for epoch, row in sorted(run.metrics.items()):
                if epoch > UNTRAINED:
                    values = (row.get("val/mae"), row.get("train/loss"))
                    identity = (irrep_set.irreps, run.seed, epoch)
                    cells = [Cell("", value) for value in identity]
                    table.rows.append([*cells, *map(number_cell, values)])
    return table


def csv_table(key: str, caption: str, keys: Sequence[str]) -> Table:
    """Start a table that is only offered as a CSV file."""
    return Table(key, caption, [Column(name, name) for name in keys])
