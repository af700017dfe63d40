"""Writing files whole or not at all.

Imports the standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Error numbers of a full or read-only disk, an exceeded quota and a limit on file sizes."""
_TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")
"""Names of the temporary files of `replacing`."""


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
        Destination; its directory is created if needed. A new file gets the mode that the umask
        allows.

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
        candidate = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        # Not by `tempfile`, whose files are private: the umask decides who may read this one.
        os.close(os.open(candidate, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        temporary = candidate
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


def shown(path: Path) -> str:
    """Write a path relative to the working directory, if it is below it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def is_leftover_of(pattern: str, name: str) -> bool:
    """Return whether `replacing` has made a temporary file for a file.

    Parameters
    ----------
    pattern : str
        Name of the file, or a pattern as in `fnmatch`.
    name : str
        Name of what may be its temporary file.
    """
    found = _TEMPORARY.fullmatch(name)
    return found is not None and fnmatchcase(found[1], pattern)


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
