"""W&B's own files of a run: reading which rows they hold, repairing those that a kill has cut off.

W&B's service appends what a process logs to ``wandb/<folder>/run-<id>.wandb``, in the log format of
LevelDB: after a header, blocks of 32 KiB hold records, each in one or more fragments that carry a
CRC-32, a length and a type. ``wandb sync`` uploads such files. When one of them ends inside a
record, or holds none, it leaves that file and all later ones of the run out and still exits with 0.

Imports the standard library, and wandb's own record definitions where a row is decoded.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OFFLINE = "offline-run-"
ONLINE = "run-"
SYNCED = ".synced"
"""Suffix of the marker that ``wandb sync`` leaves beside a file that it has uploaded."""
SET_ASIDE = "set-aside"
"""Folder for what must not be uploaded. ``wandb sync`` does not look that deep."""
_FILE_HEADER = 7
_BLOCK = 32 * 1024
_FRAGMENT = struct.Struct("<IHB")
"""CRC-32 of type and content, length of the content, type."""
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass(frozen=True)
class LoggedRow:
    """One history row of a W&B file.

    Attributes
    ----------
    step : int
        W&B's own count of rows. In an offline file it starts at 0.
    epoch : int or None
        None for a row without the key ``epoch``.
    keys : frozenset of str
        Everything logged in the row, ``epoch`` included.
    """

    step: int
    epoch: int | None
    keys: frozenset[str]


@dataclass(frozen=True)
class WandbFile:
    """What a W&B file holds.

    Attributes
    ----------
    path : Path
        The ``.wandb`` file.
    rows : tuple of LoggedRow
        In the order in which they were logged.
    names_run : bool
        Whether the record that says which run this is has been written. Without it the file cannot
        be uploaded.
    readable_bytes : int
        Length of the file up to the end of its last complete record.
    cut_off : bool
        Whether the file continues after that with the beginning of a record.
    damaged : bool
        Whether a record in the file is not what was written.
    """

    path: Path
    rows: tuple[LoggedRow, ...]
    names_run: bool
    readable_bytes: int
    cut_off: bool
    damaged: bool


def read_wandb_file(path: Path) -> WandbFile:
    """Read a W&B file as far as it is readable.

    Parameters
    ----------
    path : Path
        A ``.wandb`` file of a process that has ended.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from records.wandb_internals import Record

    content = path.read_bytes()
    log = _Log(content)
    rows: list[LoggedRow] = []
    names_run, end, damaged = False, min(_FILE_HEADER, len(content)), False
    for text, record_end in log.records():
        record = Record()
        try:
            record.ParseFromString(text)
        except DecodeError:
            damaged = True
            break
        end = record_end
        names_run = names_run or record.HasField("run")
        if record.HasField("history"):
            rows.append(_row(record.history))
    damaged = damaged or log.damaged
    return WandbFile(path, tuple(rows), names_run, end, end < len(content), damaged)


