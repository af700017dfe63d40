"""``front.csv``: what pruned networks cost and how much their error has grown.

Imports the standard library and this package only.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from records.bounded import open_table
from records.files import write_text

FOLDER = "pruned"
"""Folder of a run, or of several runs' parent, that has a folder per way of pruning."""
FRONT = "front.csv"


@dataclass(frozen=True)
class PrunedPoint:
    """One network on the way from the intact one to the smallest.

    Errors are in the reporting unit, on test molecules. Intervals are 95 % and hold together for
    all points. An increase is relative to the intact network, trained on for as many steps.

    Attributes
    ----------
    number : int
        0 is the intact network as it was trained.
    removed : str
        What it lacks, in words; empty for the intact network.
    layers : str
        Irreps of every layer, e.g. ``8x0e+8x1o | 8x0e``.
    phase : str
        ``intact``, ``irreps``, ``channels`` or ``chosen``.
    steps : int
        Optimizer steps that it was trained on for, as was the intact network it is compared with.
    operations : float
        Multiply-adds per molecule.
    parameters : int
        Trainable parameters.
    memory : float
        Bytes per molecule that a training step keeps for its backward pass.
    inference_rate, training_rate : float
        Molecules per second, relative to the intact network.
    mae, control_mae : float
        Of this network, and of the intact network trained on for as many steps.
    increase, increase_low, increase_high : float
        mae / control_mae - 1, and its interval over molecules.
    seeds_low, seeds_high : float
        Interval of the increase over runs; NaN for a single run.
    runs : int
        Number of runs that the numbers are means of.
    on_front : bool
        Whether no other point has both fewer operations and a smaller increase.
    recommended : bool
        Whether it is the cheapest point whose increase stays below the tolerance.
    checkpoint : str
        File of the first run's network, relative to the folder of ``front.csv``.
    """

    number: int
    removed: str
    layers: str
    phase: str
    steps: int
    operations: float
    parameters: int
    memory: float
    inference_rate: float
    training_rate: float
    mae: float
    control_mae: float
    increase: float
    increase_low: float
    increase_high: float
    seeds_low: float
    seeds_high: float
    runs: int
    on_front: bool
    recommended: bool
    checkpoint: str

    @property
    def low(self) -> float:
        """Lower end of the increase: over runs if there are several, else over molecules."""
        return self.increase_low if math.isnan(self.seeds_low) else self.seeds_low

    @property
    def high(self) -> float:
        """Upper end of the increase: over runs if there are several, else over molecules."""
        return self.increase_high if math.isnan(self.seeds_high) else self.seeds_high


@dataclass(frozen=True)
class PrunedFront:
    """All points of one way of pruning.

    Attributes
    ----------
    points : list of PrunedPoint
        Number 0 first.
    by : str
        How what to remove was chosen.
    tolerance : float
        Largest increase of the MAE that is recommended, relative.
    unit : str
        Reporting unit.
    num_molecules : int
        Test molecules per run.
    of : tuple of str
        Names of the runs.
    """

    points: list[PrunedPoint]
    by: str
    tolerance: float
    unit: str
    num_molecules: int
    of: tuple[str, ...]

    @property
    def recommended(self) -> PrunedPoint | None:
        """The recommended point; None if every removal costs more than the tolerance."""
        return next((point for point in self.points if point.recommended), None)


def sentence(front: PrunedFront) -> str:
    """Say what to leave out, how much faster the network gets, and what it costs.

    Parameters
    ----------
    front : PrunedFront
        All points.

    Returns
    -------
    str
        E.g. ``Leave out 2e from layers 2-4: 1.7 x faster, +0.4 % [-0.3, +1.1] MAE.``, or that
        nothing can be left out within the tolerance.
    """
    best = front.recommended
    if best is None:
        return (
            f"Nothing can be left out: no smaller network is shown to stay within "
            f"{100 * front.tolerance:g} % of the MAE."
        )
    return (
        f"Leave out {best.removed}: {best.training_rate:.1f} × faster training, "
        f"{best.inference_rate:.1f} × faster prediction, {increase_in_words(best)} MAE."
    )


def increase_in_words(point: PrunedPoint) -> str:
    """Write a point's increase and its interval: ``+0.4 % [-0.3, +1.1]``."""
    numbers = (100 * value for value in (point.increase, point.low, point.high))
    increase, low, high = (f"{number:+.1f}".replace("-", "−") for number in numbers)
    return f"{increase} % [{low}, {high}]"


_SHARED = ("by", "tolerance", "unit", "num_molecules", "of")
_TEXTS = ("removed", "layers", "phase", "checkpoint")
_WHOLE = ("number", "steps", "parameters", "runs")
_FLAGS = ("on_front", "recommended")


def write_front(path: Path, front: PrunedFront) -> None:
    """Write front.csv, to a temporary file that takes its place.

    Parameters
    ----------
    path : Path
        Destination.
    front : PrunedFront
        What to write.
    """
    columns = [*(field.name for field in fields(PrunedPoint)), *_SHARED]
    shared = {name: getattr(front, name) for name in _SHARED} | {"of": " ".join(front.of)}
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({**asdict(point), **shared} for point in front.points)
    write_text(path, text.getvalue())


def read_front(path: Path) -> PrunedFront | None:
    """Read front.csv.

    Parameters
    ----------
    path : Path
        May be missing.

    Returns
    -------
    PrunedFront or None
        None if there is no such file, or it has no rows.

    Raises
    ------
    ValueError
        If a row is damaged; names file and line.
    """
    if not path.exists():
        return None
    points: list[PrunedPoint] = []
    shared: tuple[str, float, str, int, tuple[str, ...]] = ("", math.nan, "", 0, ())
    with open_table(path) as lines:
        reader = csv.DictReader(lines, strict=True)
        try:
            for record in reader:
                points.append(_point(record))
                shared = (
                    record["by"],
                    float(record["tolerance"]),
                    record["unit"],
                    int(record["num_molecules"]),
                    tuple(record["of"].split()),
                )
        except (KeyError, TypeError, ValueError, csv.Error) as error:
            raise ValueError(f"{path} is damaged in line {reader.reader.line_num}") from error
    return PrunedFront(points, *shared) if points else None


def read_fronts(folder: Path) -> list[PrunedFront]:
    """Read the fronts of all ways in which a run was pruned.

    Parameters
    ----------
    folder : Path
        Of the run, or of several runs.

    Returns
    -------
    list of PrunedFront
        By name of the way.

    Raises
    ------
    ValueError
        If a file is damaged; names file and line.
    """
    fronts = [read_front(path) for path in sorted((folder / FOLDER).glob(f"*/{FRONT}"))]
    return [front for front in fronts if front is not None]


def _point(record: dict[str, str]) -> PrunedPoint:
    values: dict[str, object] = {}
    for field in fields(PrunedPoint):
        text = record[field.name]
        if field.name in _FLAGS:
            if text not in ("True", "False"):
                raise ValueError(text)
            values[field.name] = text == "True"
        elif field.name in _TEXTS:
            values[field.name] = text
        else:
            values[field.name] = int(text) if field.name in _WHOLE else float(text)
    return PrunedPoint(**values)  # type: ignore[arg-type]
