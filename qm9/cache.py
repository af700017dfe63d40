"""The prepared data set on disk: one checksummed file, built once under a lock.

Imports NumPy, torch, filelock, platformdirs and this package only.
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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import platformdirs
import torch
from filelock import FileLock, Timeout
from numpy.typing import NDArray
from torch import Tensor

from qm9.graphs import bond_edges
from qm9.source import Source, find_source, read_molecules
from qm9.targets import TARGETS, compute_targets

FORMAT_VERSION = 1
"""Increased whenever the meaning of a field changes, so that older caches are rebuilt."""

FILE_NAME = "qm9.cache"
LOCK_NAME = "qm9.lock"
VARIABLE = "IRREPSCOPE_CACHE_DIR"
"""Environment variable that names the folder of the cache."""

_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""What file systems without locks answer."""
_MAGIC = b"IRREPSCOPE-QM9\n\0"
_ALIGNMENT = 64
_DIGEST_SIZE = hashlib.sha256().digest_size
_WAITING_NOTICE = 1.0


class CacheDamagedError(Exception):
    """The cache file is not what was written."""


class CacheOutdatedError(Exception):
    """The cache file was made by another version of this program or of the source."""


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
        [mol, target] float64, in the units of `TARGETS`.
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
        """Get one target in its own unit, [mol] float64."""
        return self.targets[:, list(TARGETS).index(name)].contiguous()


def default_cache_dir() -> Path:
    """Get the folder of the cache that is used if none is given.

    It is in the user's cache folder, unless the environment variable IRREPSCOPE_CACHE_DIR names it.
    """
    return Path(os.environ.get(VARIABLE) or platformdirs.user_cache_dir("irrepscope"))


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
    directory = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    source = source or find_source()
    path = directory / FILE_NAME
    with contextlib.suppress(FileNotFoundError, CacheDamagedError, CacheOutdatedError):
        return read_cache(path, source)
    with _locked(directory) as locked:
        # Another process may have built it in the meantime. Only the process that builds warns.
        try:
            return read_cache(path, source)
        except FileNotFoundError:
            pass
        except (CacheDamagedError, CacheOutdatedError) as error:
            warnings.warn(f"{path} {error}: it is built anew", stacklevel=2)
        if locked:
            _remove_leftovers(path)
        write_cache(path, prepare(source, progress=progress), source)
        return read_cache(path, source)


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
    node_offsets = torch.from_numpy(_offsets(raw.num_atoms))
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
        index=torch.from_numpy(raw.index),
        smiles_text=torch.from_numpy(np.frombuffer(text, np.uint8).copy()),
        smiles_offsets=torch.from_numpy(_offsets(lengths)),
        polarizability=torch.from_numpy(raw.polarizability),
    )


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)])


# ---- the file: magic, length of the header, JSON header, arrays, SHA-256 of all that -----------


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
    arrays = {name: tensor.numpy() for name, tensor in vars(data).items()}
    # Where there are no locks, processes of several machines may write at the same time.
    temporary = path.with_name(f"{path.name}.{secrets.randbits(64)}.tmp")
    try:
        with temporary.open("wb") as file:
            _write(file, _header(arrays, source), arrays)
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


def _header(arrays: dict[str, NDArray[Any]], source: Source) -> bytes:
    header = {
        "format": FORMAT_VERSION,
        "source": source.identity(),
        "checksums": dict(source.checksums or {}),
        "targets": list(TARGETS),
        "arrays": {
            name: {"dtype": array.dtype.str, "shape": list(array.shape)}
            for name, array in arrays.items()
        },
    }
    return json.dumps(header).encode("ascii")


def _write(file: BinaryIO, header: bytes, arrays: dict[str, NDArray[Any]]) -> None:
    digest = hashlib.sha256()

    def put(content: bytes | memoryview) -> None:
        digest.update(content)
        file.write(content)

    put(_MAGIC + len(header).to_bytes(8, "little"))
    put(header)
    position = len(_MAGIC) + 8 + len(header)
    for array in arrays.values():
        padding = -position % _ALIGNMENT
        put(bytes(padding))
        put(np.ascontiguousarray(array).data.cast("B"))
        position += padding + array.nbytes
    file.write(digest.digest())


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
    try:
        content = np.fromfile(path, dtype=np.uint8)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unusable(path.parent, error) from error
    header, position = _verified_header(content)
    identity = source.identity()
    if not isinstance(header, dict) or not {"format", "targets", "source"} <= header.keys():
        raise CacheDamagedError("is not a cache of this program")
    if header["format"] != FORMAT_VERSION or header["targets"] != list(TARGETS):
        raise CacheOutdatedError("was made by another version of this program")
    if header["source"] != identity:
        raise CacheOutdatedError(f"was made from another version of {identity['package']}")
    try:
        return PreparedData(**_arrays(content, header["arrays"], position))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise CacheDamagedError("is not a cache of this program") from error


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


def _verified_header(content: NDArray[np.uint8]) -> tuple[Any, int]:
    """Verify the checksum; return the header and the position where the arrays begin."""
    body, digest = content[:-_DIGEST_SIZE], content[-_DIGEST_SIZE:]
    if hashlib.sha256(body.data).digest() != digest.tobytes():
        raise CacheDamagedError("is damaged (its checksum is wrong)")
    start = len(_MAGIC) + 8
    if body[: len(_MAGIC)].tobytes() != _MAGIC:
        raise CacheDamagedError("is not a cache of this program")
    length = int.from_bytes(body[len(_MAGIC) : start].tobytes(), "little")
    try:
        return json.loads(body[start : start + length].tobytes()), start + length
    except ValueError as error:
        raise CacheDamagedError("is not a cache of this program") from error


# ---- the folder and its lock ------------------------------------------------------------------


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[bool]:
    """Hold the folder's lock, and yield whether there is one; create the folder if it is missing.

    The operating system keeps the lock (flock), and releases it when the process ends in any way.
    Where the file system has no locks, each process prepares the data itself: all write the same,
    and move it into place.
    """
    # Instead of a lock, filelock could take a marker file, but that may outlive its process.
    lock = FileLock(directory / LOCK_NAME, fallback_to_soft=False)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=_WAITING_NOTICE, poll_interval=0.1)
        except Timeout:
            print(f"Another process is preparing QM9 in {directory}: waiting", file=sys.stderr)
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
