"""``nested.csv``: the MAE of every subset of degrees and what each degree adds, epoch by epoch.

Imports the standard library and this package only.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from records.bounded import open_table
from records.files import write_text

COLUMNS = ("epoch", "quantity", "degrees", "value", "low", "high", "unit", "num_molecules")
MAE, SHAPLEY = "mae", "shapley"


@dataclass(frozen=True)
class Estimate:
    """A mean over molecules and its 95 % interval, reporting units."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class NestedEpoch:
    """All subsets of one epoch.

    Attributes
    ----------
    mae : dict of str to Estimate
        By the degrees of the subset, e.g. ``0`` or ``0,1,2``; the full set is the last.
    shapley : dict of int to Estimate
        By degree: the fall of the MAE when the degree joins, averaged over the orders of joining.
    num_molecules : int
        Number of molecules measured.
    """

    mae: Mapping[str, Estimate]
    shapley: Mapping[int, Estimate]
    num_molecules: int


class NestedTable:
    """Measurements by epoch, kept in a CSV file that is rewritten whole.

    Parameters
    ----------
    path : Path
        The file; read if it exists.
    unit : str
        Reporting unit.

    Raises
    ------
    ValueError
        If the file is damaged; names file and line.
    """

    def __init__(self, path: Path, unit: str) -> None:
        self.path = path
        self.unit = unit
        self.epochs = read_nested(path)

    def add(self, epoch: int, nested: NestedEpoch) -> None:
        """Put an epoch in, in place of an earlier measurement of the same, and write the file.

        Parameters
        ----------
        epoch : int
            Epoch.
        nested : NestedEpoch
            What was measured.
        """
        self.epochs[epoch] = nested
        write_nested(self.path, self.epochs, self.unit)

    def drop_after(self, epoch: int) -> None:
        """Forget epochs that a resumed run will train again.

        Parameters
        ----------
        epoch : int
            Last epoch to keep.
        """
        if any(known > epoch for known in self.epochs):
            self.epochs = {known: n for known, n in self.epochs.items() if known <= epoch}
            write_nested(self.path, self.epochs, self.unit)


def write_nested(path: Path, epochs: Mapping[int, NestedEpoch], unit: str) -> None:
    """Write nested.csv whole, to a temporary file that takes its place.

    Parameters
    ----------
    path : Path
        Destination.
    epochs : mapping of int to NestedEpoch
        By epoch.
    unit : str
        Reporting unit.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for epoch in sorted(epochs):
        nested = epochs[epoch]
        rows: list[tuple[str, str, Estimate]] = [(MAE, name, e) for name, e in nested.mae.items()]
        rows += [(SHAPLEY, str(degree), e) for degree, e in nested.shapley.items()]
        for quantity, degrees, e in rows:
            numbers = (e.value, e.low, e.high)
            writer.writerow((epoch, quantity, degrees, *numbers, unit, nested.num_molecules))
    write_text(path, text.getvalue())


def read_nested(path: Path) -> dict[int, NestedEpoch]:
    """Read nested.csv.

    Parameters
    ----------
    path : Path
        May be missing.

    Returns
    -------
    dict of int to NestedEpoch
        By epoch.

    Raises
    ------
    ValueError
        If a row is damaged; names file and line.
    """
    if not path.exists():
        return {}
    epochs: dict[int, tuple[dict[str, Estimate], dict[int, Estimate], int]] = {}
    with open_table(path) as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            for record in reader:
                count = int(record["num_molecules"])
                mae, shapley, _ = epochs.setdefault(int(record["epoch"]), ({}, {}, count))
                estimate = Estimate(*(float(record[name]) for name in ("value", "low", "high")))
                if record["quantity"] == MAE:
                    mae[record["degrees"]] = estimate
                elif record["quantity"] == SHAPLEY:
                    shapley[int(record["degrees"])] = estimate
                else:
                    raise ValueError(record["quantity"])
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(f"{path} is damaged in line {reader.reader.line_num}") from error
    return {epoch: NestedEpoch(*parts) for epoch, parts in epochs.items()}
