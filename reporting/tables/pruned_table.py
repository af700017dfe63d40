"""The table of pruned networks.

Imports `records` and `reporting` only.
"""

from __future__ import annotations

from collections.abc import Sequence

from records.pruning import PrunedFront, PrunedPoint, increase_in_words, sentence
from reporting.compare.groups import Group
from reporting.plots.pruned import name_front
from reporting.tables.cells import count_cell, number_cell, share_cell, text_cell
from reporting.tables.table import Cell, Column, Table


def pruned_table(group: Group, fronts: Sequence[PrunedFront]) -> Table:
    """Make the table of all points of all fronts.

    Parameters
    ----------
    group : Group
    fronts : sequence of PrunedFront
    """
    table = Table(
        "pruned",
        "Smaller networks, made from trained ones",
        [
            Column("of", "Runs", numeric=False),
            Column("number", "Network"),
            Column("removed", "Lacks", numeric=False),
            Column("operations", "Operations", "share"),
            Column("training", "Training", "speed-up"),
            Column("prediction", "Prediction", "speed-up"),
            Column("parameters", "Parameters"),
            Column("mae", "Test MAE", group.unit),
            Column("increase", "Increase of the MAE", "95 % interval", numeric=False),
        ],
        hidden=[
            Column("layers", "Layers"),
            Column("control_mae", "MAE of the intact network, trained on alike"),
            Column("increase_low", "Lower end"),
            Column("increase_high", "Upper end"),
            Column("steps", "Steps"),
            Column("memory", "Bytes per molecule"),
            Column("on_front", "On the Pareto front"),
        ],
        note=" ".join(f"{name_front(front)}: {sentence(front)}" for front in fronts),
    )
    for front in fronts:
        table.rows += [_cells(front, point) for point in front.points]
    return table


def _cells(front: PrunedFront, point: PrunedPoint) -> list[Cell]:
    mark = "recommended" if point.recommended else ""
    return [
        text_cell(name_front(front)),
        Cell(str(point.number), point.number, mark),
        text_cell(point.removed or "nothing"),
        share_cell(point.operations / front.points[0].operations),
        number_cell(point.training_rate, 3),
        number_cell(point.inference_rate, 3),
        count_cell(point.parameters),
        number_cell(point.mae),
        Cell(increase_in_words(point) if point.number else "", point.increase),
        text_cell(point.layers),
        number_cell(point.control_mae),
        number_cell(point.low),
        number_cell(point.high),
        count_cell(point.steps),
        number_cell(point.memory),
        text_cell("yes" if point.on_front else "no"),
    ]
