"""``<run>/latents/*.csv``: the measures of every epoch, and the molecules of the final frame.

Imports NumPy and this package only.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from records.bounded import open_table
from records.files import write_text
from records.latents import LatentEpoch


@dataclass(frozen=True)
class LatentMetric:
    """One row of ``metrics.csv``: one number about one block at one moment.

    Attributes
    ----------
    epoch : int
        `records.names.UNTRAINED` for the baseline.
    is_best : bool
        Whether this is the best checkpoint, measured after training.
    block : str
        `records.latents.ALL`, an irrep, or `records.latents.ELEMENT_COUNTS`.
    channels : int
        Columns of the block. Intrinsic dimensions of different widths cannot be compared.
    metric : str
        One of `records.latents.METRICS`.
    value, low, high : float
        The number and its 95 % bootstrap interval over molecules.
    num_molecules : int
        Molecules that it was measured on. Numbers of different counts cannot be compared.
    """

    epoch: int
    is_best: bool
    block: str
    channels: int
    metric: str
    value: float
    low: float
    high: float
    num_molecules: int


COLUMNS = tuple(field.name for field in fields(LatentMetric))


def metric_rows(latent: LatentEpoch) -> list[LatentMetric]:
    """List everything that was measured at one moment."""
    return [
        LatentMetric(latent.epoch, latent.is_best, block, latent.channels[block], metric, *estimate)
        for block, metrics in latent.metrics.items()
        for metric, estimate in metrics.items()
    ]


def write_metric_table(path: Path, rows: Iterable[LatentMetric]) -> None:
    """Write ``metrics.csv``.

    Parameters
    ----------
    path : Path
        See `records.latent_paths.METRIC_TABLE`.
    rows : iterable of LatentMetric
    """
    lines = ([*(_cell(getattr(row, name)) for name in COLUMNS)] for row in rows)
    write_text(path, _csv(COLUMNS, lines))


def read_metric_table(path: Path) -> list[LatentMetric]:
    """Read ``metrics.csv``.

    Parameters
    ----------
    path : Path

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged; names file and line.
    """
    rows = []
    with open_table(path) as lines:
        for number, row in enumerate(csv.DictReader(lines), start=2):
            try:
                rows.append(
                    LatentMetric(
                        epoch=int(row["epoch"]),
                        is_best={"True": True, "False": False}[row["is_best"]],
                        block=row["block"],
                        channels=int(row["channels"]),
                        metric=row["metric"],
                        value=float(row["value"]),
                        low=float(row["low"]),
                        high=float(row["high"]),
                        num_molecules=int(row["num_molecules"]),
                    )
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}, line {number} is damaged ({error}): remove it"
                ) from error
    return rows


def molecule_columns(latent: LatentEpoch) -> dict[str, NDArray[Any]]:
    """Collect the numbers of each molecule, as the tables at the end of a run show them.

    Parameters
    ----------
    latent : LatentEpoch

    Returns
    -------
    dict of str to array
        Heading, with the unit, and [g] values.
    """
    unit = latent.molecules.settings.reporting_unit
    return {
        f"target ({unit})": latent.molecules.target,
        f"prediction ({unit})": latent.prediction,
        f"absolute error ({unit})": latent.error,
        f"target without composition ({unit})": latent.composition_free_target,
        "spatial score": latent.spatial_score,
        **{
            f"{block} UMAP {axis + 1}": layout[:, axis]
            for block, layout in latent.layouts.items()
            for axis in (0, 1)
        },
    }


def write_molecule_table(path: Path, latent: LatentEpoch) -> None:
    """Write ``molecules.csv``, for spreadsheets; programs read the frame's ``.npz``.

    Parameters
    ----------
    path : Path
        See `records.latent_paths.MOLECULE_TABLE`.
    latent : LatentEpoch
        The final frame.
    """
    columns = molecule_columns(latent)
    molecules = latent.molecules
    lines = (
        [idx, smiles, *(_cell(float(column[row])) for column in columns.values())]
        for row, (idx, smiles) in enumerate(zip(molecules.idx, molecules.smiles))
    )
    write_text(path, _csv(["idx", "smiles", *columns], lines))


def _cell(value: Any) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)


def _csv(header: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(lines)
    return text.getvalue()
