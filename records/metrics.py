"""``metrics.csv``: one row per epoch.

Imports the standard library and this package only.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from records.files import write_text

Row = dict[str, float]
"""One epoch's numbers by key; ``epoch`` is among them, and ``step`` where it is known."""


def read_metrics(path: Path) -> dict[int, Row]:
    """Read metrics.csv.

    Parameters
    ----------
    path : Path
        May be missing.

    Returns
    -------
    dict of int to dict
        Epoch to its row, without empty cells; `records.names.UNTRAINED` is the baseline's epoch.

    Raises
    ------
    ValueError
        If a row is damaged, or an epoch has two; names file and line.
    """
    rows: dict[int, Row] = {}
    if not path.exists():
        return rows
    # With surrogate escapes an undecodable byte fails in its own row, not in the block of rows
    # that the file is read in.
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for record in reader:
                row = {key: float(value) for key, value in record.items() if value != ""}
                epoch = int(row["epoch"])
                if epoch in rows:
                    raise ValueError(f"epoch {epoch} has two rows")
                rows[epoch] = {**row, "epoch": epoch}
        # OverflowError: an infinite epoch.
        except (TypeError, ValueError, KeyError, OverflowError, csv.Error) as error:
            raise ValueError(
                f"{path} is damaged in line {reader.reader.line_num}: remove the line, or start "
                "the run over with --fresh"
            ) from error
    return rows


def write_metrics(path: Path, rows: Mapping[int, Row]) -> None:
    """Write metrics.csv whole, to a temporary file that takes its place.

    Parameters
    ----------
    path : Path
        Destination.
    rows : mapping of int to dict
        Epoch to its row. The columns are all keys, in order of first appearance.
    """
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows[epoch] for epoch in sorted(rows))
    write_text(path, text.getvalue())
