"""Run directories as `Run` records: finding and reading them, and saying what is broken.

Imports `runtime.run_name`, NumPy-free and torch-free, so that bad input is told at once.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from records.names import FINISHED, UNTRAINED
from reporting.read.irreps import parse, spell

RUN_FILES = ("summary.json", "config.yaml", "metrics.csv")
"""A directory with any of these is a run's."""
DEPTH = 2
"""Levels below a given directory that are searched: ``runs/<sweep>/<name>``."""
NUMBERS = ("ablation", "ablation_low", "ablation_high", "power_share", "effective_channels")
Row = dict[str, float]


class ReportError(ValueError):
    """Something that the user gave cannot be used; the message is one line and says what to do."""


@dataclass(frozen=True)
class Block:
    """One row of utilization.csv: an irrep in one layer, or in all (`NETWORK`).

    Attributes
    ----------
    layer, irrep : str
        ``layer0`` … or ``network``; ``1o``.
    channels : int
        Its channels in that layer.
    verdict : str
        ``used``, ``unused`` or ``unreachable``.
    mae : float
        Validation MAE of the whole network on the molecules measured, reporting units.
    values : dict of str to float
        Measures by name, see `NUMBERS` and ``attribution``; NaN where the layer lacks the block.
    """

    layer: str
    irrep: str
    channels: int
    verdict: str
    mae: float
    values: dict[str, float]


@dataclass
class Run:
    """One training run.

    Attributes
    ----------
    name : str
        The run's name.
    status : str
        ``finished``, ``running``, ``failed``, ``preempted``; from W&B also ``crashed`` and others.
    path : Path or None
        Its directory; None for a run read from W&B.
    irreps : str
        Canonical irreps, empty if it never got as far.
    seed : int or None
        Seed of everything.
    configuration : dict
        Flat identity of the run: what decides its result.
    summary : dict
        The whole summary.
    metrics : dict of int to dict
        Rows of metrics.csv by epoch.
    utilization : dict of int to list of Block
        Rows of utilization.csv by epoch.
    """

    name: str
    status: str
    path: Path | None
    irreps: str
    seed: int | None
    configuration: dict[str, Any]
    summary: dict[str, Any]
    metrics: dict[int, Row] = field(default_factory=dict)
    utilization: dict[int, list[Block]] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether it ran to its end."""
        return self.status == FINISHED

    @property
    def target(self) -> str:
        """Name of the target."""
        return str(self.summary.get("target", "unknown target"))

    @property
    def unit(self) -> str:
        """Unit of the errors."""
        return str(self.summary.get("unit", "?"))

    def number(self, key: str) -> float | None:
        """Look a number of the summary up.

        Parameters
        ----------
        key : str
            e.g. ``test/mae``.

        Returns
        -------
        float or None
            None if it is missing or not finite.
        """
        value = self.summary.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return float(value) if math.isfinite(value) else None

    @property
    def epochs(self) -> int:
        """Epochs trained."""
        done = self.summary.get("epochs")
        return int(done) if isinstance(done, (int, float)) else len(self.trained_rows())

    def trained_rows(self) -> list[Row]:
        """Rows of metrics.csv without the untrained baseline.

        Returns
        -------
        list of dict
            By rising epoch.
        """
        return [row for epoch, row in sorted(self.metrics.items()) if epoch > UNTRAINED]

    def molecules_per_second(self) -> float | None:
        """Median over epochs of the molecules trained on per second.

        Returns
        -------
        float or None
        """
        key = "throughput/molecules_per_s"
        rates = sorted(row[key] for row in self.trained_rows() if row.get(key, 0) > 0)
        if not rates:
            return self.number(key)
        middle = len(rates) // 2
        return rates[middle] if len(rates) % 2 else (rates[middle - 1] + rates[middle]) / 2

    def training_seconds(self) -> float | None:
        """Time spent on training batches, without validation and other callbacks.

        Returns
        -------
        float or None
            None if the run does not say how many molecules an epoch has.
        """
        molecules = self.summary.get("molecules")
        rate = self.molecules_per_second()
        if not isinstance(molecules, dict) or not molecules.get("train") or not rate:
            return None
        return float(molecules["train"]) * self.epochs / rate

    def last_utilization(self) -> list[Block]:
        """Blocks as measured last, empty if only the untrained network was measured.

        Returns
        -------
        list of Block
        """
        last = max(self.utilization, default=UNTRAINED)
        return self.utilization[last] if last > UNTRAINED else []


def find_runs(paths: Sequence[Path]) -> list[Path]:
    """Find run directories.

    Parameters
    ----------
    paths : sequence of Path
        Run directories, or directories that hold them up to two levels below.

    Returns
    -------
    list of Path
        Each directory once, in the order given, then by name.

    Raises
    ------
    ReportError
        If a path is no directory, or there is no run below it.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        if not path.is_dir():
            raise ReportError(f"{path} is no directory: give run directories, or one that has them")
        below = list(_runs_in(path, DEPTH))
        if not below:
            raise ReportError(
                f"no run in {path}: a run's directory has a summary.json, at most {DEPTH} levels "
                "down; train first, e.g. with `python sweep.py sweeps/quickstart.yaml`"
            )
        for run in below:
            found.setdefault(run.resolve(), run)
    return list(found.values())


