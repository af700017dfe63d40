"""``utilization.csv``: what every irrep of every layer carries and is worth, epoch by epoch.

Imports the standard library and this package only.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from records.bounded import open_table
from records.files import write_text

Measure = Literal["reliance", "resampled", "refitted", "probe", "missed"]
Verdict = Literal[
    "unreachable",
    "undecided",
    "negligible",
    "harmful",
    "relied on",
    "not repaired",
    "informative",
    "missed",
    "less than the sum",
    "more than the sum",
]
INTERACTION = "interaction"
"""Reliance on two irreps together, minus the reliance on each; in rows of pairs only."""
MEASURES: Mapping[Measure, Verdict] = {
    "reliance": "relied on",
    "resampled": "relied on",
    "refitted": "not repaired",
    "probe": "informative",
    "missed": "missed",
}
"""Measures of an effect on the MAE, each with the verdict on a block whose loss raises the MAE."""
PAIR = "&"
"""Joins the names of two irreps in the row of a pair, as in ``1o&2e``."""
EFFECTS: tuple[str, ...] = (*MEASURES, INTERACTION)
NUMBERS = (
    "power",
    "power_share",
    "effective_channels",
    "contribution",
    "contribution_sd",
)
ROW_COLUMNS = (
    "layer",
    "irrep",
    "channels",
    "reachable",
    *NUMBERS,
    *(f"{name}{end}" for name in EFFECTS for end in ("", "_low", "_high", "_verdict")),
)
"""Columns of one row, as `flat_row` makes and `read_row` reads them."""
COLUMNS = ("epoch", *ROW_COLUMNS, "mae", "unit", "num_molecules")
NAN = float("nan")


@dataclass(frozen=True)
class Effect:
    """Increase of the MAE when a block is taken away, in one sense of taking away.

    Attributes
    ----------
    value, low, high : float
        Increase and its 95 % interval over molecules, simultaneous for all blocks and measures of
        one epoch, reporting units.
    verdict : Verdict
        See `analysis.verdicts.judge`.
    """

    value: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class BlockUtilization:
    """One row: an irrep in one layer or in all, or a pair of irreps in all layers.

    Attributes
    ----------
    layer : str
        ``layer0``, … or `records.names.NETWORK`.
    irrep : str
        e.g. ``1o``; ``1o&2e`` for a pair.
    channels : int
        Multiplicity of the irrep; 0 in a layer that does not have it.
    reachable : bool
        Whether a selection-rule path leads from the block to the output.
    power, power_share, effective_channels : float
        See `analysis.utilization`; NaN in `records.names.NETWORK` rows and where the layer lacks
        the block.
    contribution, contribution_sd : float
        Mean and standard deviation over molecules of what the block contributes to the prediction,
        reporting units; NaN as above.
    effects : dict of str to Effect
        By measure; what was not measured is missing.
    """

    layer: str
    irrep: str
    channels: int
    reachable: bool
    power: float = NAN
    power_share: float = NAN
    effective_channels: float = NAN
    contribution: float = NAN
    contribution_sd: float = NAN
    effects: Mapping[str, Effect] = field(default_factory=dict)


@dataclass(frozen=True)
class Utilization:
    """All rows of one epoch, and the intact network's error on the same molecules.

    Attributes
    ----------
    rows : list of BlockUtilization
        Layer by layer, each irrep of the network once per layer; then the `records.names.NETWORK`
        rows, single irreps first.
    mae : float
        MAE of the intact network, reporting units.
    num_molecules : int
        Number of molecules measured.
    """

    rows: list[BlockUtilization]
    mae: float
    num_molecules: int


class UtilizationTable:
    """Measurements by epoch, kept in a CSV file that is rewritten whole.

    Parameters
    ----------
    path : Path
        The file; read if it exists.
    unit : str
        Unit of the MAE and of all effects.

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
        """Latest epoch measured, `records.names.UNTRAINED` for the baseline alone, or None."""
        return max(self.epochs, default=None)

    def add(self, epoch: int, utilization: Utilization) -> None:
        """Put an epoch in, in place of an earlier measurement of the same, and write the file.

        Parameters
        ----------
        epoch : int
            Epoch, or `records.names.UNTRAINED`.
        utilization : Utilization
            What was measured.
        """
        self.epochs[epoch] = utilization
        write_utilization(self.path, self.epochs, self.unit)

    def drop_after(self, epoch: int) -> None:
        """Forget epochs that a resumed run will train again.

        Parameters
        ----------
        epoch : int
            Last epoch to keep; less than `records.names.UNTRAINED` keeps nothing.
        """
        if any(known > epoch for known in self.epochs):
            self.epochs = {known: u for known, u in self.epochs.items() if known <= epoch}
            write_utilization(self.path, self.epochs, self.unit)


