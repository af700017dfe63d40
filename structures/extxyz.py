"""Reading structures from extended XYZ files, with errors that name file, frame and line.

Imports NumPy and ASE only.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

MAX_ATOMS = 20_000
"""Largest structure that is read. Its edges, not its atoms, fill the memory of a network."""
MAX_LINE = 1 << 20
"""Longest line in bytes."""
SPLIT_NAMES = {"train": 0, "val": 1, "valid": 1, "validation": 1, "test": 2}
"""Values of a frame's ``split``, and the part that each stands for."""
NO_SPLIT = -1


@dataclass(frozen=True)
class Frame:
    """One structure of a file.

    Attributes
    ----------
    line : int
        Line of the file on which it begins, from 1.
    z : array
        [n] uint8 atomic numbers.
    pos : array
        [n, 3] float64, angstrom.
    cell : array
        [3, 3] float64 cell vectors in rows, angstrom; zero rows where there are none.
    periodic : array
        [3] bool, along which cell vectors it repeats.
    energy : float
        The target in the file's own unit; NaN if the frame has none.
    forces : array or None
        [n, 3] float64; None if the frame has none.
    split : int
        Position of its part in (train, val, test), or `NO_SPLIT`.
    """

    line: int
    z: NDArray[np.uint8]
    pos: NDArray[np.float64]
    cell: NDArray[np.float64]
    periodic: NDArray[np.bool_]
    energy: float
    forces: NDArray[np.float64] | None
    split: int


def place(path: Path, frame: int, line: int) -> str:
    """Name a frame for a message: ``my.xyz, frame 3 (line 17)``; `frame` counts from 0."""
    return f"{path.name}, frame {frame + 1} (line {line})"


def read_frames(path: Path, target: str, forces: str | None, labelled: bool) -> Iterator[Frame]:
    """Read the structures of a file one by one.

    Parameters
    ----------
    path : Path
        Extended XYZ.
    target : str
        Key of the target in a frame's comment line, e.g. ``energy``.
    forces : str, optional
        Name of the forces among a frame's columns, e.g. ``forces``; None reads none.
    labelled : bool
        Whether every frame must have the target.

    Yields
    ------
    Frame

    Raises
    ------
    ValueError
        If the file is missing, empty or damaged, or a frame is unusable. Names frame and line.
    """
    try:
        with path.open("rb") as file:
            count = 0
            for line, text in _cut_frames(file, path):
                where = place(path, count, line)
                yield _checked_frame(_parse(text, where), line, where, target, forces, labelled)
                count += 1
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}): give a file of extended XYZ as --data.path"
        ) from error
    if count == 0:
        raise ValueError(f"{path} is empty: give a file with at least one structure")


# ---- cutting the file into frames -------------------------------------------------------------


def _cut_frames(file: BinaryIO, path: Path) -> Iterator[tuple[int, str]]:
    """Yield each frame's first line number and text; never more than one frame is in memory."""
    line = frame = 0
    while first := _read_line(file, path, line + 1):
        line += 1
        if not first.strip():
            continue
        where = place(path, frame, line)
        count = _atom_count(first, where)
        lines = [first]
        for offset in range(1, count + 2):
            text = _read_line(file, path, line + offset)
            if not text:
                found = "no comment line" if offset == 1 else f"{offset - 2} of its {count} atoms"
                raise ValueError(
                    f"{where} is cut off: the file ends after {found}; copy it once more, or "
                    "remove this frame"
                )
            lines.append(text if text.endswith("\n") else f"{text}\n")
        yield line, "".join(lines)
        line += count + 1
        frame += 1


def _read_line(file: BinaryIO, path: Path, line: int) -> str:
    content = file.readline(MAX_LINE)
    if len(content) == MAX_LINE:
        raise ValueError(f"{path.name}, line {line} is longer than {MAX_LINE:,} bytes: not XYZ")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(
            f"{path.name}, line {line} is no text: give a file of extended XYZ (`ase convert IN "
            "OUT.extxyz` makes one from other formats)"
        ) from None


def _atom_count(text: str, where: str) -> int:
    word = text.strip()
    if not word.isascii() or not word.isdigit():
        raise ValueError(
            f"{where}: a frame must begin with its number of atoms, not with {word[:40]!r}: give a "
            "file of extended XYZ (`ase convert IN OUT.extxyz` makes one from other formats)"
        )
    count = int(word[:12])
    if count == 0:
        raise ValueError(f"{where} has no atoms: remove it")
    if count > MAX_ATOMS:
        raise ValueError(
            f"{where} has {word[:12]} atoms, more than the {MAX_ATOMS:,} that are read: cut "
            "smaller structures out of it"
        )
    return count


def _parse(text: str, where: str) -> Atoms:
    # Late: ASE's readers take 0.3 s to import, which other data need not wait for.
    from ase.io.extxyz import read_xyz

    try:
        atoms: Atoms = next(read_xyz(io.StringIO(text), 0))
    # For damaged text, ASE's reader raises anything from KeyError to StopIteration.
    except Exception as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            f"{where} cannot be read ({type(error).__name__}{': ' if reason else ''}{reason})"
        ) from error
    return atoms