def _runs_in(directory: Path, depth: int) -> Iterable[Path]:
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
        With a summary.json.

    Returns
    -------
    Run

    Raises
    ------
    ReportError
        If a file is missing or damaged; names it.
    """
    summary = _read_summary(path / "summary.json")
    status = str(summary.get("status") or "unfinished")
    try:
        run = Run(
            name=str(summary.get("run_name") or path.name),
            status=status,
            path=path,
            irreps=spell(parse(str(summary["irreps"]))) if summary.get("irreps") else "",
            seed=_seed(summary),
            configuration=dict(summary.get("configuration") or {}),
            summary=summary,
        )
    except (TypeError, ValueError) as error:
        raise ReportError(f"{path / 'summary.json'} is damaged: {error}") from error
    if run.finished:
        _check_complete(run, path)
    run.metrics = _read_metrics(path / "metrics.csv")
    run.utilization = _read_utilization(path / "utilization.csv")
    return run


def _read_summary(path: Path) -> dict[str, Any]:
    advice = "repair or remove the run's directory, or leave it out with --skip-broken"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ReportError(f"{path} is missing: {advice}") from None
    except (OSError, ValueError) as error:
        raise ReportError(f"{path} is damaged ({error}): {advice}") from error
    if not isinstance(summary, dict):
        raise ReportError(f"{path} is damaged (no JSON object): {advice}")
    return summary


def _seed(summary: dict[str, Any]) -> int | None:
    seed = summary.get("seed")
    return int(seed) if isinstance(seed, int) and not isinstance(seed, bool) else None


def _check_complete(run: Run, path: Path) -> None:
    needed = ("irreps", "target", "unit", "configuration")
    missing = [key for key in needed if not run.summary.get(key)]
    if missing:
        raise ReportError(
            f"{path / 'summary.json'} says finished but lacks {', '.join(missing)}: it is not one "
            "of train.py's, leave it out with --skip-broken"
        )


def _read_metrics(path: Path) -> dict[int, Row]:
    rows: dict[int, Row] = {}
    for number, record in _records(path):
        try:
            row = {key: float(value) for key, value in record.items() if value}
            rows[int(row["epoch"])] = row
        except (TypeError, ValueError, KeyError) as error:
            raise _damaged(path, number) from error
    return rows


def _read_utilization(path: Path) -> dict[int, list[Block]]:
    epochs: dict[int, list[Block]] = {}
    for number, record in _records(path):
        try:
            block = Block(
                layer=record["layer"],
                irrep=record["irrep"],
                channels=int(record["channels"]),
                verdict=record["verdict"],
                mae=float(record["mae"]),
                values={key: float(record[key] or "nan") for key in (*NUMBERS, "attribution")},
            )
            epochs.setdefault(int(record["epoch"]), []).append(block)
        except (TypeError, ValueError, KeyError) as error:
            raise _damaged(path, number) from error
    return epochs


def _records(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for record in reader:
                yield reader.line_num, record
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ReportError(
            f"{path} is damaged ({error}): leave the run out with --skip-broken"
        ) from (error)


def _damaged(path: Path, line: int) -> ReportError:
    return ReportError(
        f"{path} is damaged in line {line}: remove the line, or leave the run out with "
        "--skip-broken"
    )


def wandb_project(run: Run) -> str | None:
    """Project that a run was logged to.

    Parameters
    ----------
    run : Run
        With a directory.

    Returns
    -------
    str or None
        From its config.yaml; None if that does not say.
    """
    import yaml

    path = run.path / "config.yaml" if run.path else None
    if path is None or not path.is_file():
        return None
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ReportError(f"{path} is damaged ({reason}): leave the run out") from error
    project = config.get("project") if isinstance(config, dict) else None
    return str(project) if project else None
