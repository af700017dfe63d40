"""`UtilizationTable`: utilization.csv, one row an epoch, layer and irrep; and the same in words.

Imports `analysis` and `runtime.files` only.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, fields
from pathlib import Path

from analysis.measurement import NETWORK, BlockUtilization, Utilization
from runtime.files import write_text

UNTRAINED = -1
"""Epoch of the baseline before training."""
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
        """Latest epoch measured, `UNTRAINED` for the baseline alone, None for nothing."""
        return max(self.epochs, default=None)

    def add(self, epoch: int, utilization: Utilization) -> None:
        """Put in an epoch, in place of an earlier measurement of the same, and write the file.

        Parameters
        ----------
        epoch : int
            Epoch, or `UNTRAINED`.
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
            Last epoch to keep; less than `UNTRAINED` keeps nothing.
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


def in_words(utilization: Utilization, unit: str, untrained: Utilization | None = None) -> str:
    """Say what every block is worth, one a line.

    Parameters
    ----------
    utilization : Utilization
        Trained network.
    unit : str
        Of MAE and ablation.
    untrained : Utilization, optional
        The same network before training, to compare with.

    Returns
    -------
    str
        Lines such as ``layer 3, 1o: used, +41 meV [35, 47] when removed (untrained: +2)``.
    """
    before = {(row.layer, row.irrep): row for row in untrained.rows} if untrained else {}
    lines = []
    for row in utilization.rows:
        where = "all layers" if row.layer == NETWORK else row.layer.replace("layer", "layer ")
        line = f"{where}, {row.irrep}: {row.verdict}"
        if row.reachable:
            value, low, high = _rounded(row.ablation, row.ablation_low, row.ablation_high)
            line += f", {_signed(value)} {unit} [{low}, {high}] when removed"
            earlier = before.get((row.layer, row.irrep))
            if earlier is not None:
                values = (earlier.ablation, earlier.ablation_low, earlier.ablation_high)
                line += f" (untrained: {_signed(_rounded(*values)[0])})"
        lines.append(line)
    return "\n".join(lines)


def _rounded(value: float, low: float, high: float) -> tuple[str, str, str]:
    """Numbers with as many decimals as the interval's half-width has to its first digit."""
    half = (high - low) / 2
    decimals = max(0, -math.floor(math.log10(half))) if 0 < half < math.inf else 0
    if value == low == high == 0:
        return "0", "0", "0"
    texts = [f"{number:,.{min(decimals, 9)}f}" for number in (value, low, high)]
    # "-0" and "-0.0" are zero.
    value_, low_, high_ = (t.lstrip("-") if float(t.replace(",", "")) == 0 else t for t in texts)
    return value_, low_, high_


def _signed(number: str) -> str:
    return number if number.startswith("-") or number.strip("0.") == "" else f"+{number}"
