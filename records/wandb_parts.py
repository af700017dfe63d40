"""Parts of a W&B run: each process that trains it leaves a file, which may be uploaded in pieces.

`read_parts` reads them all. `copy_part` writes a copy of one that holds only what W&B's server
lacks, so that ``wandb sync`` of the copy repeats nothing.
Imports the standard library, wandb's record definitions and this package only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from records.run_files import is_run_directory
from records.wandb_files import OFFLINE, ONLINE, SET_ASIDE, SYNCED, read_log, write_log

Cells = dict[tuple[str, float], set[str]]
"""Logged keys by what identifies their row, see `row_identity`."""


@dataclass(frozen=True)
class RunPart:
    """What one process has logged of a W&B run.

    Attributes
    ----------
    path : Path
        The ``.wandb`` file.
    by_epoch : bool
        Whether each key is logged once per epoch, as `train.py` does.
    run_id, entity, project : str
        Entity and project are empty where W&B's defaults hold.
    records : tuple
        W&B's records, as far as the file is readable.
    """

    path: Path
    by_epoch: bool
    run_id: str
    entity: str
    project: str
    records: tuple[Any, ...]

    @property
    def synced(self) -> bool:
        """Whether ``wandb sync`` has uploaded all of it."""
        return self._marker.exists()

    @property
    def _marker(self) -> Path:
        return self.path.with_name(self.path.name + SYNCED)

    def mark_synced(self) -> None:
        """Tell ``wandb sync`` and `synced` that all of it is uploaded."""
        self._marker.touch()

    @property
    def exit_code(self) -> int | None:
        """How the process has ended; None if W&B was not told."""
        ends = [record.exit.exit_code for record in self.records if record.HasField("exit")]
        return ends[-1] if ends else None

    @property
    def files(self) -> set[str]:
        """Names of the files of the run that exist on disk."""
        named = {file.path for record in self.records for file in record.files.files}
        return {name for name in named if (self.path.parent / "files" / name).is_file()}

    def missing_rows(self, known: Cells) -> Iterator[Any]:
        """Yield the history records without the cells that are known, and note the cells.

        Parameters
        ----------
        known : dict
            Cells that need not be uploaded; those of this part are added.
        """
        for record in self.records:
            if record.HasField("history"):
                reduced = _without(record, known, self.by_epoch)
                if reduced is not None:
                    yield reduced

    def note_cells(self, known: Cells) -> None:
        """Add this part's cells to those that need not be uploaded."""
        for _ in self.missing_rows(known):
            pass


def read_parts(folder: Path) -> dict[str, list[RunPart]]:
    """Read the parts of all W&B runs in a folder, also those that were set aside.

    Parameters
    ----------
    folder : Path
        A folder named ``wandb``, in which no process is writing.

    Returns
    -------
    dict of str to list of RunPart
        By id of the run, each in the order in which the parts were begun.
    """
    by_epoch = is_run_directory(folder.parent)
    patterns = (f"{OFFLINE}*", f"{ONLINE}*", f"{SET_ASIDE}/{OFFLINE}*")
    paths = [path for pattern in patterns for path in folder.glob(f"{pattern}/run-*.wandb")]
    found: dict[str, list[RunPart]] = {}
    for path in sorted(paths, key=lambda path: path.parent.name.removeprefix("offline-")):
        part = _read_part(path, by_epoch)
        if part is not None:
            found.setdefault(part.run_id, []).append(part)
    return found


