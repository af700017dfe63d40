"""Targets that are computed by GFN2-xTB for the molecules that are asked for, and kept.

Results lie below the folder of the prepared data, in files of up to `CHUNK` molecules, each with a
checksum. Each file is moved into place once it is complete, so that a computation that was stopped
goes on where it ended. Imports NumPy, torch, tqdm, `structures.array_file` and this package.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from qm9.cache import PreparedData
from qm9.single_point import METHOD, Molecule, Moments, compute_moments, start_worker
from structures.array_file import (
    CacheDamagedError,
    CacheOutdatedError,
    default_cache_dir,
    locked_folder,
    read_arrays,
    write_arrays,
)

FORMAT_VERSION = 1
"""Increased whenever the meaning of a number changes, so that older files are not read."""
PACKAGE = "tblite"
REQUIREMENTS = "requirements-xtb.txt"
CHUNK = 500
"""Molecules per file, and per task of a worker process: seconds of work."""
FOLDER = f"xtb-{FORMAT_VERSION}"
LOCK_NAME = "xtb.lock"
_MAGIC = b"IRREPSCOPE-XTB\n\0"


@dataclass(frozen=True)
class XtbResults:
    """Results for some molecules of the data set.

    Attributes
    ----------
    rows : array
        [m] int64 rows of the data set, ascending.
    moments : Moments
        In the same order.
    """

    rows: NDArray[np.int64]
    moments: Moments

    @property
    def failed(self) -> NDArray[np.int64]:
        """Rows of the molecules whose SCF did not converge, int64."""
        return self.rows[np.isnan(self.moments.energy)]

    def forces_of_all(self, data: PreparedData) -> Tensor:
        """Spread the forces over the atoms of all molecules, NaN where there are none.

        Parameters
        ----------
        data : PreparedData
            All molecules.

        Returns
        -------
        Tensor
            [n, 3] float32, eV / angstrom.
        """
        forces = torch.full((len(data.z), 3), torch.nan)
        sizes = data.node_offsets.diff()
        has_forces = torch.zeros(len(data), dtype=torch.bool)
        has_forces[self.rows] = True
        forces[torch.repeat_interleave(has_forces, sizes)] = torch.from_numpy(self.moments.forces)
        return forces


def check_installed(target: str) -> None:
    """Refuse a target that cannot be computed here.

    Parameters
    ----------
    target : str
        For the message.

    Raises
    ------
    ValueError
        If `tblite` is not installed.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise ValueError(
            f"target {target} is computed by {METHOD}, which needs the package {PACKAGE}: "
            f"python -m pip install -r {REQUIREMENTS}"
        )


def load_or_compute(
    data: PreparedData,
    rows: NDArray[np.int64],
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    workers: int | None = None,
    progress: bool = True,
) -> XtbResults:
    """Look up the results for some molecules; compute those that are missing.

    Any number of processes may call this at once: one computes, the others wait for it.

    Parameters
    ----------
    data : PreparedData
        All molecules.
    rows : array
        [m] rows of `data`, in any order.
    cache_dir : path, optional
        Folder of the prepared data; by default in the user's cache folder.
    workers : int, optional
        Processes that compute; by default one per core that this process may use.
    progress : bool
        Whether to show a progress bar.

    Raises
    ------
    ValueError
        If the folder cannot be used.
    OSError
        If results cannot be written, e.g. because the disk is full.
    """
    directory = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    folder = directory / FOLDER
    wanted = np.unique(rows)
    stored = _Stored(data, folder)
    if len(stored.missing(wanted)):
        with locked_folder(folder, LOCK_NAME, f"results of {METHOD}") as locked:
            # What a process has left that was killed; without a lock another may be writing.
            for leftover in folder.glob("*.moments.*.tmp") if locked else ():
                leftover.unlink(missing_ok=True)
            stored = _Stored(data, folder)  # another process may have computed in the meantime
            missing = stored.missing(wanted)
            for chunk, moments in _computed(data, missing, workers, progress):
                stored.add(chunk, moments)
    return stored.results(wanted)


