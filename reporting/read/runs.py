"""Finding and reading run directories.

Imports `records` and this package only. NumPy is not among the imports, so that a mistake on the
command line is reported at once.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from records.decomposition import Decomposition, read_decomposition
from records.metrics import Row, read_metrics
from records.names import EXTENDED_TO, UNTRAINED
from records.nested import NestedEpoch, read_nested
from records.pruning import PrunedFront, read_fronts
from records.summary import Summary, read_summary
from records.utilization import Utilization, read_table
from reporting.read.irreps import canonical_irreps

if TYPE_CHECKING:
    from records.latent_tables import LatentMetric

RUN_FILES = ("summary.json", "config.yaml", "metrics.csv")
"""A directory that holds any of these is a run's directory."""
MAX_DEPTH = 2
"""How many levels below a given directory are searched: ``runs/<sweep>/<name>``."""
SKIP_ADVICE = "or leave the run out with --skip-broken"
RATE = "throughput/molecules_per_s"

Content = TypeVar("Content")


class ReportError(ValueError):
    """Input from the user cannot be used. The message is one line and says what to do."""


@dataclass
class Run:
    """One training run.

    Attributes
    ----------
    name : str
        The run's name.
    path : Path or None
        Its directory; None for a run that was read from W&B.
    summary : Summary
        What the run is, and its results.
    irreps : str
        ``summary.irreps`` in canonical form; empty if the run failed before it knew them.
    metrics : dict of int to dict
        Rows of ``metrics.csv`` by epoch; empty for a run that was read from W&B.
    utilization : dict of int to Utilization
        What ``utilization.csv`` holds, by epoch.
    best_utilization : Utilization or None
        What ``utilization_best.csv`` holds: the best checkpoint, with all layers.
    decomposition : Decomposition or None
        What ``decomposition.csv`` holds.
    nested : dict of int to NestedEpoch
        What ``nested.csv`` holds, by epoch.
    pruned : list of PrunedFront
        What ``prune.py`` has written into the run, or beside it for several runs of which this is
        one.
    latent_metrics : list of LatentMetric or None
        What ``latents/metrics.csv`` holds; None if it has not been read, see
        `reporting.read.latents.read_latent_metrics`.
    """

    name: str
    path: Path | None
    summary: Summary
    irreps: str
    metrics: dict[int, Row] = field(default_factory=dict)
    utilization: dict[int, Utilization] = field(default_factory=dict)
    best_utilization: Utilization | None = None
    decomposition: Decomposition | None = None
    nested: dict[int, NestedEpoch] = field(default_factory=dict)
    pruned: list[PrunedFront] = field(default_factory=list)
    latent_metrics: list[LatentMetric] | None = None

    @property
    def status(self) -> str:
        """Status of the run, see `records.names`; W&B also has others, for example ``crashed``."""
        return self.summary.status or "unfinished"

    @property
    def finished(self) -> bool:
        """Whether the run was trained to its end."""
        return self.summary.finished

    @property
    def seed(self) -> int | None:
        """The seed of initial weights and batches."""
        return self.summary.seed

    @property
    def configuration(self) -> dict[str, Any]:
        """The options that determine the result, flat, with dotted keys.

        A run that was trained on after its end is no run of that many epochs from the start: its
        learning rate had fallen before. So it has an option that the others lack.
        """
        extended_to = self.summary.other.get(EXTENDED_TO)
        if extended_to is None:
            return self.summary.configuration
        return {**self.summary.configuration, f"trainer.{EXTENDED_TO}": extended_to}

    @property
    def target(self) -> str:
        """Name of the target."""
        return self.summary.target or "unknown target"

    @property
    def unit(self) -> str:
        """Unit of the errors."""
        return self.summary.unit or "?"

    @property
    def epochs(self) -> int:
        """Number of epochs trained."""
        known = self.summary.epochs
        return len(self.trained_rows()) if known is None else known

    def number(self, key: str) -> float | None:
        """Look up a result.

        Parameters
        ----------
        key : str
            For example ``test/mae``.

        Returns
        -------
        float or None
            None if the result is missing or not finite.
        """
        return self.summary.number(key)

    def trained_rows(self) -> list[Row]:
        """Return the rows of ``metrics.csv`` in order, without the untrained baseline."""
        return [row for epoch, row in sorted(self.metrics.items()) if epoch > UNTRAINED]

    def molecules_per_second(self) -> float | None:
        """Return the training throughput, the median over epochs; None if it was not logged."""
        rates = [row[RATE] for row in self.trained_rows() if row.get(RATE, 0) > 0]
        return statistics.median(rates) if rates else self.number(RATE)

    def training_seconds(self) -> float | None:
        """Return the time spent on training batches, without validation and callbacks.

        Returns
        -------
        float or None
            Seconds; None if throughput or size of the training part are not known.
        """
        molecules, rate = self.summary.molecules.get("train"), self.molecules_per_second()
        return molecules * self.epochs / rate if molecules and rate else None

    def final_utilization(self) -> Utilization | None:
        """Return the measurement of the best checkpoint, or else of the last epoch."""
        if self.best_utilization is not None:
            return self.best_utilization
        last = max(self.utilization, default=UNTRAINED)
        return self.utilization[last] if last > UNTRAINED else None

    def last_value(self, key: str) -> float:
        """Return the last finite value of a column of ``metrics.csv``; NaN if there is none."""
        for row in reversed(self.trained_rows()):
            if math.isfinite(row.get(key, math.nan)):
                return row[key]
        return math.nan


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Find run directories.

    Parameters
    ----------
    paths : sequence of Path
        Run directories, or directories with run directories up to two levels below.

    Returns
    -------
    list of Path
        Each run directory once: in the order of `paths`, then by name.

    Raises
    ------
    ReportError
        If a path is not a directory, or has no run in it.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise ReportError(
                f"{path} is not a directory: give run directories, or a directory that holds them"
            )
        below = list(_runs_in(path, MAX_DEPTH))
        if not below:
            raise ReportError(
                f"no run in {path}: a run directory holds a summary.json, at most {MAX_DEPTH} "
                "levels down; train first, e.g. with `python sweep.py sweeps/quickstart.yaml`"
            )
        for run in below:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _runs_in(directory: Path, depth: int) -> Iterator[Path]:
    if any((directory / name).is_file() for name in RUN_FILES):
        yield directory
    elif depth > 0:
        for entry in sorted(directory.iterdir()):
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _runs_in(entry, depth - 1)