# ---- checking one frame -----------------------------------------------------------------------


def _checked_frame(
    atoms: Atoms, line: int, where: str, target: str, forces: str | None, labelled: bool
) -> Frame:
    pos = np.asarray(atoms.positions, dtype=np.float64)
    z = np.asarray(atoms.numbers)
    _check_atoms(pos, z, where, line)
    cell = np.asarray(atoms.cell.array, dtype=np.float64)
    periodic = np.asarray(atoms.pbc, dtype=np.bool_)
    _check_cell(cell, periodic, where)
    return Frame(
        line=line,
        z=z.astype(np.uint8),
        pos=pos,
        cell=cell,
        periodic=periodic,
        energy=_number(_found(atoms, target), target, where, _keys(atoms.info, atoms), labelled),
        forces=None if forces is None else _forces(atoms, forces, where),
        split=_split(atoms.info.get("split"), where),
    )


def _check_atoms(
    pos: NDArray[np.float64], z: NDArray[np.integer[Any]], where: str, line: int
) -> None:
    finite = np.isfinite(pos).all(axis=1)
    if not finite.all():
        atom = int(np.argmin(finite))
        x = ", ".join(f"{value:g}" for value in pos[atom])
        raise ValueError(
            f"{where}: atom {atom + 1} (line {line + 2 + atom}) has the position ({x}), which is "
            "not finite"
        )
    if not (z > 0).all():
        atom = int(np.argmin(z > 0))
        raise ValueError(
            f"{where}: atom {atom + 1} (line {line + 2 + atom}) is no chemical element (X)"
        )


def _check_cell(cell: NDArray[np.float64], periodic: NDArray[np.bool_], where: str) -> None:
    if not np.isfinite(cell).all():
        raise ValueError(f"{where}: its cell (Lattice) is not finite")
    vectors = cell[periodic]
    if len(vectors) == 0:
        return
    lengths = np.linalg.norm(vectors, axis=1)
    if not lengths.all() or np.linalg.matrix_rank(vectors / lengths[:, None], 1e-6) < len(vectors):
        axes = "".join("TF"[not flag] for flag in periodic)
        raise ValueError(
            f"{where} is periodic (pbc {axes}), but its cell has no volume along the periodic "
            f"directions: {cell.tolist()}; correct its Lattice, or set pbc to F where there is none"
        )


def _found(atoms: Atoms, key: str) -> Any:
    """Look a key up where ASE puts what it knows, and elsewhere."""
    results = atoms.calc.results if atoms.calc is not None else {}
    return atoms.info.get(key, results.get(key))


def _keys(own: Any, atoms: Atoms) -> str:
    results = atoms.calc.results if atoms.calc is not None else {}
    return ", ".join(sorted(map(str, {**own, **results}))) or "none"


def _number(value: Any, key: str, where: str, keys: str, labelled: bool) -> float:
    if value is None:
        if labelled:
            raise ValueError(
                f"{where} has no {key!r}: choose another --data.target; its keys are: {keys}"
            )
        return float("nan")
    try:
        number = float(np.asarray(value, dtype=np.float64).reshape(()))
    except (TypeError, ValueError):
        raise ValueError(
            f"{where}: {key!r} is not one number but {str(value)[:40]!r}: choose another "
            "--data.target"
        ) from None
    if not np.isfinite(number):
        raise ValueError(f"{where}: {key!r} is {number:g}, which is not finite")
    return number


def _forces(atoms: Atoms, key: str, where: str) -> NDArray[np.float64] | None:
    results = atoms.calc.results if atoms.calc is not None else {}
    value = atoms.arrays.get(key, results.get(key))
    if value is None:
        return None
    try:
        forces = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        forces = np.zeros(0)
    if forces.shape != (len(atoms), 3) or not np.isfinite(forces).all():
        raise ValueError(f"{where}: {key!r} is not three finite numbers for every atom")
    return forces


def _split(value: Any, where: str) -> int:
    if value is None:
        return NO_SPLIT
    name = str(value)
    if name not in SPLIT_NAMES:
        raise ValueError(f"{where}: its split is {name[:40]!r}: write train, val or test")
    return SPLIT_NAMES[name]


def check_periodicity(frames: Sequence[Frame], path: Path) -> None:
    """Refuse a file in which some frames are periodic and others not: often a lost ``Lattice``.

    Parameters
    ----------
    frames : sequence of Frame
        Of one file.
    path : Path
        The file.

    Raises
    ------
    ValueError
        Names the first frame that differs from the frames before it.
    """
    for number, frame in enumerate(frames):
        if frame.periodic.any() != frames[0].periodic.any():
            words = ("is not periodic", "is periodic")
            is_periodic = bool(frame.periodic.any())
            raise ValueError(
                f"{place(path, number, frame.line)} {words[is_periodic]}, but the frames before it "
                f"{'are not' if is_periodic else 'are'}: add or remove Lattice and pbc, or allow "
                "this with --data.mixed_periodicity=true"
            )
