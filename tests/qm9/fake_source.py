"""A small copy of the real CSV files, for tests that damage or count them."""

from itertools import islice
from pathlib import Path

from qm9.source import PARTS, POLARIZABILITY, Source, find_source

ROWS = 20
"""Rows of each part."""


def copy_source(directory: Path, rows: int = ROWS) -> Source:
    """Copy the first real rows of every part, and their polarizabilities, into `directory`."""
    real = find_source()
    directory.mkdir(parents=True, exist_ok=True)
    names = set()
    for part in PARTS:
        with (real.directory / part).open(encoding="ascii") as file:
            lines = list(islice(file, rows + 1))
        (directory / part).write_text("".join(lines), encoding="ascii")
        names.update(line.split(",", 1)[0] for line in lines[1:])
    with (real.directory / POLARIZABILITY).open(encoding="ascii") as file:
        header, *lines = file
    kept = [line for line in lines if line.split(",", 1)[0] in names]
    (directory / POLARIZABILITY).write_text(header + "".join(kept), encoding="ascii")
    return Source(directory, "test", num_molecules=rows * len(PARTS))


def edit_line(path: Path, line: int, old: str, new: str) -> None:
    """Replace text in one line (counted from 1) of a file; it must be there."""
    lines = path.read_text(encoding="ascii").splitlines(keepends=True)
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    path.write_text("".join(lines), encoding="ascii")