def read_run(path: Path) -> Run:
    """Read a run directory.

    Parameters
    ----------
    path : Path
        Directory with a ``summary.json``.

    Raises
    ------
    ReportError
        If the summary is missing or incomplete, or any file is damaged. The message names the file.
    """
    summary_path = path / "summary.json"
    summary = read_record(read_summary, summary_path)
    if summary is None:
        raise ReportError(f"{summary_path} is missing: remove the run's directory, {SKIP_ADVICE}")
    _check_complete(summary, summary_path)
    best = read_record(read_table, path / "utilization_best.csv")
    return Run(
        name=summary.run_name or path.name,
        path=path,
        summary=summary,
        irreps=_irreps(summary, summary_path),
        metrics=read_record(read_metrics, path / "metrics.csv"),
        utilization=read_record(read_table, path / "utilization.csv"),
        best_utilization=best[max(best)] if best else None,
        decomposition=read_record(read_decomposition, path / "decomposition.csv"),
        nested=read_record(read_nested, path / "nested.csv"),
        pruned=_read_pruned(path),
    )


def _read_pruned(path: Path) -> list[PrunedFront]:
    shared = read_record(read_fronts, path.parent)
    return [*read_record(read_fronts, path), *(front for front in shared if path.name in front.of)]


def read_record(reader: Callable[[Path], Content], path: Path) -> Content:
    """Read one file of a run, and report damage as the user's problem.

    Parameters
    ----------
    reader : callable
        One of the readers in `records`.
    path : Path
        The file.

    Raises
    ------
    ReportError
        If the file is damaged or cannot be read.
    """
    try:
        return reader(path)
    except (OSError, ValueError) as error:
        raise ReportError(f"{' '.join(str(error).split())}, {SKIP_ADVICE}") from error


def _check_complete(summary: Summary, path: Path) -> None:
    if not summary.finished:
        return
    needed = ("irreps", "target", "unit", "configuration")
    missing = [key for key in needed if not getattr(summary, key)]
    if missing:
        raise ReportError(
            f"{path} belongs to a finished run but lacks {', '.join(missing)}, so train.py did not "
            "write it: leave the run out with --skip-broken"
        )


def _irreps(summary: Summary, path: Path) -> str:
    if not summary.irreps:
        return ""
    try:
        return canonical_irreps(summary.irreps)
    except ValueError as error:
        raise ReportError(
            f"{path} is damaged ({error}): remove the run's directory, {SKIP_ADVICE}"
        ) from error


def wandb_project(run: Run) -> str | None:
    """Find the W&B project that a run was logged to.

    Parameters
    ----------
    run : Run
        A run with a directory.

    Returns
    -------
    str or None
        Name of the project; None if ``config.yaml`` does not name one.

    Raises
    ------
    ReportError
        If ``config.yaml`` is damaged.
    """
    # Imported late: PyYAML is not needed to reject a wrong command line.
    from records.configuration import read_configuration

    if run.path is None:
        return None
    project = read_record(read_configuration, run.path / "config.yaml").get("project")
    return str(project) if project else None
