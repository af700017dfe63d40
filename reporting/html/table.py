"""`Table`: built once, written as HTML and as CSV.

Imports `records.files` only.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from records.files import write_text

Value = float | str | None


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes
    ----------
    text : str
        As shown.
    value : float or str or None
        What the column is sorted by and what the CSV file holds.
    note : str
        Shown small below the text.
    swatch : int or None
        Number of the set whose colour is shown before the text.
    """

    text: str
    value: Value
    note: str = ""
    swatch: int | None = None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    key, heading : str
        In the CSV file, and as shown.
    note : str
        Unit or explanation below the heading.
    numeric : bool
        Whether cells are aligned to the right.
    """

    key: str
    heading: str
    note: str = ""
    numeric: bool = True


@dataclass
class Table:
    """A table.

    Attributes
    ----------
    key : str
        Name of the CSV file.
    caption : str
        What it shows.
    columns : list of Column
    rows : list of list of Cell
    hidden : list of Column
        Further columns that only the CSV file has; their cells follow those of `columns`.
    """

    key: str
    caption: str
    columns: list[Column]
    rows: list[list[Cell]] = field(default_factory=list)
    hidden: list[Column] = field(default_factory=list)

    def to_csv(self) -> str:
        """Write the table as CSV.

        Returns
        -------
        str
            Full precision, one line a row; empty cells where there is no value.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.key for column in (*self.columns, *self.hidden)])
        for row in self.rows:
            writer.writerow([_csv_value(cell.value) for cell in row])
        return text.getvalue()

    def to_html(self, identity: str) -> str:
        """Write the table as HTML; `report.js` makes it sortable.

        Parameters
        ----------
        identity : str
            Value of the element's ``id``.

        Returns
        -------
        str
        """
        head = "".join(_heading(column) for column in self.columns)
        body = "".join(
            "<tr>"
            + "".join(
                _html_cell(cell, column, number == 0)
                for number, (cell, column) in enumerate(zip(row, self.columns))
            )
            + "</tr>\n"
            for row in self.rows
        )
        return (
            f'<h3 id="{identity}-title">{escape(self.caption)}</h3>'
            f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{identity}-title">'
            f'<table id="{identity}" class="sortable" aria-labelledby="{identity}-title">'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>"
        )


def _csv_value(value: Value) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _heading(column: Column) -> str:
    note = f"<small>{escape(column.note)}</small>" if column.note else ""
    kind = ' class="number"' if column.numeric else ""
    return (
        f'<th scope="col"{kind}><button type="button">{escape(column.heading)}'
        f'<span class="arrow" aria-hidden="true"></span></button>{note}</th>'
    )


def _html_cell(cell: Cell, column: Column, first: bool) -> str:
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    kind = ' class="number"' if column.numeric else ""
    swatch = "" if cell.swatch is None else f'<i class="swatch s{cell.swatch}"></i>'
    note = f"<small>{escape(cell.note)}</small>" if cell.note else ""
    value = escape(_csv_value(cell.value))
    return f'<{tag}{scope}{kind} data-value="{value}">{swatch}{escape(cell.text)}{note}</{tag}>'


def write_csv(tables: Sequence[Table], directory: Path, prefix: str = "") -> list[Path]:
    """Write tables as CSV files.

    Parameters
    ----------
    tables : sequence of Table
        Empty ones are not written.
    directory : Path
        Made if it does not exist.
    prefix : str
        Before each file's name.

    Returns
    -------
    list of Path
    """
    paths = []
    for table in tables:
        if table.rows:
            path = directory / f"{prefix}{table.key}.csv"
            write_text(path, table.to_csv())
            paths.append(path)
    return paths
