"""Files of named arrays with a checksum, built once under a lock and moved into place.

The file: magic, length of the header, JSON header, arrays, SHA-256 of all that. Imports NumPy,
torch, filelock and platformdirs only.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import platformdirs
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

VARIABLE = "IRREPSCOPE_CACHE_DIR"
"""Environment variable that names the folder of the cache."""

MAGIC_SIZE = 16
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""What file systems without locks answer."""
_ALIGNMENT = 64
_DIGEST_SIZE = hashlib.sha256().digest_size
_WAITING_NOTICE = 1.0

Content = TypeVar("Content")


class CacheDamagedError(Exception):
    """The cache file is not what was written."""


class CacheOutdatedError(Exception):
    """The cache file was made by another version of this program or of the source."""


def default_cache_dir() -> Path:
    """Get the folder of the cache that is used if none is given.

    It is in the user's cache folder, unless the environment variable IRREPSCOPE_CACHE_DIR names it.
    """
    return Path(os.environ.get(VARIABLE) or platformdirs.user_cache_dir("irrepscope"))


def load_or_build(
    path: Path, lock_name: str, what: str, read: Callable[[], Content], build: Callable[[], None]
) -> Content:
    """Load a file; build it first if there is none, or none that can be used.

    Any number of processes may call this at once: one builds, the others wait for it. A process
    that dies while it builds leaves no lock, because the operating system releases it, and no
    broken file, because the file is moved into place once it is complete.

    Parameters
    ----------
    path : Path
        The file.
    lock_name : str
        Name of the lock beside it.
    what : str
        What is prepared, for those who wait.
    read : callable
        Reads the file, and raises FileNotFoundError, `CacheDamagedError` or `CacheOutdatedError`
        if it has to be built.
    build : callable
        Builds the file.

    Raises
    ------
    ValueError
        If the folder cannot be used.
    """
    with contextlib.suppress(FileNotFoundError, CacheDamagedError, CacheOutdatedError):
        return read()
    with locked_folder(path.parent, lock_name, what) as locked:
        # Another process may have built it in the meantime. Only the process that builds warns.
        try:
            return read()
        except FileNotFoundError:
            pass
        except (CacheDamagedError, CacheOutdatedError) as error:
            warnings.warn(f"{path} {error}: it is built anew", stacklevel=3)
        if locked:
            _remove_leftovers(path)
        build()
        return read()


def write_arrays(
    path: Path, magic: bytes, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write arrays to a temporary file and move it into place.

    Parameters
    ----------
    path : Path
        Destination.
    magic : bytes
        `MAGIC_SIZE` bytes that name the kind of file.
    header : mapping
        JSON values; the shapes of the arrays are added to it.
    arrays : mapping of str to array
        What the file is to hold.

    Raises
    ------
    OSError
        If it cannot be written; a file that was at `path` before is unchanged.
    """
    forms = {
        name: {"dtype": array.dtype.str, "shape": list(array.shape)}
        for name, array in arrays.items()
    }
    text = json.dumps({**header, "arrays": forms}).encode("ascii")
    # Where there are no locks, processes of several machines may write at the same time.
    temporary = path.with_name(f"{path.name}.{secrets.randbits(64)}.tmp")
    try:
        with temporary.open("wb") as file:
            _write(file, magic, text, arrays)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(
            error.errno or errno.EIO,
            f"cannot write {path} ({reason}): free some space there or choose another folder with "
            "--data.cache_dir",
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes have left; nobody may be writing now."""
    for leftover in path.parent.glob(f"{path.name}.*.tmp"):
        if leftover.name.removeprefix(f"{path.name}.").removesuffix(".tmp").isdigit():
            leftover.unlink(missing_ok=True)


def _write(file: BinaryIO, magic: bytes, header: bytes, arrays: Mapping[str, NDArray[Any]]) -> None:
    digest = hashlib.sha256()

    def put(content: bytes | memoryview) -> None:
        digest.update(content)
        file.write(content)

    put(magic + len(header).to_bytes(8, "little"))
    put(header)
    position = len(magic) + 8 + len(header)
    for array in arrays.values():
        padding = -position % _ALIGNMENT
        put(bytes(padding))
        if array.size:  # a memoryview of an empty array cannot be cast
            put(np.ascontiguousarray(array).data.cast("B"))
        position += padding + array.nbytes
    file.write(digest.digest())


def read_arrays(path: Path, magic: bytes) -> tuple[dict[str, Any], Callable[[], dict[str, Tensor]]]:
    """Read a file into memory and verify its checksum.

    Parameters
    ----------
    path : Path
        The file.
    magic : bytes
        As it was written.

    Returns
    -------
    header : dict
        As it was written.
    arrays : callable
        Cuts out the arrays; raises `CacheDamagedError` if the header does not describe any.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CacheDamagedError
        If it is not what was written.
    ValueError
        If it cannot be opened.
    """
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unusable(path.parent, error) from error
    header, position = _verified_header(content, magic)
    if not isinstance(header, dict):
        raise CacheDamagedError("is not a cache of this program")

    def arrays() -> dict[str, Tensor]:
        try:
            return _arrays(content, header["arrays"], position)
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise CacheDamagedError("is not a cache of this program") from error

    return header, arrays


def _arrays(content: NDArray[np.uint8], forms: dict[str, Any], position: int) -> dict[str, Tensor]:
    """Cut the arrays out of the file; `position` is where the first one begins."""
    tensors = {}
    for name, form in forms.items():
        position += -position % _ALIGNMENT
        dtype, shape = np.dtype(form["dtype"]), tuple(form["shape"])
        size = dtype.itemsize * int(np.prod(shape))
        array = content[position : position + size].view(dtype).reshape(shape)
        tensors[name] = torch.from_numpy(array)
        position += size
    return tensors


def _verified_header(content: NDArray[np.uint8], magic: bytes) -> tuple[Any, int]:
    """Verify the checksum; return the header and the position where the arrays begin."""
    body, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if hashlib.sha256(body.data).digest() != digest.tobytes():
        raise CacheDamagedError("is damaged (its checksum is wrong)")
    start = len(magic) + 8
    if body[: len(magic)].tobytes() != magic:
        raise CacheDamagedError("is not a cache of this program")
    length = int.from_bytes(body[len(magic) : start].tobytes(), "little")
    try:
        return json.loads(body[start : start + length].tobytes()), start + length
    except ValueError as error:
        raise CacheDamagedError("is not a cache of this program") from error


# ---- the folder and its lock ------------------------------------------------------------------


@contextlib.contextmanager
def locked_folder(directory: Path, lock_name: str, what: str) -> Iterator[bool]:
    """Hold the folder's lock, and yield whether there is one; create the folder if it is missing.

    The operating system keeps the lock (flock), and releases it when the process ends in any way.
    Where the file system has no locks, each process prepares the data itself: all write the same,
    and move it into place.
    """
    # Instead of a lock, filelock could take a marker file, but that may outlive its process.
    lock = FileLock(directory / lock_name, fallback_to_soft=False)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=_WAITING_NOTICE, poll_interval=0.1)
        except Timeout:
            print(f"Another process is preparing {what} in {directory}: waiting", file=sys.stderr)
            lock.acquire(poll_interval=0.2)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _unusable(directory, error) from error
    try:
        yield lock.is_locked
    finally:
        lock.release()


def _unusable(directory: Path, error: OSError) -> ValueError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    return ValueError(
        f"the cache folder {directory} cannot be used ({reason}): choose one that can be written "
        "with --data.cache_dir"
    )
