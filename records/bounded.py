"""Reading text that anybody may have damaged or made up: bounded in time and memory.

Whatever is wrong with a file is a `ValueError`. Imports the standard library only.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

LONGEST_LINE = 2**20
"""Characters per line of a table: a hundred times what a run writes."""
LARGEST_TABLE = 2**28
"""Bytes of a table: those of tens of thousands of epochs."""
LARGEST_TEXT = 2**24
"""Bytes of a JSON file."""
DAMAGE = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,  # among them RecursionError and NotImplementedError
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What readers raise for damaged content. An OSError is left out, as it is about the disk."""


def read_text(path: Path, most: int = LARGEST_TEXT) -> str:
    """Read a text file.

    Parameters
    ----------
    path : Path
        UTF-8.
    most : int
        Largest number of bytes.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is larger, is no regular file, or is not UTF-8.
    """
    check_size(path, most)
    with path.open("rb") as file:
        # One more than is allowed, because the file may have grown since it was measured.
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it has more than {most:,} bytes")
    return content.decode("utf-8")


@contextmanager
def open_table(path: Path) -> Iterator[Iterator[str]]:
    """Open a CSV file for `csv.reader`.

    Parameters
    ----------
    path : Path

    Yields
    ------
    iterator of str
        Lines. An undecodable byte becomes a surrogate, so that it is an error of its own line.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ValueError
        If it is no regular file or too large; while it is read, if a line is too long.
    """
    try:
        check_size(path, LARGEST_TABLE)
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}): remove it") from error
    with path.open("rb") as file:
        yield _lines(file)


def _lines(file: IO[bytes]) -> Iterator[str]:
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise ValueError(f"it is longer than {LONGEST_LINE:,} characters")
        yield line.decode("utf-8", errors="surrogateescape")


def check_size(path: Path, most: int) -> None:
    """Check that a file can be read in bounded time, before it is opened.

    Parameters
    ----------
    path : Path
        May be missing.
    most : int
        Largest number of bytes.

    Raises
    ------
    ValueError
        If it is larger, or is no regular file.
    """
    if not path.exists():
        return
    if not path.is_file():  # opening a pipe would wait for a writer
        raise ValueError("it is no regular file")
    size = path.stat().st_size
    if size > most:
        raise ValueError(f"it has {size:,} bytes, more than {most:,}")


def parse_json(text: str) -> Any:
    """Parse JSON.

    Parameters
    ----------
    text : str

    Raises
    ------
    ValueError
        If it is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
