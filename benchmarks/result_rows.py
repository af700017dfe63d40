"""Results of a long benchmark: rows of a CSV file, so that it goes on where it was stopped.

Imports the standard library and `records` only.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from records.files import write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    Row = TypeVar("Row", bound=DataclassInstance)
else:
    Row = TypeVar("Row")

KINDS = {"str": str, "int": int, "float": float}


class ResultRows(Generic[Row]):
    """The rows of a CSV file, which is rewritten whole at each addition.

    Parameters
    ----------
    kind : type
        Dataclass of a row, with fields of type str, int and float.
    path : Path
        Read if it exists.

    Attributes
    ----------
    rows : list
        All rows, in the order of the file.
    """

    def __init__(self, kind: type[Row], path: Path) -> None:
        self.path = path
        self._types = {field.name: KINDS[str(field.type)] for field in fields(kind)}
        self.rows: list[Row] = []
        if path.exists():
            for record in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))):
                cells: dict[str, Any] = {n: read(record[n]) for n, read in self._types.items()}
                self.rows.append(kind(**cells))

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows and write the file."""
        self.rows += rows
        text = io.StringIO()
        writer = csv.DictWriter(text, list(self._types), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(row) for row in self.rows)
        write_text(self.path, text.getvalue())
