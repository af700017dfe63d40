"""Which way of pruning leaves the best smaller network? ``python -m benchmarks.pruning``.

Takes trained runs, prunes them in every way that ``prune.py --by`` offers down to given shares of
the operations, and trains each result on, so that all ways spend the same number of epochs. Beside
them stand the whole network and networks of the pruned shape that are trained from scratch, for all
epochs that went into the pruned ones: those of the run, of pruning, and of training on. Every
result is a row of a CSV file, and rows that are there are not computed again, so the benchmark may
be killed and started again.

May import everything but the programs.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer, seed_everything

from analysis.missed import FineTuning, fine_tune
from benchmarks.result_rows import ResultRows
from benchmarks.study.words import relative
from lightning_modules.regressor import EquivariantRegressor
from networks.layered import LayeredNetwork, measuring
from networks.restriction import kept_from_json
from pruning.elimination import RATE, Elimination
from pruning.plan import WAYS, By, PruningPlan
from pruning.state import PointState
from pruning.subject import NOT_IN_PRUNING, Subject, load_subject
from records.standard_streams import make_standard_streams_safe
from reporting.compare.statistics import mean_interval

SCRATCH, WHOLE = "scratch", "whole"
SHAPED_BY: By = "missed"
"""Way of pruning whose networks' shape is trained from scratch."""
LEVELS = (0.75, 0.5)
"""Shares of the whole network's operations."""
PER_ROUND = 0.25
"""Epochs of training on per round of pruning."""
TOTAL = 4.0
"""Epochs that follow the run's own: of pruning, then of training the pruned network on."""
MAX_INCREASE = 1.0
"""Largest increase of the MAE on the way. Training on brings a large part of it back."""


@dataclass(frozen=True)
class Result:
    """One row: a network of one seed.

    Attributes
    ----------
    way : str
        Of pruning; or ``scratch``, the shape of `SHAPED_BY` trained from scratch; or ``whole``.
    level : float
        Largest share of the operations.
    run : int
        Which of the runs that are pruned together.
    operations : float
        Share of the whole network's operations that it needs.
    epochs : float
        All epochs of training, those of the run and of pruning included.
    before, mae : float
        Test MAE after pruning, NaN where nothing is pruned, and after training on; meV.
    layers : str
        Irreps of each layer.
    """

    way: str
    level: float
    run: int
    operations: float
    epochs: float
    before: float
    mae: float
    layers: str


