"""The process that lays latent spaces out: ``python -m latents.worker LATENTS_DIRECTORY``.

Started by `UmapClient`; alone it imports umap-learn, Matplotlib and RDKit. It takes jobs as JSON
lines from standard input and answers each with one on standard output. With ``--finish`` it
needs nobody: it draws what an interrupted run has left.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from records.files import replacing
from records.latents import (
    ALL,
    ANIMATION,
    TABLE,
    LatentEpoch,
    Molecules,
    Snapshot,
    epoch_path,
    epochs_in,
    picture_path,
    read_epoch,
    read_molecules,
    read_snapshot,
    snapshot_path,
    table_columns,
    write_epoch,
)

Job = dict[str, Any]
METRICS = ("trustworthiness", "knn_r2_target", "knn_r2_complexity", "intrinsic_dimension")
NICENESS = 10


class LatentWorker:
    """Does the jobs on the files of one ``latents`` directory.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.molecules: Molecules | None = None
        self.spatial_score: NDArray[np.float64] = np.zeros(0)
        self.layouts: dict[str, NDArray[np.float32]] = {}
        self.first: LatentEpoch | None = None

    def begin(self) -> Job:
        """Read the molecules, and from earlier epochs' files what a resumed run goes on from.

        Returns
        -------
        dict
            ``{}``.
        """
        from analysis.spatial_score import spatial_scores

        self.molecules = read_molecules(self.directory)
        self.spatial_score = spatial_scores(self.molecules.smiles.tolist())
        self.layouts, self.first = {}, None
        for epoch in reversed(epochs_in(self.directory)):
            self._remember_earlier(epoch)
        return {}

    def _remember_earlier(self, epoch: int) -> None:
        """Take what later epochs do not have from an earlier epoch of the same molecules."""
        try:
            earlier = read_epoch(epoch_path(self.directory, epoch))
        except ValueError as error:
            print(error, file=sys.stderr)
            return
        if self.molecules is None or not np.array_equal(earlier.molecules.idx, self.molecules.idx):
            return
        self.first = earlier
        for block, layout in earlier.layouts.items():
            if np.isfinite(layout).all():
                self.layouts.setdefault(block, layout)

    def epoch(self, epoch: int, give_up: str | None = None) -> Job:
        """Lay one epoch out, measure it, draw it, and write all that.

        Parameters
        ----------
        epoch : int
            Its snapshot must lie in the directory; removed afterwards.
        give_up : str, optional
            Do not try, and draw this reason instead.

        Returns
        -------
        dict
            ``step``, ``metrics`` and ``problems``.
        """
        from latents.pictures import draw_epoch

        snapshot = read_snapshot(self.directory, epoch)
        latent = self._lay_out(snapshot, give_up)
        self.first = self.first or latent
        draw_epoch(latent, self.first, picture_path(self.directory, epoch))
        write_epoch(self.directory, latent)
        snapshot_path(self.directory, epoch).unlink()
        return {"step": latent.step, "metrics": latent.metrics, "problems": latent.problems}

    def _lay_out(self, snapshot: Snapshot, give_up: str | None) -> LatentEpoch:
        molecules = self._known_molecules()
        # With a single irrep, all together is that irrep: it is laid out once.
        alone = next(iter(snapshot.blocks)) if len(snapshot.blocks) == 1 else None
        blocks = {ALL: np.concatenate(list(snapshot.blocks.values()), axis=1), **snapshot.blocks}
        layouts: dict[str, NDArray[np.float32]] = {}
        metrics: dict[str, dict[str, float]] = {}
        problems: dict[str, str] = {}
        for name, block in blocks.items():
            if name == alone:
                layouts[name], metrics[name] = layouts[ALL], metrics[ALL]
                problems.update({name: problems[ALL]} if ALL in problems else {})
                continue
            problem = give_up
            layouts[name], metrics[name] = _nothing(len(block)), dict.fromkeys(METRICS, math.nan)
            if problem is None:
                try:
                    problem = self._lay_out_block(name, block, layouts, metrics)
                # Whatever umap-learn raises on unusual data costs one panel, not the run.
                except Exception as error:
                    problem = f"{type(error).__name__}: {error}"
            if problem is not None:
                problems[name] = problem
        return LatentEpoch(
            epoch=snapshot.epoch,
            step=snapshot.step,
            molecules=molecules,
            prediction=snapshot.prediction,
            error=np.abs(snapshot.prediction - molecules.target),
            spatial_score=self.spatial_score,
            layouts=layouts,
            channels={name: block.shape[1] for name, block in blocks.items()},
            metrics=metrics,
            problems=problems,
        )

    def _lay_out_block(
        self,
        name: str,
        block_gc: NDArray[np.float32],
        layouts: dict[str, NDArray[np.float32]],
        metrics: dict[str, dict[str, float]],
    ) -> str | None:
        """Fill in one block's layout and metrics, or say why that cannot be done."""
        from analysis.latent_metrics import problem_with, standardize, trustworthiness
        from latents.layout import comparable, umap_layout

        molecules = self._known_molecules()
        settings = molecules.settings
        problem = problem_with(block_gc, settings.n_neighbors)
        if problem is not None:
            return problem
        x = standardize(block_gc)
        metrics[name] |= self._measure_space(x)
        earlier = self.layouts.get(name)
        raw = umap_layout(x, earlier, settings.n_neighbors, settings.min_dist, settings.seed)
        if not np.isfinite(raw).all():
            return "UMAP's layout is NaN"
        # A block's first layout is turned like that of all together, for the eye's sake.
        layouts[name] = comparable(raw, earlier if earlier is not None else layouts.get(ALL))
        self.layouts[name] = layouts[name]
        metrics[name]["trustworthiness"] = trustworthiness(x, layouts[name], settings.n_neighbors)
        return None

    def _measure_space(self, x: NDArray[np.float64]) -> dict[str, float]:
        from analysis.intrinsic_dimension import intrinsic_dimension
        from analysis.latent_metrics import knn_r2_complexity, knn_r2_target

        return {
            "knn_r2_target": knn_r2_target(x, self._known_molecules().target),
            "knn_r2_complexity": knn_r2_complexity(x, self.spatial_score),
            "intrinsic_dimension": intrinsic_dimension(x),
        }

    def finish(
        self, table_size: int = 0, structures: str | None = None, animation: bool = True
    ) -> Job:
        """Write the table of molecules and the animation.

        Parameters
        ----------
        table_size : int
            Number of molecules whose structure is drawn.
        structures : str, optional
            Directory for the structures' pictures; None: none are drawn.
        animation : bool
            Whether to animate.

        Returns
        -------
        dict
            ``epoch`` of the table, None if there is no epoch.
        """
        from latents.pictures import animate

        epochs = epochs_in(self.directory)
        if not epochs:
            return {"epoch": None}
        write_table(self.directory / TABLE, read_epoch(epoch_path(self.directory, epochs[-1])))
        pictures = [picture_path(self.directory, epoch) for epoch in epochs]
        if animation:
            animate([p for p in pictures if p.exists()], self.directory / ANIMATION)
        if structures is not None:
            draw_structures(self._known_molecules().smiles[:table_size].tolist(), Path(structures))
        return {"epoch": epochs[-1]}

    def _known_molecules(self) -> Molecules:
        if self.molecules is None:
            raise RuntimeError("the job `begin` must come before all others")
        return self.molecules

    def answer(self, job: Job) -> Job:
        """Do one job.

        Parameters
        ----------
        job : dict
            ``do``: ``begin``, ``epoch`` or ``finish``; the rest are the method's arguments.

        Returns
        -------
        dict
            The job with the method's result, or with ``error``, what went wrong.
        """
        actions: dict[str, Callable[..., Job]] = {
            "begin": self.begin,
            "epoch": self.epoch,
            "finish": self.finish,
        }
        try:
            result = actions[job["do"]](**{key: value for key, value in job.items() if key != "do"})
        # Reported to the training process, which warns; the next job may well succeed.
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        return {**job, **result}


