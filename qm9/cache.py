"""The prepared data set on disk: one checksummed file, built once under a lock.

Imports NumPy, torch, `structures.array_file` and this package only.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qm9.graphs import bond_edges
from qm9.source import Source, find_source, read_molecules
from qm9.targets import CHARGE_DIPOLE, SCALARS, compute_targets
from qm9.tensors import charge_dipoles
from structures import array_file
from structures.array_file import (
    CacheDamagedError,
    CacheOutdatedError,
    default_cache_dir,
    read_arrays,
    write_arrays,
)

FORMAT_VERSION = 2
"""Increased whenever the meaning of a field changes, so that older caches are rebuilt."""

FILE_NAME = f"qm9-{FORMAT_VERSION}.cache"
"""With the version, so that two versions of this program do not rebuild each other's cache."""
LOCK_NAME = "qm9.lock"
_MAGIC = b"IRREPSCOPE-QM9\n\0"


@dataclass(frozen=True)
class PreparedData:
    """All molecules as flat tensors; the atoms and edges of one molecule are contiguous.

    Attributes
    ----------
    z : Tensor
        [n] uint8, atomic numbers.
    pos : Tensor
        [n, 3] float64, angstrom.
    node_offsets : Tensor
        [mol + 1] int64, first node of each molecule and the total.
    bonds : Tensor
        [2, e] int8, directed chemical bonds, row 0 source j and row 1 target i, both counted within
        their molecule; sorted by target, then source.
    bond_offsets : Tensor
        [mol + 1] int64, first bond of each molecule and the total.
    targets : Tensor
        [mol, target] float64, in the order and the units of `qm9.targets.SCALARS`.
    charge_dipole : Tensor
        [mol, 3] float64, dipole moment of the Mulliken charges in D.
    index : Tensor
        [mol] int32, QM9's own 1-based index.
    smiles_text, smiles_offsets : Tensor
        [characters] uint8 and [mol + 1] int64; see `smiles`.
    polarizability : Tensor
        [mol, 6] float64, xx xy yy xz yz zz in a0^3, in another frame than `pos`.
    """

    z: Tensor
    pos: Tensor
    node_offsets: Tensor
    bonds: Tensor
    bond_offsets: Tensor
    targets: Tensor
    charge_dipole: Tensor
    index: Tensor
    smiles_text: Tensor
    smiles_offsets: Tensor
    polarizability: Tensor

    def __len__(self) -> int:
        return len(self.index)

    def smiles(self, row: int) -> str:
        """Look up the SMILES of the molecule in a row."""
        start, stop = self.smiles_offsets[row : row + 2].tolist()
        return self.smiles_text[start:stop].numpy().tobytes().decode("ascii")

    def target(self, name: str) -> Tensor:
        """Get one target in its own unit, [mol] float64, or [mol, 3] for ``charge_dipole``."""
        if name == CHARGE_DIPOLE.name:
            return self.charge_dipole
        return self.targets[:, list(SCALARS).index(name)].contiguous()


def cache_folder(cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Find the folder of the cache.

    Parameters
    ----------
    cache_dir : path, optional
        As given by the user; by default it is in the user's cache folder.
    """
    return Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()


def load_or_build(
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    source: Source | None = None,
    progress: bool = True,
) -> PreparedData:
    """Load the prepared data set; build it first if there is none, or none that can be used.

    Any number of processes may call this at once: one builds, the others wait for it. A process
    that dies while it builds leaves no lock, because the operating system releases it, and no
    broken file, because the file is moved into place once it is complete.

    Parameters
    ----------
    cache_dir : path, optional
        Folder of the cache; by default in the user's cache folder.
    source : Source, optional
        The CSV files; by default those that are installed.
    progress : bool
        Whether to show a progress bar while building.

    Raises
    ------
    ValueError
        If the folder cannot be used, or the source is missing or damaged.
    OSError
        If the cache cannot be written, e.g. because the disk is full.
    """
    source = source or find_source()
    path = cache_folder(cache_dir) / FILE_NAME
    return array_file.load_or_build(
        path,
        LOCK_NAME,
        "QM9",
        read=lambda: read_cache(path, source),
        build=lambda: write_cache(path, prepare(source, progress=progress), source),
    )


def prepare(source: Source, *, progress: bool = True) -> PreparedData:
    """Read the CSV files and compute everything that the cache holds.

    Parameters
    ----------
    source : Source
        The CSV files.
    progress : bool
        Whether to show a progress bar.

    Raises
    ------
    ValueError
        If a file is missing or damaged; names file and row.
    """
    raw = read_molecules(source, progress=progress)
    offsets = _offsets(raw.num_atoms)
    node_offsets = torch.from_numpy(offsets)
    z, pos = torch.from_numpy(raw.z.copy()), torch.from_numpy(raw.pos)
    bonds, bond_offsets = bond_edges(pos, z, node_offsets)
    targets = compute_targets(raw.properties, raw.polarizability, raw.composition)
    text = "".join(raw.smiles).encode("ascii")
    lengths = np.array([len(smiles) for smiles in raw.smiles])
    return PreparedData(
        z=z,
        pos=pos,
        node_offsets=node_offsets,
        bonds=bonds,
        bond_offsets=bond_offsets,
        targets=torch.from_numpy(targets),
        charge_dipole=torch.from_numpy(charge_dipoles(raw.charges, raw.pos, offsets)),
        index=torch.from_numpy(raw.index),
        smiles_text=torch.from_numpy(np.frombuffer(text, np.uint8).copy()),
        smiles_offsets=torch.from_numpy(_offsets(lengths)),
        polarizability=torch.from_numpy(raw.polarizability),
    )


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)])


def write_cache(path: Path, data: PreparedData, source: Source) -> None:
    """Write the cache to a temporary file and move it into place.

    Parameters
    ----------
    path : Path
        The cache file.
    data : PreparedData
        What it is to hold.
    source : Source
        The CSV files that `data` was made from.

    Raises
    ------
    OSError
        If it cannot be written; a file that was at `path` before is unchanged.
    """
    header: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "source": source.identity(),
        "checksums": dict(source.checksums or {}),
        "targets": list(SCALARS),
    }
    arrays = {name: tensor.numpy() for name, tensor in vars(data).items()}
    write_arrays(path, _MAGIC, header, arrays)


def read_cache(path: Path, source: Source) -> PreparedData:
    """Read the cache into memory and verify its checksum.

    Parameters
    ----------
    path : Path
        The cache file.
    source : Source
        The CSV files that the cache must have been made from.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CacheDamagedError, CacheOutdatedError
        If it has to be built anew.
    ValueError
        If it cannot be opened.
    """
    header, arrays = read_arrays(path, _MAGIC)
    identity = source.identity()
    if not {"format", "targets", "source"} <= header.keys():
        raise CacheDamagedError("is not a cache of this program")
    if header["format"] != FORMAT_VERSION or header["targets"] != list(SCALARS):
        raise CacheOutdatedError("was made by another version of this program")
    if header["source"] != identity:
        raise CacheOutdatedError(f"was made from another version of {identity['package']}")
    try:
        return PreparedData(**arrays())
    except TypeError as error:
        raise CacheDamagedError("is not a cache of this program") from error
