"""Files of structures as flat tensors, read once and kept in a checksummed cache.

Imports NumPy, torch, tqdm and this package only.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from structures import array_file
from structures.array_file import (
    CacheDamagedError,
    CacheOutdatedError,
    default_cache_dir,
    read_arrays,
    write_arrays,
)
from structures.extxyz import Frame, check_periodicity, place, read_frames

FORMAT_VERSION = 1
"""Increased whenever the meaning of a field changes, so that older caches are rebuilt."""
FOLDER = "structures"
_MAGIC = b"IRREPSCOPE-XYZ\n\0"


@dataclass(frozen=True)
class Labels:
    """What is read of a frame beside its atoms.

    Attributes
    ----------
    target : str
        Key of the target, e.g. ``energy``.
    forces : str or None
        Name of the column of forces; None reads none.
    required : bool
        Whether every frame must have the target.
    mixed_periodicity : bool
        Whether some frames may be periodic and others not.
    """

    target: str = "energy"
    forces: str | None = None
    required: bool = True
    mixed_periodicity: bool = False


@dataclass(frozen=True)
class StructureData:
    """Structures as flat tensors; the atoms of one structure are contiguous.

    Attributes
    ----------
    z : Tensor
        [n] uint8 atomic numbers.
    pos : Tensor
        [n, 3] float64, angstrom.
    node_offsets : Tensor
        [g + 1] int64, first node of each structure and the total.
    cells : Tensor
        [g, 3, 3] float64 cell vectors in rows, angstrom.
    periodic : Tensor
        [g, 3] bool.
    energy : Tensor
        [g] float64 target in the file's unit; NaN where it is missing.
    forces : Tensor
        [n, 3] float64; NaN in structures without any, [0, 3] if none has any.
    lines : Tensor
        [g] int64, the line of its file on which each structure begins.
    frames : Tensor
        [g] int64, its number in its file, from 1.
    split : Tensor
        [g] int8, position in (train, val, test); -1 where the file does not say.
    """

    z: Tensor
    pos: Tensor
    node_offsets: Tensor
    cells: Tensor
    periodic: Tensor
    energy: Tensor
    forces: Tensor
    lines: Tensor
    frames: Tensor
    split: Tensor

    def __len__(self) -> int:
        return len(self.energy)


def load_structures(
    path: Path,
    labels: Labels,
    cache_dir: str | os.PathLike[str] | None = None,
    *,
    progress: bool = True,
) -> tuple[StructureData, str]:
    """Load the structures of a file from the cache; read the file first if it has changed.

    Parameters
    ----------
    path : Path
        Extended XYZ.
    labels : Labels
        What to read.
    cache_dir : path, optional
        Folder of the cache; by default in the user's cache folder.
    progress : bool
        Whether to show a progress bar while reading.

    Returns
    -------
    data : StructureData
    digest : str
        SHA-256 of the file.

    Raises
    ------
    ValueError
        If the file or the folder of the cache is unusable.
    OSError
        If the cache cannot be written, e.g. because the disk is full.
    """
    digest = _digest(path)
    folder = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    asked = {"file": digest, **vars(labels)}
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    name = re.sub(r"[^A-Za-z0-9_-]", "_", path.stem)[:40]
    cache = folder / FOLDER / f"{name}-{key}.cache"
    data = array_file.load_or_build(
        cache,
        f"{cache.stem}.lock",
        path.name,
        read=lambda: _read(cache, asked),
        build=lambda: _write(cache, asked, prepare(path, labels, progress=progress)),
    )
    return data, digest


def prepare(path: Path, labels: Labels, *, progress: bool = True) -> StructureData:
    """Read a file.

    Parameters
    ----------
    path : Path
        Extended XYZ.
    labels : Labels
        What to read.
    progress : bool
        Whether to show a progress bar.

    Raises
    ------
    ValueError
        If the file is unusable; names frame and line.
    """
    frames = read_frames(path, labels.target, labels.forces, labels.required)
    # Without a terminal, tqdm shows nothing if `disable` is None.
    hidden = None if progress else True
    kept = list(tqdm(frames, f"Reading {path.name}", unit=" frames", disable=hidden, leave=False))
    if not labels.mixed_periodicity:
        check_periodicity(kept, path)
    return flatten(kept)


def flatten(frames: Sequence[Frame]) -> StructureData:
    """Put frames one after the other.

    Parameters
    ----------
    frames : sequence of Frame
        At least one. Where some have forces and others not, these get NaN.
    """
    sizes = [len(frame.z) for frame in frames]
    have_forces = any(frame.forces is not None for frame in frames)
    forces = [
        np.full(frame.pos.shape, np.nan) if frame.forces is None else frame.forces
        for frame in frames
    ]

    def joined(arrays: Sequence[Any]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays))

    return StructureData(
        z=joined([frame.z for frame in frames]),
        pos=joined([frame.pos for frame in frames]),
        node_offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)),
        cells=joined([frame.cell[None] for frame in frames]),
        periodic=joined([frame.periodic[None] for frame in frames]),
        energy=torch.tensor([frame.energy for frame in frames], dtype=torch.float64),
        forces=joined(forces) if have_forces else torch.zeros(0, 3, dtype=torch.float64),
        lines=torch.tensor([frame.line for frame in frames]),
        frames=torch.arange(1, len(frames) + 1),
        split=torch.tensor([frame.split for frame in frames], dtype=torch.int8),
    )


def join(parts: Sequence[StructureData]) -> StructureData:
    """Put the structures of several files one after the other."""
    if len(parts) == 1:
        return parts[0]
    fields = {
        name: torch.cat([getattr(part, name) for part in parts])
        for name in vars(parts[0])
        if name not in ("node_offsets", "forces")
    }
    sizes = torch.cat([part.node_offsets.diff() for part in parts])
    offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
    forces = torch.cat([part.forces for part in parts])
    has_all = len(forces) == int(offsets[-1])
    return StructureData(**fields, node_offsets=offsets, forces=forces if has_all else forces[:0])


def name_structure(path: Path, data: StructureData, row: int) -> str:
    """Name a structure for a message by its file, frame and line."""
    return place(path, int(data.frames[row]) - 1, int(data.lines[row]))


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}): give a file of extended XYZ"
        ) from error


def _write(path: Path, asked: dict[str, Any], data: StructureData) -> None:
    arrays = {name: tensor.numpy() for name, tensor in vars(data).items()}
    write_arrays(path, _MAGIC, {"format": FORMAT_VERSION, "asked": asked}, arrays)


def _read(path: Path, asked: dict[str, Any]) -> StructureData:
    header, arrays = read_arrays(path, _MAGIC)
    if header.get("format") != FORMAT_VERSION or header.get("asked") != asked:
        raise CacheOutdatedError("was made by another version of this program")
    try:
        return StructureData(**arrays())
    except TypeError as error:
        raise CacheDamagedError("is not a cache of this program") from error
