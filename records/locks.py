"""Locks of folders: one process at a time writes there, also where a file system knows no locks.

The operating system releases a lock (flock) when its process ends in any way. Some network file
systems refuse to lock. There a marker file names the process that has the folder: on one machine a
marker of a process that is gone is taken over, and of other machines the user is told.
Imports filelock.
"""

from __future__ import annotations

import errno
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

UNSUPPORTED = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK)
"""What file systems without locks answer."""
MARKER_SUFFIX = ".marker"


class LockHeldError(Exception):
    """Another process has the lock. The text says what to do about it."""


def take_lock(path: Path) -> BaseFileLock:
    """Take a lock without waiting.

    Parameters
    ----------
    path : Path
        File of the lock, in the folder that it protects. It stays when the lock is released:
        removing it while another process waits would let two processes hold the lock.

    Returns
    -------
    BaseFileLock
        Held; call its `release`.

    Raises
    ------
    LockHeldError
        If another process has it.
    OSError
        If the folder cannot be written.
    """
    lock = FileLock(path, fallback_to_soft=False)
    try:
        lock.acquire(timeout=0)
        return lock
    except Timeout as error:
        raise LockHeldError("wait for it") from error
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
    return _take_marker(path.with_name(path.name + MARKER_SUFFIX))


def _take_marker(path: Path) -> BaseFileLock:
    marker = SoftFileLock(path)
    try:
        marker.acquire(timeout=0)
    except Timeout as error:
        raise LockHeldError(
            f"wait for process {_owner(path)}, or remove {path} if it is gone"
        ) from error
    return marker


def _owner(marker: Path) -> str:
    """Name the process that a marker names on its first two lines."""
    try:
        pid, host, *_ = marker.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return "that has it"
    return f"{pid} on {host}"
