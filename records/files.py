"""Writing files whole or not at all.

Imports the standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Error numbers of a full or read-only disk, an exceeded quota and a limit on file sizes."""


class CannotWriteError(OSError):
    """The disk has no room for a file; the message names the file and says what to do."""

    def __str__(self) -> str:
        return str(self.strerror)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` that takes its place when the block succeeds.

    Parameters
    ----------
    path : Path
        Destination; its directory is created if needed.

    Yields
    ------
    Path
        Where to write. It is removed if the block raises, and `path` stays as it was.

    Raises
    ------
    CannotWriteError
        If the disk is full.
    OSError
        If the directory cannot be created or written to for another reason.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        temporary.chmod(0o644)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise CannotWriteError(
            error.errno,
            f"cannot write {path} ({os.strerror(error.errno)}): free some space there, then give "
            "the same command again",
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def remove_leftovers(directory: Path) -> None:
    """Remove the temporary files of `replacing` that killed processes have left.

    Parameters
    ----------
    directory : Path
        Searched recursively. No other process may be writing there.
    """
    for leftover in directory.rglob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically.

    Parameters
    ----------
    path : Path
        Destination.
    text : str
        Content, written as UTF-8.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write an indented JSON file atomically, with its keys in the given order.

    Parameters
    ----------
    path : Path
        Destination.
    value : Any
        Anything that `json.dumps` accepts.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")