class Results(ResultRows[Result]):
    """All rows of the benchmark.

    Parameters
    ----------
    path : Path
        CSV file; read if it exists.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(Result, path)

    def has(self, way: str, level: float, run: int) -> bool:
        """Whether a row is there."""
        return any((r.way, r.level, r.run) == (way, level, run) for r in self.rows)

    def note(self, row: Result) -> None:
        """Append a row, write the file and say what was found."""
        self.add([row])
        print(
            f"{row.way} to {row.level:.0%}, run {row.run}: {row.before:.1f} -> {row.mae:.1f} meV "
            f"with {row.operations:.0%} of the operations, {row.layers}",
            flush=True,
        )


def chosen_point(
    points: Sequence[PointState], shares: Mapping[int, float], level: float
) -> PointState | None:
    """Choose among an elimination's points as a user would: on validation molecules.

    Parameters
    ----------
    points : sequence of PointState
        In their order.
    shares : mapping of int to float
        Point number to its share of the operations.
    level : float
        Largest share.

    Returns
    -------
    PointState or None
        The one with the smallest increase of the validation MAE; None if none is small enough.
    """
    small = [point for point in points if shares[point.number] <= level]
    return min(small, key=lambda point: point.val_increase) if small else None


class Comparison:
    """Prunes runs in different ways and trains the results on.

    Parameters
    ----------
    plain, nested : sequence of Path
        Runs that differ in their seed, without irrep dropout and with it.
    folder : Path
        Gets the state of pruning.
    results : Results
        Extended.
    """

    def __init__(
        self, plain: Sequence[Path], nested: Sequence[Path], folder: Path, results: Results
    ) -> None:
        device = torch.device("cpu")
        self.plain = [load_subject(path.resolve(), device) for path in plain]
        self.nested = [load_subject(path.resolve(), device) for path in nested]
        self.folder = folder
        self.results = results

    def _subjects(self, way: str) -> list[Subject]:
        return self.nested if way == "nested" else self.plain

    # ---- pruned ---------------------------------------------------------------------------------

    def prune(self, way: By, levels: Sequence[float]) -> None:
        """Prune in one way to all levels, and train on."""
        subjects = self._subjects(way)
        runs = range(len(subjects))
        if all(self.results.has(way, level, run) for level in levels for run in runs):
            return
        elimination = self._elimination(way, min(levels))
        shares = _shares(elimination)
        for level in levels:
            point = chosen_point(elimination.state.points, shares, level)
            if point is None:
                print(f"{way} does not reach {level:.0%} of the operations", flush=True)
                continue
            spent = _rounds(elimination.state.points, point) * PER_ROUND
            rest = max(0.0, TOTAL - (0.0 if way == "nested" else spent))
            for run, subject in enumerate(subjects):
                if self.results.has(way, level, run):
                    continue
                network = elimination.networks(point.number)[run]
                before = _test_mae(subject, network)
                _train_on(subject, network, rest)
                row = Result(
                    way,
                    level,
                    run,
                    shares[point.number],
                    _epochs(subject) + TOTAL,
                    before,
                    _test_mae(subject, network),
                    _layers(network),
                )
                self.results.note(row)

    def _elimination(self, way: By, smallest: float) -> Elimination:
        plan = PruningPlan(by=way, fine_tune=PER_ROUND, max_increase=MAX_INCREASE)
        folder = self.folder / way
        folder.mkdir(parents=True, exist_ok=True)
        elimination = Elimination(self._subjects(way), plan, folder, print, _unwatched)
        elimination.run(smallest)
        return elimination

    # ---- trained from scratch -------------------------------------------------------------------

    def train_whole(self) -> None:
        """Train the intact networks on for as long as the pruned ones."""
        for run, subject in enumerate(self.plain):
            if self.results.has(WHOLE, 1.0, run):
                continue
            network = subject.network.restricted(subject.network.kept)
            before = _test_mae(subject, network)
            _train_on(subject, network, TOTAL)
            mae, epochs = _test_mae(subject, network), _epochs(subject) + TOTAL
            self.results.note(Result(WHOLE, 1.0, run, 1.0, epochs, before, mae, _layers(network)))

    def train_from_scratch(self, levels: Sequence[float]) -> None:
        """Train networks of the shapes that `SHAPED_BY` has found, for all epochs of its pruning.

        Parameters
        ----------
        levels : sequence of float
            1 stands for the whole network.
        """
        elimination = self._elimination(SHAPED_BY, min(levels))
        shares = _shares(elimination)
        for level in levels:
            points = elimination.state.points
            point = points[0] if level == 1 else chosen_point(points, shares, level)
            for run, subject in enumerate(self.plain):
                if point is None or self.results.has(SCRATCH, level, run):
                    continue
                epochs = round(_epochs(subject) + TOTAL)
                network = _trained_from_scratch(subject, point, run, epochs)
                mae, share = _test_mae(subject, network), shares[point.number]
                shape = _layers(network)
                row = Result(SCRATCH, level, run, share, epochs, float("nan"), mae, shape)
                self.results.note(row)


def _unwatched(name: str, count: int) -> Any:
    return lambda: None


def _rounds(points: Sequence[PointState], last: PointState) -> int:
    """Count the rounds that went into a point: all before it, for failed ones cost as well."""
    return sum(1 for point in points if 0 < point.number <= last.number)


def _shares(elimination: Elimination) -> dict[int, float]:
    return {p.number: elimination.share(kept_from_json(p.kept)) for p in elimination.state.points}


def _epochs(subject: Subject) -> float:
    """Epochs of the run's own training."""
    return float(round(subject.checkpoint["global_step"] / subject.steps_per_epoch))


def _train_on(subject: Subject, network: LayeredNetwork, epochs: float) -> None:
    steps = round(epochs * subject.steps_per_epoch)
    rate = RATE * float(subject.module.hparams["lr"])
    tuning = FineTuning(lambda: subject.training_batches(0), steps, rate)
    with torch.enable_grad():
        fine_tune(network.requires_grad_(True), subject.scale, tuning)
    network.eval()


