"""``decomposition.csv``: the prediction as a sum over which degrees its paths have visited.

Imports the standard library and this package only.
"""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from records.bounded import open_table
from records.files import write_text


@dataclass(frozen=True)
class Term:
    """One term of the sum.

    Attributes
    ----------
    name : str
        ``reference`` for what composition or mean contribute; ``0`` for paths through scalars
        only, ``0,1`` for paths that visit l = 1 as well, and so on.
    sd : float
        Standard deviation over molecules, reporting units.
    share : float
        Covariance with the whole prediction, divided by the prediction's variance; all shares sum
        to 1.
    covariance : float
        Covariance with the target, reporting units squared.
    """

    name: str
    sd: float
    share: float
    covariance: float


@dataclass(frozen=True)
class Decomposition:
    """All terms, of the best checkpoint.

    Attributes
    ----------
    terms : list of Term
        The reference first.
    num_molecules : int
        Molecules that the numbers are made of.
    """

    terms: list[Term]
    num_molecules: int


def write_decomposition(path: Path, decomposition: Decomposition, unit: str) -> None:
    """Write decomposition.csv, to a temporary file that takes its place.

    Parameters
    ----------
    path : Path
        Destination.
    decomposition : Decomposition
        What to write.
    unit : str
        Reporting unit.
    """
    columns = [*(f.name for f in fields(Term)), "unit", "num_molecules"]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    shared = {"unit": unit, "num_molecules": decomposition.num_molecules}
    writer.writerows({**asdict(term), **shared} for term in decomposition.terms)
    write_text(path, text.getvalue())


def read_decomposition(path: Path) -> Decomposition | None:
    """Read decomposition.csv.

    Parameters
    ----------
    path : Path
        May be missing.

    Returns
    -------
    Decomposition or None
        None if there is no such file.

    Raises
    ------
    ValueError
        If a row is damaged; names file and line.
    """
    if not path.exists():
        return None
    terms: list[Term] = []
    count = 0
    with open_table(path) as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            for record in reader:
                numbers = {name: float(record[name]) for name in ("sd", "share", "covariance")}
                terms.append(Term(name=record["name"], **numbers))
                count = int(record["num_molecules"])
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(f"{path} is damaged in line {reader.reader.line_num}") from error
    return Decomposition(terms, count)
