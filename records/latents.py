"""``<run>/latents/*.npz``: the molecules, the features handed to the worker, and its results.

Each file is one dataclass with one reader and one writer; `records.latent_paths` names them.
Imports NumPy and this package only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from records.arrays import open_arrays
from records.files import replacing
from records.latent_paths import BEST, MOLECULES, Frame, epoch_path, snapshot_path

ALL = "all"
"""Name of the block that holds every irrep's channels."""
ELEMENT_COUNTS = "element_counts"
"""Key of the metrics that element counts alone reach, the network's features unseen."""
METRICS = (
    "knn_r2_target",
    "knn_r2_composition_free",
    "knn_r2_complexity",
    "trustworthiness",
    "intrinsic_dimension",
)
"""What is measured of each block. `ELEMENT_COUNTS` has the first three only."""


class Estimate(NamedTuple):
    """A number with its sampling interval.

    Attributes
    ----------
    value : float
        NaN where it cannot be measured.
    low, high : float
        95 % bootstrap interval over molecules.
    num_molecules : int
        Molecules that the number was measured on.
    """

    value: float
    low: float
    high: float
    num_molecules: int


@dataclass(frozen=True)
class Settings:
    """What stays the same over all epochs of a run.

    Attributes
    ----------
    target : str
        Name of the target.
    unit, reporting_unit : str
        Units of the data and of everything that is reported, e.g. eV and meV.
    reporting_factor : float
        Reporting units per unit.
    irreps : str
        Feature irreps of the network.
    layer : int
        Layer whose features are shown, from 0.
    color_by : str
        ``target``, ``composition_free``, ``error`` or ``spatial_score``.
    n_neighbors : int
        Size of the neighbourhoods of UMAP and of the trustworthiness.
    min_dist : float
        UMAP's option of that name.
    seed : int
        UMAP's seed.
    dpi : int
        Resolution of the pictures.
    rank : int
        0 for a scalar target. Of a vector or tensor (1, 2), norms are recorded and shown.
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
    rank: int = 0

    @property
    def shown_target(self) -> str:
        """What is shown of the target, in words."""
        return f"norm of {self.target}" if self.rank else self.target


@dataclass(frozen=True)
class Molecules:
    """``molecules.npz``: the molecules shown, the same at every epoch.

    Attributes
    ----------
    idx : array
        [g] int64 positions in the data set.
    smiles : array of str
        [g].
    target : array
        [g] float64, reporting units; norms of a vector or tensor.
    elements : array
        [t] int64 atomic numbers, ascending: the columns of `element_counts`.
    element_counts : array
        [g, t] int64 atoms of each element.
    settings : Settings
    """

    idx: NDArray[np.int64]
    smiles: NDArray[np.str_]
    target: NDArray[np.float64]
    elements: NDArray[np.int64]
    element_counts: NDArray[np.int64]
    settings: Settings


@dataclass(frozen=True)
class Snapshot:
    """``pending_XXX.npz``: what the training process hands to the worker at one moment.

    Attributes
    ----------
    epoch : int
        Epoch after which the weights were taken; `records.names.UNTRAINED` for the baseline.
    step : int
        Optimizer steps until then.
    blocks : dict of str to array
        For each irrep its [g, c] float32 invariant channels.
    prediction : array
        [g] float64, reporting units; norms of a vector or tensor.
    is_best : bool
        Whether this is the best checkpoint, taken after training.
    error : array or None
        [g] float64, reporting units: absolute error, or norm of the deviation. None in a file of an
        earlier version, whose targets are scalars.
    """

    epoch: int
    step: int
    blocks: dict[str, NDArray[np.float32]]
    prediction: NDArray[np.float64]
    is_best: bool = False
    error: NDArray[np.float64] | None = None

    @property
    def frame(self) -> Frame:
        """Key of the files that it is kept in."""
        return BEST if self.is_best else self.epoch


@dataclass(frozen=True)
class LatentEpoch:
    """``epoch_XXX.npz`` or ``best.npz``: layouts and measures of one moment.

    Attributes
    ----------
    epoch, step : int
        As in `Snapshot`.
    molecules : Molecules
    prediction, error : array
        [g] float64, reporting units; the error is absolute. Norms of a vector or tensor, and of
        its deviation.
    composition_free_target : array
        [g] float64, reporting units: the target minus its least-squares fit on element counts.
    spatial_score : array
        [g] float64, NaN where a molecule has none.
    layouts : dict of str to array
        For `ALL` and each irrep the [g, 2] float32 layout; NaN where there is none.
    channels : dict of str to int
        Number of columns of each block, and of `ELEMENT_COUNTS`.
    metrics : dict of str to dict of str to Estimate
        Block or `ELEMENT_COUNTS`, then metric.
    problems : dict of str to str
        Blocks without a layout, and why.
    is_best : bool
        As in `Snapshot`.
    """

    epoch: int
    step: int
    molecules: Molecules
    prediction: NDArray[np.float64]
    error: NDArray[np.float64]
    composition_free_target: NDArray[np.float64]
    spatial_score: NDArray[np.float64]
    layouts: dict[str, NDArray[np.float32]]
    channels: dict[str, int]
    metrics: dict[str, dict[str, Estimate]]
    problems: dict[str, str]
    is_best: bool = False

    @property
    def frame(self) -> Frame:
        """Key of the files that it is kept in."""
        return BEST if self.is_best else self.epoch


def write_molecules(directory: Path, molecules: Molecules) -> None:
    """Write ``molecules.npz``.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.
    molecules : Molecules
    """
    _write(directory / MOLECULES, _molecule_arrays(molecules))


def read_molecules(directory: Path) -> Molecules:
    """Read ``molecules.npz``.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If it is damaged.
    """
    with _reading(directory / MOLECULES) as arrays:
        return _molecules(arrays)


def write_snapshot(directory: Path, snapshot: Snapshot) -> None:
    """Write a snapshot for the worker to lay out.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.
    snapshot : Snapshot
    """
    arrays = {f"block_{name}": block for name, block in snapshot.blocks.items()}
    _write(
        snapshot_path(directory, snapshot.frame),
        {
            "epoch": np.array(snapshot.epoch),
            "step": np.array(snapshot.step),
            "is_best": np.array(snapshot.is_best),
            "prediction": snapshot.prediction,
            **({} if snapshot.error is None else {"error": snapshot.error}),
            **arrays,
        },
        compress=False,  # training waits while this file is written
    )


def read_snapshot(directory: Path, frame: Frame) -> Snapshot:
    """Read a snapshot.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.
    frame : int or "best"

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged.
    """
    with _reading(snapshot_path(directory, frame)) as arrays:
        return Snapshot(
            epoch=int(arrays["epoch"]),
            step=int(arrays["step"]),
            blocks=_with_prefix(arrays, "block_"),
            prediction=arrays["prediction"],
            is_best=bool(arrays["is_best"]),
            error=arrays.get("error"),
        )


def write_epoch(directory: Path, latent: LatentEpoch) -> None:
    """Write layouts and measures.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.
    latent : LatentEpoch
    """
    layouts = {f"layout_{name}": layout for name, layout in latent.layouts.items()}
    as_json = {
        "channels": latent.channels,
        "metrics": latent.metrics,
        "problems": latent.problems,
    }
    _write(
        epoch_path(directory, latent.frame),
        {
            "epoch": np.array(latent.epoch),
            "step": np.array(latent.step),
            "is_best": np.array(latent.is_best),
            "prediction": latent.prediction,
            "error": latent.error,
            "composition_free_target": latent.composition_free_target,
            "spatial_score": latent.spatial_score,
            **layouts,
            **{name: np.array(json.dumps(value)) for name, value in as_json.items()},
            **_molecule_arrays(latent.molecules),
        },
    )


def read_epoch(path: Path) -> LatentEpoch:
    """Read layouts and measures.

    Parameters
    ----------
    path : Path
        See `records.latent_paths.epoch_path`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is damaged.
    """
    with _reading(path) as arrays:
        return LatentEpoch(
            epoch=int(arrays["epoch"]),
            step=int(arrays["step"]),
            molecules=_molecules(arrays),
            prediction=arrays["prediction"],
            error=arrays["error"],
            composition_free_target=arrays["composition_free_target"],
            spatial_score=arrays["spatial_score"],
            layouts=_with_prefix(arrays, "layout_"),
            channels=json.loads(str(arrays["channels"])),
            metrics={
                block: {name: Estimate(*numbers) for name, numbers in metrics.items()}
                for block, metrics in json.loads(str(arrays["metrics"])).items()
            },
            problems=json.loads(str(arrays["problems"])),
            is_best=bool(arrays["is_best"]),
        )


def _molecule_arrays(molecules: Molecules) -> dict[str, NDArray[Any]]:
    return {
        "idx": molecules.idx,
        "smiles": molecules.smiles,
        "target": molecules.target,
        "elements": molecules.elements,
        "element_counts": molecules.element_counts,
        "settings": np.array(json.dumps(asdict(molecules.settings))),
    }


def _molecules(arrays: Mapping[str, Any]) -> Molecules:
    return Molecules(
        idx=arrays["idx"],
        smiles=arrays["smiles"],
        target=arrays["target"],
        elements=arrays["elements"],
        element_counts=arrays["element_counts"],
        settings=Settings(**json.loads(str(arrays["settings"]))),
    )


def _with_prefix(arrays: Mapping[str, Any], prefix: str) -> dict[str, NDArray[np.float32]]:
    return {name.removeprefix(prefix): arrays[name] for name in arrays if name.startswith(prefix)}


@contextmanager
def _reading(path: Path) -> Iterator[Mapping[str, Any]]:
    """Open an archive; whatever is wrong with its content is a ValueError that names the file."""
    try:
        with open_arrays(path) as arrays:
            yield arrays
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): remove it") from error


def _write(path: Path, arrays: Mapping[str, NDArray[Any]], compress: bool = True) -> None:
    save = np.savez_compressed if compress else np.savez
    with replacing(path) as temporary, temporary.open("wb") as file:
        save(file, allow_pickle=False, **arrays)