def _read_part(path: Path, by_epoch: bool) -> RunPart | None:
    """Read a file; None if it does not say which run it is of, so that nobody can upload it."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    from records.wandb_internals import Record

    records = []
    for text in read_log(path):
        record = Record()
        try:
            record.ParseFromString(text)
        except DecodeError:
            break
        records.append(record)
    runs = [record.run for record in records if record.HasField("run")]
    if not runs:
        return None
    run = runs[0]
    return RunPart(path, by_epoch, run.run_id, run.entity, run.project, tuple(records))


def copy_part(part: RunPart, folder: Path, rows: list[Any], is_last: bool) -> Path:
    """Write a copy of a part that ``wandb sync`` uploads after what the server has.

    Parameters
    ----------
    part : RunPart
    folder : Path
        In which the copy gets a folder of its own.
    rows : list
        History records of the copy, in place of those of the part.
    is_last : bool
        Whether it is the run's last part, whose end is the end of the run.

    Returns
    -------
    Path
        The ``.wandb`` file of the copy. Its files are those of the part.
    """
    from records.wandb_internals import Record

    # An offline run's steps are counted from 0, and W&B adds the number of rows that it has.
    target = folder / f"{OFFLINE}{part.path.parent.name.partition('run-')[2]}" / part.path.name
    target.parent.mkdir(parents=True)
    (target.parent / "files").symlink_to((part.path.parent / "files").resolve())
    ends = ("exit", "preempting", "final", "footer")
    texts: list[bytes] = []
    pending = iter(rows)
    for record in part.records:
        if record.HasField("history") or (
            not is_last and any(record.HasField(name) for name in ends)
        ):
            continue
        copy = Record()
        copy.CopyFrom(record)
        if copy.HasField("run"):
            copy.run.starting_step = 0
            copy.run.resume = True
        if record.HasField("exit"):  # rows after the end would be left out
            texts += _numbered(pending)
        texts.append(copy.SerializeToString())
    texts += _numbered(pending)
    write_log(target, part.path, texts)
    return target


def _numbered(rows: Iterator[Any]) -> Iterator[bytes]:
    for step, row in enumerate(rows):
        row.history.step.num = step
        for item in row.history.item:
            if _name(item) == "_step":
                item.value_json = str(step)
        yield row.SerializeToString()


def _without(record: Any, known: Cells, by_epoch: bool) -> Any | None:
    """Copy a history record without known cells; None if no cell is left."""
    values = {_name(item): item.value_json for item in record.history.item}
    has = known.setdefault(row_identity(_numbers(values), by_epoch), set())
    new = {name for name in values if name != "epoch" and name[0] != "_" and name not in has}
    if not new:
        return None
    has |= new
    copy = type(record)()
    copy.CopyFrom(record)
    del copy.history.item[:]
    for item in record.history.item:
        if _name(item) in new or _name(item) == "epoch" or _name(item)[0] == "_":
            copy.history.item.append(item)
    return copy


def _name(item: Any) -> str:
    return str(item.key or item.nested_key[0])


def _numbers(values: Mapping[str, str]) -> dict[str, Any]:
    return {name: json.loads(values[name]) for name in ("epoch", "_timestamp") if name in values}


def row_identity(row: Mapping[str, Any], by_epoch: bool) -> tuple[str, float]:
    """Tell which row of a run's history this is, wherever it was read.

    Parameters
    ----------
    row : mapping
        Values by key.
    by_epoch : bool
        Whether an epoch's numbers are the same in whichever row they are. Otherwise the time at
        which it was logged identifies a row.
    """
    if by_epoch and row.get("epoch") is not None:
        return "epoch", float(row["epoch"])
    return "time", float(row.get("_timestamp") or 0.0)


def cells_of_rows(rows: Iterator[Mapping[str, Any]], by_epoch: bool) -> Cells:
    """Collect the cells of history rows as W&B's server gives them.

    Parameters
    ----------
    rows : iterator of mapping
        Values by key. The server may give a picture's fields as keys of their own, with dots.
    by_epoch : bool
        As in `row_identity`.
    """
    cells: Cells = {}
    for row in rows:
        names = {name for name, value in row.items() if value is not None and name != "epoch"}
        cells.setdefault(row_identity(row, by_epoch), set()).update(
            names, (name.partition(".")[0] for name in names)
        )
    return cells
