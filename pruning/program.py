"""What ``prune.py`` does with a parsed command line.

Imports e3nn, torch, tqdm, wandb, `analysis`, `figures`, `records`, `runtime` and this package.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import wandb
from e3nn import o3
from tqdm import tqdm

from analysis.pruning import removal_to
from figures.pruned_front import draw_front
from networks.device import usable_device
from pruning.elimination import Elimination
from pruning.front import make_front
from pruning.plan import PruningPlan
from pruning.subject import Subject, check_alike, load_subject
from records.configuration import read_configuration
from records.files import replacing
from records.locks import LockHeldError, take_lock
from records.pruning import (
    FOLDER,
    FRONT,
    PrunedFront,
    increase_in_words,
    sentence,
    write_front,
)
from records.run_files import LOCK, PRUNED_FILES, remove_files, remove_leftovers, remove_wandb_files
from records.upload_command import upload_command
from records.wandb_internals import SERVICE_GONE
from records.wandb_media import Picture, Table
from runtime.errors import one_line
from runtime.wandb_history import ReceivedHistory
from runtime.wandb_logger import EpochWandbLogger
from runtime.wandb_server import choose_mode
from runtime.wandb_session import WandbSession, start_wandb

WANDB_SECONDS = 60.0
"""Longest wait for W&B's server at the start and at the end."""


def prune(given: argparse.Namespace) -> None:
    """Prune some runs, write the front and say what to leave out.

    Parameters
    ----------
    given : argparse.Namespace
        Options of ``prune.py``.

    Raises
    ------
    ValueError
        If anything given is unusable; before any work.
    """
    plan = PruningPlan(
        given.by,
        given.fine_tune,
        given.tolerance,
        given.max_increase,
        given.num_molecules,
        given.irreps,
        given.seed,
    )
    device = usable_device(given.device)
    runs = [path.resolve() for path in given.runs]
    if len(set(runs)) < len(runs):
        raise ValueError("a run is given twice: give each run once")
    subjects = [load_subject(run, device) for run in runs]
    check_alike(subjects)
    _check_nested(plan, subjects[0])
    _check_irreps(plan, subjects[0])
    folder = given.output or pruned_folder(runs) / ("chosen" if plan.irreps else plan.by)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        lock = take_lock(folder / LOCK)
    except LockHeldError as error:
        raise ValueError(f"{folder} is being written by another process: {error}") from error
    try:
        _prune(subjects, plan, folder, given.fresh)
    finally:
        lock.release()


def pruned_folder(runs: Sequence[Path]) -> Path:
    """Name the folder in which the results of pruning lie.

    Parameters
    ----------
    runs : sequence of Path
        Run directories, absolute.

    Returns
    -------
    Path
        In the run itself, or in the deepest folder that holds all of several runs.
    """
    if len(runs) == 1:
        return runs[0] / FOLDER
    return Path(os.path.commonpath([run.parent for run in runs])) / FOLDER


def _check_nested(plan: PruningPlan, subject: Subject) -> None:
    if plan.by == "nested" and subject.module.hparams["irrep_dropout"] == "none":
        raise ValueError(
            f"--by nested needs a run that was trained with model.irrep_dropout, which "
            f"{subject.path.name} was not: choose another way, e.g. --by missed"
        )


def _check_irreps(plan: PruningPlan, subject: Subject) -> None:
    """Refuse irreps that are no subset of the network's; which channels stay does not matter."""
    if plan.irreps is None:
        return
    equal = [
        {name: torch.zeros(len(channels)) for name, channels in layer.channels.items()}
        for layer in subject.network.kept
    ]
    removal_to(subject.network, o3.Irreps(plan.irreps), equal)


def _prune(subjects: list[Subject], plan: PruningPlan, folder: Path, fresh: bool) -> None:
    if fresh:
        remove_files(folder, PRUNED_FILES)
        remove_wandb_files(folder)
    remove_leftovers(folder, {"": PRUNED_FILES})
    elimination = Elimination(subjects, plan, folder, _say, _watch)
    if elimination.state.points:
        done = len(elimination.state.points) - 1
        _say(f"{done} round{'s' if done != 1 else ''} done before; going on in {folder}")
    elimination.run()
    front = make_front(elimination)
    write_front(folder / FRONT, front)
    with replacing(folder / "front.png") as temporary:
        draw_front(front, _title(front), temporary)
    _say(_table(front))
    _say(f"\n{sentence(front)}")
    if front.recommended is not None:
        _say(_use(folder / front.recommended.checkpoint))
    if elimination.state.logged < len(front.points):
        try:
            _say(_log_to_wandb(front, subjects[0], folder))
            elimination.state.note_logged()
        except (wandb.Error, *SERVICE_GONE) as error:
            _say(f"W&B has not received the front ({one_line(error)}); it is in {FRONT}")
    _say(f"Files: {folder}")


