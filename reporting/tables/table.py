"""`Table`: built once, shown on the page by a template and written as CSV.

Imports `records.files` only.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from records.files import write_text

Value = float | str | None


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes
    ----------
    text : str
        What the page shows.
    value : float or str or None
        What the CSV file holds, and what the page sorts the column by.
    note : str
        Shown in small print below the text.
    swatch : int or None
        Number of the set whose colour precedes the text.
    """

    text: str
    value: Value
    note: str = ""
    swatch: int | None = None

    @property
    def plain_value(self) -> str:
        """`value` as text, in full precision; empty for None and NaN."""
        if self.value is None or (isinstance(self.value, float) and math.isnan(self.value)):
            return ""
        return f"{self.value:.10g}" if isinstance(self.value, float) else str(self.value)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    key, heading : str
        Name of the column in the CSV file and on the page.
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
        Name of the CSV file, and part of the element's id on the page.
    caption : str
        What the table shows.
    columns : list of Column
        Columns of the page and of the CSV file.
    rows : list of list of Cell
        One cell for each of `columns`, then one for each of `hidden`.
    hidden : list of Column
        Further columns of the CSV file.
    note : str
        Explanation below the caption.
    """

    key: str
    caption: str
    columns: list[Column]
    rows: list[list[Cell]] = field(default_factory=list)
    hidden: list[Column] = field(default_factory=list)
    note: str = ""

    def hide(self, key: str) -> None:
        """Move a column from the page to the further columns of the CSV file.

        Parameters
        ----------
        key : str
            Key of one of `columns`.
        """
        number = next(n for n, column in enumerate(self.columns) if column.key == key)
        self.hidden.append(self.columns.pop(number))
        for row in self.rows:
            row.append(row.pop(number))

    def to_csv(self) -> str:
        """Write the table as CSV, one line per row; cells without a value are empty."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([column.key for column in (*self.columns, *self.hidden)])
        for row in self.rows:
            writer.writerow([cell.plain_value for cell in row])
        return text.getvalue()


def to_markdown(table: Table) -> str:
    """Write the columns that the page shows as a Markdown table.

    Parameters
    ----------
    table : Table

    Returns
    -------
    str
        The caption in bold, the explanation, and the table. Notes follow their text.
    """
    head = [" ".join(filter(None, (column.heading, column.note))) for column in table.columns]
    lines = [head, ["---:" if column.numeric else "---" for column in table.columns]]
    for row in table.rows:
        shown = row[: len(table.columns)]
        lines.append([" ".join(filter(None, (cell.text, cell.note))) for cell in shown])
    rows = ["| " + " | ".join(text.replace("|", "\\|") for text in line) + " |" for line in lines]
    explanation = [table.note, ""] if table.note else []
    return "\n".join([f"**{table.caption}**", "", *explanation, *rows])


def write_csv(tables: Sequence[Table], directory: Path, prefix: str = "") -> list[Path]:
    """Write tables as CSV files.

    Parameters
    ----------
    tables : sequence of Table
        Tables without rows are skipped.
    directory : Path
        Created if needed.
    prefix : str
        Prepended to the name of each file.

    Returns
    -------
    list of Path
        The files written.
    """
    paths = []
    for table in tables:
        if table.rows:
            path = directory / f"{prefix}{table.key}.csv"
            write_text(path, table.to_csv())
            paths.append(path)
    return paths
