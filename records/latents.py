"""Files of `LatentUMAP` in ``<run>/latents``: names, and reading and writing them.

What the training process and the worker tell one another lies here too, so this imports NumPy
and `records.files` only.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from records.files import replacing
from records.names import UNTRAINED

ALL = "all"
"""Name of the block that holds every irrep's channels."""
MOLECULES = "molecules.npz"
ANIMATION = "animation.gif"
TABLE = "molecules.csv"
LOG = "worker.log"


@dataclass(frozen=True)
class Settings:
    """What stays the same over all epochs of a run.

    Attributes
    ----------
    target : str
        Name of the target.
    unit, reporting_unit : str
        e.g. eV and meV.
    reporting_factor : float
        Reporting units in one unit.
    irreps : str
        Feature irreps of the network.
    layer : int
        Layer whose features are shown, from 0.
    color_by : str
        ``target``, ``error`` or ``spatial_score``.
    n_neighbors : int
        Of UMAP and of `trustworthiness`.
    min_dist : float
        Of UMAP.
    seed : int
        Of UMAP.
    dpi : int
        Of the pictures.
    """

    target: str
    unit: str
    reporting_unit: str
    reporting_factor: float
    irreps: str
    layer: int
    color_by: str = "target"
    n_neighbors: int = 15
    min_dist: float = 0.1
    seed: int = 0
    dpi: int = 150


@dataclass(frozen=True)
class Molecules:
    """The fixed molecules.

    Attributes
    ----------
    idx : array
        [g] int64 positions in the data set.
    smiles : array of str
        [g].
    target : array
        [g] float64, reporting units.
    settings : Settings
    """

    idx: NDArray[np.int64]
    smiles: NDArray[np.str_]
    target: NDArray[np.float64]
    settings: Settings


@dataclass(frozen=True)
class Snapshot:
    """What the training process hands over at one epoch.

    Attributes
    ----------
    epoch : int
        `UNTRAINED` for the baseline.
    step : int
        Optimizer steps until then.
    blocks : dict of str to array
        For each irrep its [g, c] invariant channels.
    prediction : array
        [g] float64, reporting units.
    """

    epoch: int
    step: int
    blocks: dict[str, NDArray[np.float32]]
    prediction: NDArray[np.float64]


@dataclass(frozen=True)
class LatentEpoch:
    """One epoch's layouts and measures, as kept in ``epoch_XXX.npz``.

    Attributes
    ----------
    epoch, step : int
        As in `Snapshot`.
    molecules : Molecules
    prediction, error : array
        [g] float64, reporting units; the error is absolute.
    spatial_score : array
        [g] float64, NaN where a molecule has none.
    layouts : dict of str to array
        For `ALL` and each irrep the [g, 2] float32 layout; NaN where there is none.
    channels : dict of str to int
        Number of invariant channels of each block.
    metrics : dict of str to dict of str to float
        Block, then metric; NaN where it cannot be measured.
    problems : dict of str to str
        Blocks without a layout, and why.
    """

    epoch: int
    step: int
    molecules: Molecules
    prediction: NDArray[np.float64]
    error: NDArray[np.float64]
    spatial_score: NDArray[np.float64]
    layouts: dict[str, NDArray[np.float32]]
    channels: dict[str, int]
    metrics: dict[str, dict[str, float]]
    problems: dict[str, str]


def epoch_stem(epoch: int) -> str:
    """``epoch_007``; the untrained baseline is ``epoch_-01``, which sorts first."""
    return f"epoch_{epoch:03d}"


def picture_path(directory: Path, epoch: int) -> Path:
    """PNG of one epoch."""
    return directory / f"{epoch_stem(epoch)}.png"


def epoch_path(directory: Path, epoch: int) -> Path:
    """Layouts and measures of one epoch."""
    return directory / f"{epoch_stem(epoch)}.npz"


def snapshot_path(directory: Path, epoch: int) -> Path:
    """Features of one epoch that the worker has still to lay out."""
    return directory / f"pending_{epoch:03d}.npz"


def epochs_in(directory: Path, prefix: str = "epoch_", suffix: str = ".npz") -> list[int]:
    """Epochs of which a file is there, ascending.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``; may be missing.
    prefix, suffix : str
        What stands around the number.

    Returns
    -------
    list of int
    """
    files = directory.glob(f"{prefix}*{suffix}")
    numbers = (path.name[len(prefix) : -len(suffix)] for path in files)
    return sorted({int(n) for n in numbers if n.removeprefix("-").isdigit()})