def _trained_from_scratch(
    subject: Subject, point: PointState, run: int, epochs: int
) -> LayeredNetwork:
    seed_everything(run, verbose=False)
    options = dict(subject.checkpoint["hyper_parameters"]) | NOT_IN_PRUNING
    options = {name: value for name, value in options.items() if not name.startswith("_")}
    model = EquivariantRegressor(**options | {"kept": point.kept, "irrep_dropout": "none"})
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        gradient_clip_val=1.0,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(model, datamodule=subject.data)
    return model.network.eval()


@torch.no_grad()
def _test_mae(subject: Subject, network: LayeredNetwork) -> float:
    with measuring(network):
        return float(subject.errors(network, subject.test_batches(5000)).mean())


def _layers(network: LayeredNetwork) -> str:
    return " | ".join(str(irreps) for irreps in network.layer_irreps)


def summary(rows: Sequence[Result], beside: str = "") -> Iterator[str]:
    """Compare the ways at each level.

    Parameters
    ----------
    rows : sequence of Result
    beside : str
        A way with which the others are compared at each level, too.

    Yields
    ------
    str
        Rows of a Markdown table: mean over runs and half the range; the relative difference, paired
        by run and with a 95 % interval, from the whole network that was trained on for as long, and
        from that which was trained from scratch for as long.
    """
    whole, anew = (_by_run(rows, way, 1.0) for way in (WHOLE, SCRATCH))
    head = "| operations at most | way | operations | after pruning | trained on | against whole "
    head += "| against whole from scratch |" + (f" against {beside} |" if beside else "")
    yield head
    yield "|---:|---|---:|---:|---:|---:|---:|" + ("---:|" if beside else "")
    for level in sorted({row.level for row in rows}, reverse=True):
        for way in dict.fromkeys(row.way for row in rows if row.level == level):
            found = _by_run(rows, way, level)
            maes = [row.mae for row in found.values()]
            before = float(np.mean([row.before for row in found.values()]))
            spread = (max(maes) - min(maes)) / 2
            share = next(iter(found.values())).operations
            cells: tuple[str, ...] = (
                f"{level:.0%}",
                way,
                f"{share:.0%}",
                "" if np.isnan(before) else f"{before:.1f}",
                f"{np.mean(maes):.1f} ± {spread:.1f}",
                "" if found == whole else _difference(found, whole),
                "" if found == anew else _difference(found, anew),
            )
            if beside:
                other = _by_run(rows, beside, level)
                cells = (*cells, "" if way == beside else _difference(found, other))
            yield f"| {' | '.join(cells)} |"


def _difference(found: Mapping[int, Result], other: Mapping[int, Result]) -> str:
    """Write the relative difference over the runs that both have."""
    logs = [np.log(row.mae / other[run].mae) for run, row in found.items() if run in other]
    return relative(mean_interval(logs)) if logs else ""


def _by_run(rows: Sequence[Result], way: str, level: float) -> dict[int, Result]:
    return {row.run: row for row in rows if (row.way, row.level) == (way, level)}


def main() -> None:
    """Read the options, compute what is missing and print the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--plain", type=Path, nargs="+", help="finished runs, one per seed")
    parser.add_argument("--nested", type=Path, nargs="*", default=[], help="with irrep dropout")
    parser.add_argument("--levels", type=float, nargs="+", default=list(LEVELS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument(
        "--beside", choices=[*WAYS, SCRATCH], default="", help="compare with it, too"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/pruning_benchmark"))
    parser.add_argument("--results", type=Path, default=Path("results/pruning/benchmark.csv"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = Results(arguments.results)
    if arguments.plain:
        comparison = Comparison(arguments.plain, arguments.nested, arguments.folder, results)
        comparison.train_whole()
        for way in arguments.ways:
            if way != "nested" or arguments.nested:
                comparison.prune(way, arguments.levels)
        comparison.train_from_scratch([1.0, *arguments.levels])
    for line in summary(results.rows, arguments.beside):
        print(line)


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
