"""``utilization.csv``: what every irrep of every layer carries and is worth, epoch by epoch.

Imports the standard library and this package only.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from records.files import write_text

Verdict = Literal["unreachable", "unused", "used"]


@dataclass(frozen=True)
class BlockUtilization:
    """One row of the utilization table.

    Attributes
    ----------
    layer : str
        ``layer0``, ... or `records.names.NETWORK`.
    irrep : str
        e.g. ``1o``.
    channels : int
        Multiplicity of the irrep; 0 in a layer that does not have it.
    power, power_share, effective_channels, attribution : float
        See `analysis.utilization`; NaN in `records.names.NETWORK` rows and
        where the layer lacks the block. Attribution is of the squared error of the standardized target.
    ablation, ablation_low, ablation_high : float
        Increase of the MAE on removal and its 95 % interval, reporting units.
    reachable : bool
        Whether a selection-rule path leads from the block to the output.
    verdict : {"unreachable", "unused", "used"}
        See `analysis.utilization.verdict`.
    """

    layer: str
    irrep: str
    channels: int
    power: float
    power_share: float
    effective_channels: float
    attribution: float
    ablation: float
    ablation_low: float
    ablation_high: float
    reachable: bool
    verdict: Verdict


@dataclass(frozen=True)
class Utilization:
    """All rows, and the intact network's error on the same molecules.

    Attributes
    ----------
    rows : list of BlockUtilization
        Layer by layer, each irrep of the network once a layer; then the `records.names.NETWORK` rows.
    mae : float
        Intact, reporting units.
    num_molecules : int
        Number of molecules measured.
    """

    rows: list[BlockUtilization]
    mae: float
    num_molecules: int


COLUMNS = (
    "epoch",
    *(field.name for field in fields(BlockUtilization)),
    "mae",
    "unit",
    "num_molecules",
)


class UtilizationTable:
    """Measurements by epoch, kept in a CSV file that is rewritten whole.

    Parameters
    ----------
    path : Path
        The file; read if it exists.
    unit : str
        Of MAE and ablation.

    Raises
    ------
    ValueError
        If the file is damaged; names file and line.
    """

    def __init__(self, path: Path, unit: str) -> None:
        self.path = path
        self.unit = unit
        self.epochs = read_table(path)

    @property
    def last_epoch(self) -> int | None:
        """Latest epoch measured, `records.names.UNTRAINED` for the baseline alone, None for nothing."""
        return max(self.epochs, default=None)

    def add(self, epoch: int, utilization: Utilization) -> None:
        """Put in an epoch, in place of an earlier measurement of the same, and write the file.

        Parameters
        ----------
        epoch : int
            Epoch, or `records.names.UNTRAINED`.
        utilization : Utilization
            What was measured.
        """
        self.epochs[epoch] = utilization
        self._write()

    def drop_after(self, epoch: int) -> None:
        """Forget epochs that a resumed run will train again.

        Parameters
        ----------
        epoch : int
            Last epoch to keep; less than `records.names.UNTRAINED` keeps nothing.
        """
        if any(known > epoch for known in self.epochs):
            self.epochs = {known: u for known, u in self.epochs.items() if known <= epoch}
            self._write()

    def _write(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for epoch in sorted(self.epochs):
            utilization = self.epochs[epoch]
            for row in utilization.rows:
                cells = {
                    key: "" if isinstance(value, float) and math.isnan(value) else value
                    for key, value in asdict(row).items()
                }
                cells |= {"epoch": epoch, "mae": utilization.mae, "unit": self.unit}
                writer.writerow(cells | {"num_molecules": utilization.num_molecules})
        write_text(self.path, text.getvalue())


def read_table(path: Path) -> dict[int, Utilization]:
    """Read utilization.csv.

    Parameters
    ----------
    path : Path
        May be missing.

    Returns
    -------
    dict of int to Utilization
        By epoch.

    Raises
    ------
    ValueError
        If a row is damaged; names file and line.
    """
    epochs: dict[int, Utilization] = {}
    if not path.exists():
        return epochs
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for record in reader:
                epoch, mae = int(record["epoch"]), float(record["mae"])
                entry = Utilization([], mae, int(record["num_molecules"]))
                epochs.setdefault(epoch, entry).rows.append(_read_row(record))
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(f"{path} is damaged in line {reader.reader.line_num}") from error
    return epochs


def _read_row(record: dict[str, str]) -> BlockUtilization:
    numbers = {
        field.name: float(record[field.name] or "nan")
        for field in fields(BlockUtilization)
        if field.type == "float"
    }
    if record["reachable"] not in ("True", "False"):
        raise ValueError(record["reachable"])
    return BlockUtilization(
        layer=record["layer"],
        irrep=record["irrep"],
        channels=int(record["channels"]),
        reachable=record["reachable"] == "True",
        verdict=record["verdict"],  # type: ignore[arg-type]
        **numbers,
    )