def write_utilization(path: Path, epochs: Mapping[int, Utilization], unit: str) -> None:
    """Write utilization.csv whole, to a temporary file that takes its place.

    Parameters
    ----------
    path : Path
        Destination.
    epochs : mapping of int to Utilization
        By epoch.
    unit : str
        Unit of the MAE and of all effects.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for epoch in sorted(epochs):
        utilization = epochs[epoch]
        shared = {"epoch": epoch, "mae": utilization.mae, "unit": unit}
        shared["num_molecules"] = utilization.num_molecules
        writer.writerows({**flat_row(row), **shared} for row in utilization.rows)
    write_text(path, text.getvalue())


def flat_row(row: BlockUtilization) -> dict[str, str | int | float | bool]:
    """Lay a row out in the columns of utilization.csv; what is NaN or not measured is left out.

    Parameters
    ----------
    row : BlockUtilization
        Row.

    Returns
    -------
    dict
        Column to cell.
    """
    cells: dict[str, str | int | float | bool] = {
        "layer": row.layer,
        "irrep": row.irrep,
        "channels": row.channels,
        "reachable": row.reachable,
    }
    numbers = {name: float(getattr(row, name)) for name in NUMBERS}
    for name, effect in row.effects.items():
        numbers |= {name: effect.value, f"{name}_low": effect.low, f"{name}_high": effect.high}
        cells[f"{name}_verdict"] = effect.verdict
    return {**cells, **{name: value for name, value in numbers.items() if not math.isnan(value)}}


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
    with open_table(path) as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            for record in reader:
                epoch, mae = int(record["epoch"]), float(record["mae"])
                entry = Utilization([], mae, int(record["num_molecules"]))
                epochs.setdefault(epoch, entry).rows.append(read_row(record))
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(f"{path} is damaged in line {reader.reader.line_num}") from error
    return epochs


def read_row(record: Mapping[str, str]) -> BlockUtilization:
    """Read what `flat_row` has laid out.

    Parameters
    ----------
    record : mapping of str to str
        Column to cell.

    Raises
    ------
    KeyError, TypeError, ValueError
        If a cell is missing or unreadable.
    """
    if record["reachable"] not in ("True", "False"):
        raise ValueError(record["reachable"])
    return BlockUtilization(
        layer=record["layer"],
        irrep=record["irrep"],
        channels=int(record["channels"]),
        reachable=record["reachable"] == "True",
        effects={
            name: Effect(
                value=float(record[name] or "nan"),
                low=float(record[f"{name}_low"] or "nan"),
                high=float(record[f"{name}_high"] or "nan"),
                verdict=_read_verdict(record[f"{name}_verdict"]),
            )
            for name in EFFECTS
            if record[f"{name}_verdict"] != ""
        },
        **{name: float(record[name] or "nan") for name in NUMBERS},
    )


def _read_verdict(text: str) -> Verdict:
    if text not in get_args(Verdict):
        raise ValueError(text)
    return cast(Verdict, text)