def _nothing(molecules: int) -> NDArray[np.float32]:
    return np.full((molecules, 2), np.nan, dtype=np.float32)


def write_table(path: Path, latent: LatentEpoch) -> None:
    """Write the molecules with their errors and coordinates as CSV.

    Parameters
    ----------
    path : Path
        Where to.
    latent : LatentEpoch
        The last epoch.
    """
    numbers = table_columns(latent)
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["idx", "smiles", *numbers])
        for row, idx in enumerate(latent.molecules.idx):
            values = [f"{column[row]:.7g}" for column in numbers.values()]
            writer.writerow([idx, latent.molecules.smiles[row], *values])


def draw_structures(smiles: list[str], directory: Path) -> None:
    """Draw molecules into ``0.png``, ``1.png``, …; none for SMILES that cannot be read.

    Parameters
    ----------
    smiles : list of str
        One a molecule.
    directory : Path
        Where to.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem.Draw import rdMolDraw2D

    directory.mkdir(parents=True, exist_ok=True)
    for row, text in enumerate(smiles):
        with rdBase.BlockLogs():
            molecule = Chem.MolFromSmiles(text)
        if molecule is None:
            continue
        drawer = rdMolDraw2D.MolDraw2DCairo(200, 150)
        rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
        drawer.FinishDrawing()
        (directory / f"{row}.png").write_bytes(drawer.GetDrawingText())


def warm_up() -> None:
    """Import and compile what the first epoch needs, while the network trains."""
    from latents import pictures  # noqa: F401
    from latents.layout import umap_layout

    x = np.random.default_rng(0).normal(size=(40, 3))
    first = umap_layout(x, n_neighbors=5)
    umap_layout(x, first, n_neighbors=5)


def _read_jobs(jobs: queue.SimpleQueue[Job]) -> None:
    """Take jobs as they come, so that the pipe does not fill; end the process with the pipe."""
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)


def _watch_parent(parent: int) -> None:
    """End when the training process is gone; a forked child of it may hold the pipe open."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _jobs_from_parent() -> Iterator[Job]:
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    warm_up()
    while True:
        yield jobs.get()


def serve(directory: Path, answers: TextIO) -> None:
    """Answer jobs until standard input ends.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.
    answers : TextIO
        One JSON line a job.
    """
    worker = LatentWorker(directory)
    for job in _jobs_from_parent():
        print(json.dumps(worker.answer(job)), file=answers, flush=True)


def finish_alone(directory: Path) -> None:
    """Draw what an interrupted run has left, and its animation and table.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.
    """
    worker = LatentWorker(directory)
    worker.begin()
    for epoch in epochs_in(directory, "pending_"):
        print(f"epoch {epoch}", flush=True)
        worker.epoch(epoch)
    worker.finish()
    print(f"{directory / ANIMATION}", flush=True)


def main(arguments: list[str]) -> None:
    """Run the worker.

    Parameters
    ----------
    arguments : list of str
        Command line without the program.
    """
    parser = argparse.ArgumentParser(prog="python -m latents.worker", description=__doc__)
    parser.add_argument("directory", type=Path, help="the run's latents directory")
    parser.add_argument("--finish", action="store_true", help="draw what is left, then end")
    options = parser.parse_args(arguments)
    if options.finish:
        finish_alone(options.directory)
        return
    # Ctrl-C in the terminal is the training process's business, which then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    # Nothing but answers may reach standard output, whatever a library prints.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(options.directory, answers)


if __name__ == "__main__":
    main(sys.argv[1:])