class _Stored:
    """The files of a folder."""

    def __init__(self, data: PreparedData, folder: Path) -> None:
        self._data = data
        self._folder = folder
        self._parts: list[tuple[NDArray[np.int64], Moments]] = []
        for path in sorted(folder.glob("*.moments")):
            try:
                self._parts.append(self._read(path))
            except FileNotFoundError:  # removed by another process
                continue
            except (CacheDamagedError, CacheOutdatedError) as error:
                warnings.warn(f"{path} {error}: it is computed anew", stacklevel=4)
                path.unlink(missing_ok=True)

    def _read(self, path: Path) -> tuple[NDArray[np.int64], Moments]:
        header, arrays = read_arrays(path, _MAGIC)
        if header.get("molecules") != len(self._data):
            raise CacheOutdatedError("is of other molecules")
        found = {name: tensor.numpy() for name, tensor in arrays().items()}
        try:
            return found.pop("rows"), Moments(**found)
        except (KeyError, TypeError) as error:
            raise CacheDamagedError("is not a file of this program") from error

    def add(self, rows: NDArray[np.int64], moments: Moments) -> None:
        """Write the results for some molecules."""
        header: dict[str, Any] = {"method": METHOD, "molecules": len(self._data)}
        path = self._folder / f"{rows[0]:06d}-{rows[-1]:06d}-{os.getpid()}.moments"
        write_arrays(path, _MAGIC, header, {"rows": rows, **vars(moments)})
        self._parts.append((rows, moments))

    def missing(self, wanted: NDArray[np.int64]) -> NDArray[np.int64]:
        known = [rows for rows, _ in self._parts]
        return np.setdiff1d(wanted, np.concatenate(known) if known else wanted[:0])

    def results(self, wanted: NDArray[np.int64]) -> XtbResults:
        """Put the parts together, for the molecules that are wanted."""
        rows = np.concatenate([rows for rows, _ in self._parts])
        parts = [moments for _, moments in self._parts]
        _, first = np.unique(rows, return_index=True)
        take = first[np.isin(rows[first], wanted)]
        sizes = np.diff(self._data.node_offsets.numpy())[rows]
        starts = np.cumsum(sizes) - sizes
        atoms = np.concatenate([np.arange(starts[i], starts[i] + sizes[i]) for i in take])
        return XtbResults(
            rows[take],
            Moments(
                energy=np.concatenate([part.energy for part in parts])[take],
                dipole=np.concatenate([part.dipole for part in parts])[take],
                quadrupole=np.concatenate([part.quadrupole for part in parts])[take],
                forces=np.concatenate([part.forces for part in parts])[atoms],
            ),
        )


def _computed(
    data: PreparedData, rows: NDArray[np.int64], workers: int | None, progress: bool
) -> Iterator[tuple[NDArray[np.int64], Moments]]:
    """Compute molecules in worker processes, and yield chunk after chunk as they finish."""
    if not len(rows):
        return
    workers = workers or len(os.sched_getaffinity(0))
    size = min(CHUNK, -(-len(rows) // workers))
    chunks = [rows[start : start + size] for start in range(0, len(rows), size)]
    # Spawned: a forked process would inherit torch's threads in any state.
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(min(workers, len(chunks)), context, start_worker)
    hidden = None if progress else True  # without a terminal, tqdm shows nothing for None
    try:
        with tqdm(total=len(rows), desc=METHOD, unit=" molecules", disable=hidden) as bar:
            tasks = {
                executor.submit(compute_moments, _molecules(data, chunk)): chunk for chunk in chunks
            }
            for task in as_completed(tasks):
                yield tasks[task], task.result()
                bar.update(len(tasks[task]))
    finally:
        executor.shutdown(cancel_futures=True)


def _molecules(data: PreparedData, rows: Sequence[int] | NDArray[np.int64]) -> list[Molecule]:
    z, pos, offsets = data.z.numpy(), data.pos.numpy(), data.node_offsets.numpy()
    spans = [slice(offsets[row], offsets[row + 1]) for row in rows]
    return [(z[span].astype(np.int64), pos[span]) for span in spans]
