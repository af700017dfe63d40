"""The process that lays latent spaces out: ``python -m latents.worker LATENTS_DIRECTORY``.

`UmapClient` starts it. It alone imports umap-learn, Matplotlib and RDKit. It takes jobs as JSON
lines from standard input and answers each with one JSON line on standard output. With
``--finish`` it needs no training process: it draws what an interrupted run has left.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from records.latent_paths import (
    ANIMATION,
    BEST,
    METRIC_TABLE,
    MOLECULE_TABLE,
    Frame,
    epoch_path,
    epochs_in,
    final_frame,
    pending_frames,
    picture_path,
    snapshot_path,
)
from records.latent_tables import (
    LatentMetric,
    metric_rows,
    write_metric_table,
    write_molecule_table,
)
from records.latents import (
    ALL,
    ELEMENT_COUNTS,
    METRICS,
    Estimate,
    LatentEpoch,
    Molecules,
    Snapshot,
    read_epoch,
    read_molecules,
    read_snapshot,
    write_epoch,
)
from records.standard_streams import make_standard_streams_safe
from records.user_folders import prepare_user_folders

Job = dict[str, Any]
SAME_PREDICTION = 1e-6
"""Relative difference of predictions below which two snapshots are of the same weights."""
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
        self.layouts: dict[str, NDArray[np.float32]] = {}
        self._molecules: Molecules | None = None
        self._properties: dict[str, NDArray[np.float64]] = {}
        self._element_counts: dict[str, Estimate] = {}
        self._first: LatentEpoch | None = None
        self._metrics: dict[Frame, list[LatentMetric]] = {}

    @property
    def molecules(self) -> Molecules:
        """The molecules of this run.

        Raises
        ------
        RuntimeError
            Before `begin`.
        """
        if self._molecules is None:
            raise RuntimeError("the job `begin` must come before all others")
        return self._molecules

    # ---- jobs -------------------------------------------------------------------------------

    def answer(self, job: Job) -> Job:
        """Do one job.

        Parameters
        ----------
        job : dict
            ``do``: ``begin``, ``frame`` or ``finish``; the rest are the method's arguments.

        Returns
        -------
        dict
            The job with the method's result, or with ``error``: what went wrong.
        """
        actions: dict[str, Callable[..., Job]] = {
            "begin": self.begin,
            "frame": self.frame,
            "finish": self.finish,
        }
        try:
            result = actions[job["do"]](**{key: value for key, value in job.items() if key != "do"})
        # Reported to the training process, which warns; the next job may well succeed.
        except Exception as error:
            result = {"error": f"{type(error).__name__}: {error}"}
        return {**job, **result}

    def begin(self) -> Job:
        """Read the molecules, and from earlier epochs' files where a resumed run goes on.

        Returns
        -------
        dict
            ``{}``.
        """
        from analysis.latent_metrics import composition_residual, knn_r2, standardize
        from analysis.spatial_score import spatial_scores

        molecules = self._molecules = read_molecules(self.directory)
        self._properties = {
            "knn_r2_target": molecules.target,
            "knn_r2_composition_free": composition_residual(
                molecules.target, molecules.element_counts
            ),
            "knn_r2_complexity": spatial_scores(molecules.smiles.tolist()),
        }
        counts = standardize(molecules.element_counts)
        self._element_counts = {m: knn_r2(counts, y) for m, y in self._properties.items()}
        self.layouts, self._first, self._metrics = {}, None, {}
        for epoch in reversed(epochs_in(self.directory)):
            earlier = self._read_earlier(epoch)
            if earlier is not None:
                self._first = earlier
                self._metrics[epoch] = metric_rows(earlier)
                self._remember_layouts(earlier)
        return {}

    def _read_earlier(self, epoch: int) -> LatentEpoch | None:
        """Read an epoch of the same molecules; a damaged file is passed over."""
        try:
            earlier = read_epoch(epoch_path(self.directory, epoch))
        except (FileNotFoundError, ValueError) as error:
            print(error, file=sys.stderr)
            return None
        return earlier if np.array_equal(earlier.molecules.idx, self.molecules.idx) else None

    def _remember_layouts(self, earlier: LatentEpoch) -> None:
        """Take the layouts of blocks that later epochs have none of."""
        for block, layout in earlier.layouts.items():
            if np.isfinite(layout).all():
                self.layouts.setdefault(block, layout)

    def frame(self, frame: Frame, give_up: str | None = None) -> Job:
        """Lay one snapshot out, measure it, draw it, and write all that.

        Parameters
        ----------
        frame : int or "best"
            Its snapshot must lie in the directory; it is removed afterwards.
        give_up : str, optional
            Do not try, and draw this reason instead.

        Returns
        -------
        dict
            ``problems``: blocks without a layout, and why.
        """
        from latents.pictures import draw_epoch

        snapshot = read_snapshot(self.directory, frame)
        latent = self._drawn_before(snapshot) or self._lay_out(snapshot, give_up)
        self._first = self._first or latent
        self._metrics[frame] = metric_rows(latent)
        draw_epoch(latent, self._first, picture_path(self.directory, frame))
        write_epoch(self.directory, latent)
        self._write_metrics()
        snapshot_path(self.directory, frame).unlink()
        return {"problems": latent.problems}

    def _drawn_before(self, snapshot: Snapshot) -> LatentEpoch | None:
        """Reuse the epoch's frame for the best checkpoint, if that has the epoch's weights.

        It has other weights where weights are averaged; where only every n-th epoch is drawn, the
        epoch may have no frame.
        """
        if not snapshot.is_best or snapshot.epoch not in self._metrics:
            return None
        earlier = self._read_earlier(snapshot.epoch)
        if earlier is None or not np.allclose(
            earlier.prediction, snapshot.prediction, rtol=SAME_PREDICTION
        ):
            return None
        return replace(earlier, is_best=True)

    def _write_metrics(self) -> None:
        epochs = sorted(frame for frame in self._metrics if isinstance(frame, int))
        frames: list[Frame] = [*epochs, *([BEST] if BEST in self._metrics else [])]
        rows = [row for frame in frames for row in self._metrics[frame]]
        write_metric_table(self.directory / METRIC_TABLE, rows)

    def finish(
        self, table_size: int = 0, structures: str | None = None, animation: bool = True
    ) -> Job:
        """Write the table of molecules and the animation.

        Parameters
        ----------
        table_size : int
            Number of molecules whose structure is drawn.
        structures : str, optional
            Directory for the structures' pictures; without it none are drawn.
        animation : bool
            Whether to animate.

        Returns
        -------
        dict
            ``final``: the frame that the table is of, None if there is none.
        """
        from latents.animation import animate

        final = final_frame(self.directory)
        if final is None:
            return {"final": None}
        latent = read_epoch(epoch_path(self.directory, final))
        write_molecule_table(self.directory / MOLECULE_TABLE, latent)
        frames: list[Frame] = [*epochs_in(self.directory)]
        frames += [BEST] if final == BEST else []
        pictures = [picture_path(self.directory, frame) for frame in frames]
        if animation:
            animate([p for p in pictures if p.exists()], self.directory / ANIMATION)
        if structures is not None:
            draw_structures(self.molecules.smiles[:table_size].tolist(), Path(structures))
        return {"final": final}

    # ---- one snapshot -----------------------------------------------------------------------

    def _lay_out(self, snapshot: Snapshot, give_up: str | None) -> LatentEpoch:
        molecules = self.molecules
        # With a single irrep, all together is that irrep: it is laid out once.
        only = next(iter(snapshot.blocks)) if len(snapshot.blocks) == 1 else None
        blocks = {ALL: np.concatenate(list(snapshot.blocks.values()), axis=1), **snapshot.blocks}
        layouts: dict[str, NDArray[np.float32]] = {}
        metrics: dict[str, dict[str, Estimate]] = {}
        problems: dict[str, str] = {}
        for name, block in blocks.items():
            if name == only:
                layouts[name], metrics[name] = layouts[ALL], metrics[ALL]
                problems.update({name: problems[ALL]} if ALL in problems else {})
                continue
            layouts[name], metrics[name], problem = self._lay_out_block(name, block, give_up)
            if problem is not None:
                problems[name] = problem
        channels = {name: block.shape[1] for name, block in blocks.items()}
        return LatentEpoch(
            epoch=snapshot.epoch,
            step=snapshot.step,
            molecules=molecules,
            prediction=snapshot.prediction,
            error=_errors(snapshot, molecules),
            composition_free_target=self._properties["knn_r2_composition_free"],
            spatial_score=self._properties["knn_r2_complexity"],
            layouts=layouts,
            channels={**channels, ELEMENT_COUNTS: len(molecules.elements)},
            metrics={**metrics, ELEMENT_COUNTS: self._element_counts},
            problems=problems,
            is_best=snapshot.is_best,
        )

    def _lay_out_block(
        self, name: str, block_gc: NDArray[np.float32], give_up: str | None
    ) -> tuple[NDArray[np.float32], dict[str, Estimate], str | None]:
        """Lay one block out and measure it; the third part says why that could not be done."""
        from analysis.latent_metrics import NOT_MEASURED, problem_with, standardize

        layout = np.full((len(block_gc), 2), np.nan, dtype=np.float32)
        metrics = dict.fromkeys(METRICS, NOT_MEASURED)
        problem = give_up or problem_with(block_gc, self.molecules.settings.n_neighbors)
        if problem is None:
            try:
                x = standardize(block_gc)
                metrics |= self._measure_space(x)
                layout = self._umap(name, x)
                metrics["trustworthiness"] = self._trustworthiness(x, layout)
            # Whatever umap-learn raises on unusual data costs one panel, not the run.
            except Exception as error:
                problem = f"{type(error).__name__}: {error}"
        return layout, metrics, problem

    def _measure_space(self, x: NDArray[np.float64]) -> dict[str, Estimate]:
        from analysis.intrinsic_dimension import intrinsic_dimension
        from analysis.latent_metrics import knn_r2

        measured = {metric: knn_r2(x, y) for metric, y in self._properties.items()}
        return {**measured, "intrinsic_dimension": intrinsic_dimension(x)}

    def _umap(self, name: str, x: NDArray[np.float64]) -> NDArray[np.float32]:
        from latents.layout import align, umap_layout

        settings = self.molecules.settings
        earlier = self.layouts.get(name)
        raw = umap_layout(x, earlier, settings.n_neighbors, settings.min_dist, settings.seed)
        if not np.isfinite(raw).all():
            raise ValueError("UMAP's layout is NaN")
        # A block's first layout is turned like that of all irreps, so that panels look alike.
        layout = align(raw, earlier if earlier is not None else self.layouts.get(ALL))
        self.layouts[name] = layout
        return layout

    def _trustworthiness(self, x: NDArray[np.float64], layout: NDArray[np.float32]) -> Estimate:
        from analysis.latent_metrics import trustworthiness

        return trustworthiness(x, layout, self.molecules.settings.n_neighbors)


def _errors(snapshot: Snapshot, molecules: Molecules) -> NDArray[np.float64]:
    """Take the errors that come with a snapshot, or those of a scalar of an earlier version."""
    if snapshot.error is not None:
        return snapshot.error
    return np.abs(snapshot.prediction - molecules.target)


def draw_structures(smiles: list[str], directory: Path) -> None:
    """Draw molecules into ``0.png``, ``1.png``, …; none for SMILES that cannot be read.

    Parameters
    ----------
    smiles : list of str
        One per molecule.
    directory : Path
        Made if it does not exist.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem.Draw import rdMolDraw2D

    directory.mkdir(parents=True, exist_ok=True)
    for row, text in enumerate(smiles):
        with rdBase.BlockLogs():
            molecule = Chem.MolFromSmiles(text)
        if molecule is None or molecule.GetNumAtoms() == 0:
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
        Gets one JSON line per job.
    """
    worker = LatentWorker(directory)
    for job in _jobs_from_parent():
        print(json.dumps(worker.answer(job)), file=answers, flush=True)


def finish_alone(directory: Path) -> None:
    """Draw what an interrupted run has left, and its animation and tables.

    Parameters
    ----------
    directory : Path
        ``<run>/latents``.
    """
    worker = LatentWorker(directory)
    worker.begin()
    for frame in pending_frames(directory):
        print("best checkpoint" if frame == BEST else f"epoch {frame}", flush=True)
        worker.frame(frame)
    worker.finish()
    print(f"{directory / ANIMATION}", flush=True)


def main(arguments: list[str]) -> None:
    """Run the worker.

    Parameters
    ----------
    arguments : list of str
        Command line without the program.
    """
    make_standard_streams_safe()
    parser = argparse.ArgumentParser(prog="python -m latents.worker", description=__doc__)
    parser.add_argument("directory", type=Path, help="the run's latents directory")
    parser.add_argument("--finish", action="store_true", help="draw what is left, then end")
    options = parser.parse_args(arguments)
    if options.finish:
        if note := prepare_user_folders():
            print(note, file=sys.stderr)
        finish_alone(options.directory)
        return
    # Ctrl-C in the terminal is for the training process, which then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)
    # Only answers may reach standard output, whatever a library prints.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    serve(options.directory, answers)


if __name__ == "__main__":
    main(sys.argv[1:])
