"""Uploading what W&B lacks of runs: after any history of stops and hangs, each row arrives once.

``wandb sync`` uploads whole files, also the rows that the server has. So the server is asked first,
and ``wandb sync`` gets copies without those rows.
Imports wandb, `records` and this package only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import wandb

from records.files import shown
from records.locks import LockHeldError, take_lock
from records.run_files import LOCK, is_run_directory
from records.wandb_files import SYNCED
from records.wandb_internals import API_ERRORS, forget_inherited_service
from records.wandb_parts import Cells, RunPart, cells_of_rows, copy_part, read_parts
from runtime.wandb_server import PROBE_SECONDS, examine_server, has_api_key, server_url

DEPTH = 4
"""How deep below a given folder runs are searched: a sweep's runs, and what was pruned of them."""
TIMEOUT = 60
"""Seconds to wait for the server's answer to one question."""
ENDED = ("finished", "failed", "crashed", "killed", "preempted")
"""What W&B calls runs that have ended."""


class UploadError(Exception):
    """Something was not uploaded. The text says why, and what to do."""


@dataclass(frozen=True)
class ReceivedRun:
    """What W&B's server has of a run.

    Attributes
    ----------
    state : str or None
        None if the server does not know the run.
    cells : dict
        Logged keys by row.
    files : set of str
        Names of uploaded files.
    """

    state: str | None = None
    cells: Cells = field(default_factory=dict)
    files: set[str] = field(default_factory=set)


@dataclass
class Copies:
    """Copies of the parts of one run, to be uploaded.

    Attributes
    ----------
    name : str
        Of the run, for messages.
    parts : list of RunPart
        Those that will be uploaded completely.
    rows : int
        Rows that the server lacks.
    copies : list of Path
        ``.wandb`` files.
    """

    name: str
    parts: list[RunPart]
    rows: int
    copies: list[Path] = field(default_factory=list)

    def settle(self) -> bool:
        """Mark the parts if ``wandb sync`` has uploaded all copies; tell whether it has."""
        done = all(Path(f"{copy}{SYNCED}").exists() for copy in self.copies)
        if done:
            for part in self.parts:
                part.mark_synced()
        return done


def wandb_folders(folder: Path) -> list[Path]:
    """Find W&B's folders of a run, or of all runs below a folder.

    Parameters
    ----------
    folder : Path
        Given by the user.

    Raises
    ------
    ValueError
        If there is none.
    """
    found = [path for depth in range(DEPTH) for path in folder.glob("*/" * depth + "wandb")]
    found = [path for path in found if any(path.glob("*run-*/run-*.wandb"))]
    if not found:
        raise ValueError(f"{folder} holds no files of W&B: give directories of runs")
    return sorted(found)


def check_server() -> None:
    """Ask the server whether it can be used.

    Raises
    ------
    UploadError
        If there is no API key, or the server does not answer as it should.
    ValueError
        If a variable of W&B is unusable.
    """
    if not has_api_key():
        raise UploadError("there is no API key: call `wandb login` first")
    problem = examine_server(PROBE_SECONDS)
    if problem is not None:
        raise UploadError(f"{problem.cause}; nothing was uploaded, try again later")


