"""``metrics.csv``: one row per epoch.

Imports the standard library and this package only.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from records.bounded import open_table
from records.files import write_text

Row = dict[str, float]
"""Numbers of one epoch by key; ``epoch`` is among them, and ``step`` where it is known."""


def read_metrics(path: Path) -> dict[int, Row]:
    """Read ``metrics.csv``.

    Parameters
    ----------
    path : Path
        May be missing.

    Returns
    -------
    dict of int to dict
        Rows by epoch, without empty cells. The baseline's epoch is `records.names.UNTRAINED`.

    Raises
    ------
    ValueError
        If a row is damaged, or two rows have the same epoch. The message names file and line.
    """
    rows: dict[int, Row] = {}
    if not path.exists():
        return rows
    # With surrogate escapes an undecodable byte is an error of its own row. Without them it would
    # be an error of the whole block of rows that is read at once.
    with open_table(path) as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            for record in reader:
                row = {key: float(value) for key, value in record.items() if value != ""}
                epoch = _epoch(row)
                if epoch in rows:
                    raise ValueError(f"epoch {epoch} has two rows")
                rows[epoch] = {**row, "epoch": epoch}
                if "step" in row and row["step"].is_integer():
                    rows[epoch]["step"] = int(row["step"])  # as it was written
        except (TypeError, ValueError, KeyError, csv.Error) as error:
            raise ValueError(
                f"{path} is damaged in line {reader.reader.line_num}: remove the line, or start "
                "the run over with --fresh"
            ) from error
    return rows


def _epoch(row: Row) -> int:
    epoch = row["epoch"]
    if not epoch.is_integer():
        raise ValueError(f"epoch {epoch} is not a whole number")
    return int(epoch)


def write_metrics(path: Path, rows: Mapping[int, Row]) -> None:
    """Write ``metrics.csv`` atomically, in order of the epochs.

    Parameters
    ----------
    path : Path
        Destination.
    rows : mapping of int to dict
        Rows by epoch. The columns are all their keys, in order of first appearance.
    """
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[epoch] for epoch in sorted(rows))
    write_text(path, text.getvalue())
