"""Cells that several tables have.

Imports `reporting` only.
"""

from __future__ import annotations

from reporting.compare.groups import Group, IrrepSet
from reporting.compare.statistics import Estimate
from reporting.tables.table import Cell
from reporting.words import formatting


def set_cell(irrep_set: IrrepSet, group: Group) -> Cell:
    """Show the label of a set, with its colour."""
    return Cell(irrep_set.label, irrep_set.irreps, swatch=group.sets.index(irrep_set))


def text_cell(text: str) -> Cell:
    """Show a text."""
    return Cell(text, text)


def number_cell(value: float | None, digits: int = 4) -> Cell:
    """Show a number with a few significant digits; an en dash for None and NaN."""
    return Cell(formatting.plain(value, digits), value)


def count_cell(value: float | None) -> Cell:
    """Show a count."""
    return Cell(formatting.whole(value), value)


def interval_cell(estimate: Estimate | None, sign: bool = False) -> Cell:
    """Show a mean with the half-width of its interval, or with a note that there is no interval."""
    if estimate is None:
        return Cell(formatting.plain(None), None)
    note = "" if estimate.has_interval else "one seed"
    return Cell(formatting.plus_minus(estimate, sign), estimate.mean, note)


def share_cell(value: float | None) -> Cell:
    """Show a fraction in per cent; an en dash for None."""
    return Cell(formatting.plain(None) if value is None else formatting.percent(value), value)


def ends_cells(estimate: Estimate | None) -> list[Cell]:
    """Show the ends of an interval; en dashes for None."""
    ends = (None, None) if estimate is None else (estimate.low, estimate.high)
    return [number_cell(end) for end in ends]
