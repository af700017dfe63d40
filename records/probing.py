"""``probe.csv`` and ``linear_probes.csv``: which irreps a model uses, and what they tell.

Imports the standard library and this package only.
"""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, cast, get_args

from records.bounded import open_table
from records.files import write_text
from records.utilization import ROW_COLUMNS, Utilization, flat_row, read_row

PROBE = "probe.csv"
LINEAR = "linear_probes.csv"
Quantity = Literal["error", "shift"]
"""What grows when a block is taken away: the error, or the distance from the intact prediction."""
SHARED = ("model", "data", "quantity", "target", "unit", "scale", "num_molecules")
BASELINE = "element counts"
"""Features of a scalar's baseline."""
VECTOR_BASELINE = "a charge per element"
"""Features of a vector's baseline: the dipole of each element's atoms."""
ALL_DEGREES = "all degrees"


@dataclass(frozen=True)
class Probing:
    """What a model's blocks carry and are worth.

    Attributes
    ----------
    model, data : str
        The model, and the structures.
    quantity : {"error", "shift"}
        What all effects are increases of: the absolute error of labelled molecules, or the
        absolute shift of the prediction.
    target : str
        What is predicted.
    unit : str
        Unit of scale and effects.
    scale : float
        Verdicts are about 1 % of this: the intact model's MAE for errors; for shifts, the mean
        absolute deviation of its predictions from a least-squares fit on element counts.
    utilization : Utilization
        All rows; `Utilization.mae` is `scale`.
    """

    model: str
    data: str
    quantity: Quantity
    target: str
    unit: str
    scale: float
    utilization: Utilization


@dataclass(frozen=True)
class LinearProbe:
    """How well a linear map predicts a property from some features, cross-validated.

    Attributes
    ----------
    target, unit : str
        The property, and the unit of errors.
    features : str
        `BASELINE` or `VECTOR_BASELINE`, ``l = 1`` and so on (with those of the baseline), or
        `ALL_DEGREES`.
    num_features, num_molecules : int
        Numbers of features and molecules.
    mae, mae_low, mae_high : float
        Mean absolute error (of a vector, the mean length of the deviation), 95 % interval.
    r2, r2_low, r2_high : float
        Explained part of the variance, 95 % interval.
    gain, gain_low, gain_high : float
        How much smaller the MAE is than the baseline's; the 95 % intervals of a property hold
        together.
    verdict : str
        ``informative``, ``negligible``, ``harmful`` or ``undecided``, against 1 % of the
        baseline's MAE; empty for the baseline.
    """

    target: str
    unit: str
    features: str
    num_features: int
    num_molecules: int
    mae: float
    mae_low: float
    mae_high: float
    r2: float
    r2_low: float
    r2_high: float
    gain: float
    gain_low: float
    gain_high: float
    verdict: str

    @property
    def is_baseline(self) -> bool:
        """Whether nothing of the model is used."""
        return self.features in (BASELINE, VECTOR_BASELINE)


def write_probing(path: Path, found: Probing) -> None:
    """Write ``probe.csv``: a line per layer and irrep, then the rows of all layers at once.

    Parameters
    ----------
    path : Path
        Destination, replaced atomically.
    found : Probing
        What was measured.
    """
    shared = {name: getattr(found, name) for name in SHARED if name != "num_molecules"}
    shared["num_molecules"] = found.utilization.num_molecules
    rows = [{**shared, **flat_row(row)} for row in found.utilization.rows]
    write_text(path, _text((*SHARED, *ROW_COLUMNS), rows))


def read_probing(path: Path) -> Probing:
    """Read ``probe.csv``.

    Parameters
    ----------
    path : Path
        Written by `write_probing`.

    Raises
    ------
    ValueError
        If the file is missing or damaged; names file and line.
    """
    records = _read(path, SHARED)
    line, first = records[0]
    rows = []
    try:
        quantity, scale = first["quantity"], float(first["scale"])
        if quantity not in get_args(Quantity):
            raise ValueError(quantity)
        for line, record in records:  # noqa: B007 (the error names the line)
            rows.append(read_row(record))
        utilization = Utilization(rows, scale, int(first["num_molecules"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged in line {line}") from error
    return Probing(
        model=first["model"],
        data=first["data"],
        quantity=cast(Quantity, quantity),
        target=first["target"],
        unit=first["unit"],
        scale=scale,
        utilization=utilization,
    )


def write_linear_probes(path: Path, probes: list[LinearProbe]) -> None:
    """Write ``linear_probes.csv``, replaced atomically."""
    names = tuple(field.name for field in fields(LinearProbe))
    write_text(path, _text(names, [asdict(probe) for probe in probes]))


def read_linear_probes(path: Path) -> list[LinearProbe]:
    """Read ``linear_probes.csv``.

    Raises
    ------
    ValueError
        If the file is missing or damaged; names file and line.
    """
    kinds = {"str": str, "int": int, "float": float}
    known = {field.name: kinds[str(field.type)] for field in fields(LinearProbe)}
    found = []
    for line, record in _read(path, tuple(known)):
        try:
            found.append(LinearProbe(**{name: kind(record[name]) for name, kind in known.items()}))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged in line {line}") from error
    return found


def _read(path: Path, needed: tuple[str, ...]) -> list[tuple[int, dict[str, str]]]:
    """Read the lines of a CSV file that has at least one, with their numbers."""
    try:
        with open_table(path) as lines:
            reader = csv.DictReader(lines, strict=True)
            found = [(reader.line_num, record) for record in reader]
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: probe.py writes it") from error
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error})") from error
    if not found or not set(needed) <= set(found[0][1]):
        raise ValueError(f"{path} is damaged: it holds no such table")
    return found


def _text(columns: tuple[str, ...], rows: list[dict[str, object]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