class _Log:
    """Records of a log in LevelDB's format."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.damaged = False

    def records(self) -> Iterator[tuple[bytes, int]]:
        """Yield each complete record and the offset of its end."""
        fragments: list[bytes] = []
        position = _FILE_HEADER
        while True:
            left_in_block = _BLOCK - position % _BLOCK
            if left_in_block < _FRAGMENT.size:
                position += left_in_block
            start = position + _FRAGMENT.size
            if start > len(self._content):
                return
            checksum, length, kind = _FRAGMENT.unpack(self._content[position:start])
            fragment = self._content[start : start + length]
            if len(fragment) < length:
                return
            if checksum != zlib.crc32(bytes([kind]) + fragment):
                self.damaged = True
                return
            fragments.append(fragment)
            position = start + length
            if kind in (_FULL, _LAST):
                yield b"".join(fragments), position
                fragments = []


def read_log(path: Path) -> Iterator[bytes]:
    """Yield the complete records of a W&B file, up to the first damage.

    Parameters
    ----------
    path : Path
        A ``.wandb`` file of a process that has ended.
    """
    for text, _ in _Log(path.read_bytes()).records():
        yield text


def write_log(path: Path, original: Path, texts: Iterable[bytes]) -> None:
    """Write a W&B file.

    Parameters
    ----------
    path : Path
        The new file.
    original : Path
        A W&B file whose header it shares.
    texts : iterable of bytes
        The records.
    """
    with original.open("rb") as file:
        content = bytearray(file.read(_FILE_HEADER))
    for text in texts:
        begun, left = False, memoryview(text)
        while left or not begun:
            room = _BLOCK - len(content) % _BLOCK
            if room < _FRAGMENT.size:
                content += bytes(room)
                room = _BLOCK
            fragment, left = left[: room - _FRAGMENT.size], left[room - _FRAGMENT.size :]
            kind = (_MIDDLE if left else _LAST) if begun else (_FIRST if left else _FULL)
            checksum = zlib.crc32(bytes([kind]) + fragment)
            content += _FRAGMENT.pack(checksum, len(fragment), kind) + fragment
            begun = True
    path.write_bytes(content)


def _row(history: Any) -> LoggedRow:
    items = {(item.key or item.nested_key[0]): item.value_json for item in history.item}
    epoch = json.loads(items["epoch"]) if "epoch" in items else None
    keys = frozenset(key for key in items if not key.startswith("_"))
    return LoggedRow(history.step.num, None if epoch is None else int(epoch), keys)


def repair_offline_files(folder: Path) -> list[Path]:
    """Make every offline file uploadable: cut an unfinished record off, set unreadable files aside.

    No process may be writing there. Nothing is done to files that are complete.

    Parameters
    ----------
    folder : Path
        The run's ``wandb`` folder.

    Returns
    -------
    list of Path
        Folders that have been set aside, where they are now.
    """
    moved = []
    for file in _files(folder, OFFLINE):
        if file.damaged or not file.names_run:
            moved.append(_set_aside(file.path.parent))
        elif file.cut_off:
            os.truncate(file.path, file.readable_bytes)
    return moved


def set_aside_offline_files(folder: Path, run_id: str) -> list[Path]:
    """Set offline files aside that have not been uploaded, because the rows get there otherwise.

    Parameters
    ----------
    folder : Path
        The run's ``wandb`` folder.
    run_id : str
        W&B's id of the run.

    Returns
    -------
    list of Path
        Folders that have been set aside, where they are now.
    """
    files = sorted(folder.glob(f"{OFFLINE}*/run-{run_id}.wandb"))
    waiting = [file for file in files if not Path(f"{file}{SYNCED}").exists()]
    return [_set_aside(file.parent) for file in waiting]


def _set_aside(run_folder: Path) -> Path:
    target = run_folder.parent / SET_ASIDE / run_folder.name
    target.parent.mkdir(exist_ok=True)
    return run_folder.rename(target)


def cells_in_offline_files(folder: Path, run_id: str) -> dict[int, set[str]]:
    """Collect what a run's offline files hold.

    Parameters
    ----------
    folder : Path
        The run's ``wandb`` folder, after `repair_offline_files`.
    run_id : str
        W&B's id of the run. Another agent may have trained it under another id.

    Returns
    -------
    dict of int to set of str
        Logged keys by epoch.
    """
    return _cells(row for file in _files(folder, OFFLINE, run_id) for row in file.rows)


def cells_on_server(folder: Path, run_id: str, received: int | None) -> dict[int, set[str]] | None:
    """Find out from a run's online files what the server has received.

    W&B sends rows in order, so it has received the first `received` rows of the history.

    Parameters
    ----------
    folder : Path
        The run's ``wandb`` folder.
    run_id : str
        W&B's id of the run.
    received : int or None
        Number of rows on the server (`starting_step` of the continued W&B run); None for as many as
        the files hold.

    Returns
    -------
    dict of int to set of str, or None
        Logged keys by epoch; None if the files do not tell, for example because one was removed or
        because offline files have been uploaded too.
    """
    history: dict[int, LoggedRow] = {}
    for file in _files(folder, ONLINE, run_id):
        if file.rows:
            # What an earlier process logged from here on has not arrived.
            first = file.rows[0].step
            history = {step: row for step, row in history.items() if step < first}
        history.update({row.step: row for row in file.rows})
    if received is None:
        received = max(history, default=-1) + 1
    elif not set(range(received)) <= history.keys():
        return None
    return _cells(row for step, row in history.items() if step < received)


def _files(folder: Path, kind: str, run_id: str = "*") -> Iterator[WandbFile]:
    """Read a run's files in the order in which they were begun, which their folders' names tell."""
    for path in sorted(folder.glob(f"{kind}*/run-{run_id}.wandb")):
        yield read_wandb_file(path)


def _cells(rows: Iterable[LoggedRow]) -> dict[int, set[str]]:
    cells: dict[int, set[str]] = {}
    for row in rows:
        if row.epoch is not None:
            cells.setdefault(row.epoch, set()).update(row.keys)
    return cells