def _say(line: str) -> None:
    tqdm.write(line, file=sys.stdout)


def _watch(name: str, count: int) -> Callable[[], None]:
    """Show a bar over the networks of a round, on a terminal."""
    bar = tqdm(total=count, desc=name, unit=" networks", leave=False, disable=None)

    def done() -> None:
        bar.update()
        if bar.n >= count:
            bar.close()

    return done


def _title(front: PrunedFront) -> str:
    runs = front.of[0] if len(front.of) == 1 else f"{len(front.of)} runs"
    over = "runs" if len(front.of) > 1 else "molecules"
    return f"{runs}, pruned by {front.by}: test MAE with 95 % intervals over {over}"


def _table(front: PrunedFront) -> str:
    """Lay the points out as lines of text."""
    intact = front.points[0]
    rows = [("", "operations", "training", "prediction", f"MAE {front.unit}", "increase", "lacks")]
    for point in front.points:
        mark = "->" if point.recommended else "* " if point.on_front else "  "
        rows.append(
            (
                f"{mark} {point.number}",
                f"{100 * point.operations / intact.operations:.0f} %",
                f"{point.training_rate:.2f} x",
                f"{point.inference_rate:.2f} x",
                f"{point.mae:.4g}",
                increase_in_words(point) if point.number else "",
                point.removed or "nothing",
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = [
        "  ".join((*(cell.rjust(width) for cell, width in zip(row, widths)), row[-1]))
        for row in rows
    ]
    return "\n".join(["", *lines, "* on the Pareto front; -> recommended"])


def _use(checkpoint: Path) -> str:
    path = shlex.quote(os.path.relpath(checkpoint))
    return (
        f"Test it:      python train.py test --ckpt_path {path}\n"
        f"Train it on:  python train.py fit --init_from {path}"
    )


def _log_to_wandb(front: PrunedFront, subject: Subject, folder: Path) -> str:
    """Log the front as a W&B run of its own; return one line on where it is."""
    mode, reason = choose_mode()
    if mode == "disabled":
        return reason
    project = str(read_configuration(subject.path / "config.yaml").get("project") or "irrepscope")
    name = f"{'-'.join(front.of)[:80]}-pruned-{front.by}"
    # Each time that points are added, W&B gets all of them as a run of its own.
    text = f"{subject.digest} {front.by} {len(front.points)}"
    identity = hashlib.sha256(text.encode()).hexdigest()[:8]
    session = start_wandb(
        mode,
        reason,
        folder,
        identity,
        name,
        project,
        {"pruned": list(front.of), "by": front.by, "tolerance": front.tolerance},
        lambda: None,
        WANDB_SECONDS,
        WANDB_SECONDS,
    )
    _log_front(session, front, folder)
    problem = session.finish(0, summary=_summary(front))
    if problem is not None:
        return problem
    if session.mode == "offline":
        return f"{session.reason} Upload later: `{upload_command(folder)}`"
    return f"W&B: {session.run.url}"


def _log_front(session: WandbSession, front: PrunedFront, folder: Path) -> None:
    rows = [asdict(point) for point in front.points]
    table = Table(list(rows[0]), [list(row.values()) for row in rows])
    # Waits for no server that hangs, and goes on without W&B's service process.
    logger = EpochWandbLogger(session.run)
    session.on_restart = lambda run: logger.reconnect(run, ReceivedHistory())
    logger.log_media({"pruning/front": table, "pruning/picture": Picture(folder / "front.png")}, 0)


def _summary(front: PrunedFront) -> dict[str, float | str]:
    best = front.recommended
    found: dict[str, float | str] = {"pruning/sentence": sentence(front)}
    if best is not None:
        found |= {
            "pruning/training_rate": best.training_rate,
            "pruning/increase": best.increase,
            "pruning/removed": best.removed,
        }
    return found