def upload(folders: Sequence[Path]) -> Iterator[str]:
    """Upload what W&B lacks of the runs in some folders named ``wandb``.

    Parameters
    ----------
    folders : sequence of Path
        From `wandb_folders`.

    Yields
    ------
    str
        One line per run.

    Raises
    ------
    UploadError
        If a run is being trained, or the server has not received everything.
    """
    forget_inherited_service()
    api = wandb.Api(timeout=TIMEOUT)
    left = []
    with ExitStack() as locks, tempfile.TemporaryDirectory() as temporary:
        prepared: list[Copies] = []
        for folder in folders:
            lock = folder.parent / LOCK
            if is_run_directory(folder.parent) or lock.exists():  # other programs lock nothing
                try:
                    locks.callback(take_lock(lock).release)
                except LockHeldError as error:
                    left.append(f"{folder.parent} is in use ({error})")
                    continue
            for parts in read_parts(folder).values():
                target = Path(temporary) / str(len(prepared))
                prepared.append(_prepare(parts, _ask(api, parts[-1]), target))
        output = _synchronize([copy for run in prepared for copy in run.copies])
        for run in prepared:
            if run.settle():
                what = f"uploaded ({run.rows} rows)" if run.copies else "W&B has everything"
                yield f"{run.name}: {what}"
            else:
                left.append(f"{run.name}: {_reason(output)}")
    if left:
        raise UploadError(f"not everything was uploaded, try again later: {'; '.join(left)}")


def _prepare(parts: list[RunPart], received: ReceivedRun, folder: Path) -> Copies:
    """Copy what has to be uploaded of the parts of one run."""
    known = received.cells
    waiting = []
    for part in parts:
        if part.synced:
            part.note_cells(known)
        else:
            waiting.append((part, list(part.missing_rows(known))))
    last = parts[-1]
    lacks_end = not last.synced and last.exit_code is not None and received.state not in ENDED
    lacking = [(part, rows) for part, rows in waiting if rows or part.files - received.files]
    run = Copies(_name(last), [part for part, _ in waiting], sum(len(rows) for _, rows in lacking))
    if lacking or lacks_end:
        # The end of the last part is the end of the run, whatever was uploaded before.
        if not lacking or lacking[-1][0] is not last:
            lacking.append((last, []))
        run.copies = [copy_part(part, folder, rows, part is last) for part, rows in lacking]
    return run


def _name(part: RunPart) -> str:
    """Name a run as the user does: by its directory."""
    path = part.path.resolve()
    folder = next(parent for parent in path.parents if parent.name == "wandb").parent
    return shown(folder)


def _ask(api: wandb.Api, part: RunPart) -> ReceivedRun:
    """Ask the server what it has of a run."""
    entity = part.entity or api.default_entity or ""
    project = part.project or str(api.settings["project"] or "uncategorized")
    try:
        run = api.run(f"{entity}/{project}/{part.run_id}")
        # W&B's client cannot read the history of a run that has none.
        is_empty = run.lastHistoryStep < 0
        if is_empty and (count := getattr(run, "historyLineCount", 0)):
            raise ValueError(f"its index of {count} rows is not ready")
        rows = iter(()) if is_empty else run.scan_history(use_cache=False)
        cells = cells_of_rows(rows, part.by_epoch)
        files = {file.name for file in run.files(per_page=500)}
    except (wandb.Error, ValueError, *API_ERRORS) as error:
        if "could not find" in str(error).lower():
            return ReceivedRun()
        text = " ".join(str(error).split())
        raise UploadError(
            f"{server_url()} does not tell what it has ({text}); try again later"
        ) from error
    return ReceivedRun(run.state, cells, files)


def _synchronize(copies: list[Path]) -> str:
    """Call ``wandb sync``; return what it has printed."""
    if not copies:
        return ""
    command = [sys.executable, "-m", "wandb", "sync", *(str(copy.parent) for copy in copies)]
    # The mode and the id are those of training.
    training = ("WANDB_MODE", "WANDB_RUN_ID", "WANDB_SERVICE", "WANDB_RESUME", "WANDB_SWEEP_ID")
    environment: dict[str, Any] = {k: v for k, v in os.environ.items() if k not in training}
    done = subprocess.run(
        command,
        env=environment,
        cwd=copies[0].parents[1],  # where it leaves logs of its own
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    return done.stdout


def _reason(output: str) -> str:
    """Find the line in which ``wandb sync`` says what has failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "ERROR" in line or "WARNING" in line]
    return (telling or lines[-1:] or ["`wandb sync` has ended without a word"])[0]