def remove_after(directory: Path, epoch: int | None) -> None:
    """Remove the files of epochs that will be trained again, and half-written ones.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``; may be missing.
    epoch : int or None
        Last epoch to keep; None keeps none.
    """
    last = UNTRAINED - 1 if epoch is None else epoch
    for prefix, suffix in (("epoch_", ".npz"), ("epoch_", ".png"), ("pending_", ".npz")):
        for number in epochs_in(directory, prefix, suffix):
            if number > last:
                (directory / f"{prefix}{number:03d}{suffix}").unlink(missing_ok=True)
    for pattern in (ANIMATION, TABLE, ".*.tmp"):
        for path in directory.glob(pattern):
            path.unlink(missing_ok=True)


def write_molecules(directory: Path, molecules: Molecules) -> None:
    """Write the fixed molecules.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.
    molecules : Molecules
    """
    _write(directory / MOLECULES, _molecule_arrays(molecules))


def read_molecules(directory: Path) -> Molecules:
    """Read what `write_molecules` wrote.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.

    Returns
    -------
    Molecules
    """
    with np.load(directory / MOLECULES) as arrays:
        return _molecules(arrays)


def write_snapshot(directory: Path, snapshot: Snapshot) -> None:
    """Hand an epoch's features over to the worker.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.
    snapshot : Snapshot
    """
    arrays = {f"block_{name}": block for name, block in snapshot.blocks.items()}
    _write(
        snapshot_path(directory, snapshot.epoch),
        {"step": np.array(snapshot.step), "prediction": snapshot.prediction, **arrays},
        compress=False,  # the training process writes this one
    )


def read_snapshot(directory: Path, epoch: int) -> Snapshot:
    """Read what `write_snapshot` wrote.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.
    epoch : int

    Returns
    -------
    Snapshot
    """
    with np.load(snapshot_path(directory, epoch)) as arrays:
        return Snapshot(
            epoch=epoch,
            step=int(arrays["step"]),
            blocks=_with_prefix(arrays, "block_"),
            prediction=arrays["prediction"],
        )


def write_epoch(directory: Path, latent: LatentEpoch) -> None:
    """Write an epoch's layouts and measures.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.
    latent : LatentEpoch
    """
    layouts = {f"layout_{name}": layout for name, layout in latent.layouts.items()}
    text = {
        "channels": latent.channels,
        "metrics": latent.metrics,
        "problems": latent.problems,
    }
    _write(
        epoch_path(directory, latent.epoch),
        {
            "epoch": np.array(latent.epoch),
            "step": np.array(latent.step),
            "prediction": latent.prediction,
            "error": latent.error,
            "spatial_score": latent.spatial_score,
            **layouts,
            **{name: np.array(json.dumps(value)) for name, value in text.items()},
            **_molecule_arrays(latent.molecules),
        },
    )


def read_epoch(path: Path) -> LatentEpoch:
    """Read an ``epoch_XXX.npz``.

    Parameters
    ----------
    path : Path

    Returns
    -------
    LatentEpoch

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged.
    """
    try:
        # A file of our own: NumPy leaves the one it opens open when the archive is damaged.
        with path.open("rb") as file, np.load(file) as arrays:
            return LatentEpoch(
                epoch=int(arrays["epoch"]),
                step=int(arrays["step"]),
                molecules=_molecules(arrays),
                prediction=arrays["prediction"],
                error=arrays["error"],
                spatial_score=arrays["spatial_score"],
                layouts=_with_prefix(arrays, "layout_"),
                channels=json.loads(str(arrays["channels"])),
                metrics=json.loads(str(arrays["metrics"])),
                problems=json.loads(str(arrays["problems"])),
            )
    except (BadZipFile, zlib.error, EOFError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it") from error


def table_columns(latent: LatentEpoch) -> dict[str, NDArray[Any]]:
    """Numbers of each molecule, as the tables at the end of a run show them.

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
        "spatial score": latent.spatial_score,
        **{
            f"{block} UMAP {axis + 1}": layout[:, axis]
            for block, layout in latent.layouts.items()
            for axis in (0, 1)
        },
    }


def _molecule_arrays(molecules: Molecules) -> dict[str, NDArray[Any]]:
    return {
        "idx": molecules.idx,
        "smiles": molecules.smiles,
        "target": molecules.target,
        "settings": np.array(json.dumps(asdict(molecules.settings))),
    }


def _molecules(arrays: Mapping[str, Any]) -> Molecules:
    return Molecules(
        idx=arrays["idx"],
        smiles=arrays["smiles"],
        target=arrays["target"],
        settings=Settings(**json.loads(str(arrays["settings"]))),
    )


def _with_prefix(arrays: Mapping[str, Any], prefix: str) -> dict[str, NDArray[np.float32]]:
    return {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}


def _write(path: Path, arrays: Mapping[str, NDArray[Any]], compress: bool = True) -> None:
    save = np.savez_compressed if compress else np.savez
    with replacing(path) as temporary, temporary.open("wb") as file:
        save(file, allow_pickle=False, **arrays)
