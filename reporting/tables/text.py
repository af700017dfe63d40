"""Tables as lines for the terminal. Imports this package only."""

from __future__ import annotations

from reporting.tables.table import Table


def to_text(table: Table) -> str:
    """Lay out the columns that the page shows; notes follow their text.

    Parameters
    ----------
    table : Table

    Returns
    -------
    str
        The caption, a heading and a line per row. What repeats the row above is left out in the
        first column.
    """
    columns = [[column.heading] for column in table.columns]
    previous = ""
    for row in table.rows:
        for number, (column, cell) in enumerate(zip(columns, row)):
            text = " ".join(filter(None, (cell.text, cell.note)))
            if number == 0:
                text, previous = ("" if text == previous else text), text
            column.append(text)
    widths = [max(map(len, column)) for column in columns]
    lines = [table.caption]
    for cells in zip(*columns):
        parts = [
            text.rjust(width) if column.numeric and not table.rows[0][n].note else text.ljust(width)
            for n, (text, width, column) in enumerate(zip(cells, widths, table.columns))
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)
