"""What the CPU time of ``python sweep.py sweeps/quickstart.yaml`` is spent on.

Imports `benchmarks`, `records` and PyYAML.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.cpu_profiler import TRAINING_BATCH, VARIABLE
from benchmarks.process_tree import Used, run_watched
from benchmarks.result_rows import ResultRows

ROOT = Path(__file__).parents[1]
SWEEP = ROOT / "sweeps" / "quickstart.yaml"
PROFILER = "--trainer.profiler=benchmarks.cpu_profiler.CpuProfiler"
TOTAL = "total"
MEASURING = {
    "utilization, at every epoch and the end": "[Callback]IrrepUtilization",
    "latent space: metrics, hand-over, end": "[Callback]LatentUMAP",
}
"""Parts of a training process, and how the names of their actions begin."""
START, TRAINING = "start-up until the first step", "training steps"
EVALUATION, REST = "validation and test", "other callbacks, checkpoints, end"
WORKER, WANDB, SWEEPING = "UMAP in its own process", "W&B's service", "`sweep.py` and the report"


@dataclass(frozen=True)
class Part:
    """One row: something that time was spent on.

    Attributes
    ----------
    part : str
        What.
    cpu_seconds : float
        User and system time, over all trials.
    wall_seconds : float
        Of the whole command; NaN for its parts, which overlap.
    """

    part: str
    cpu_seconds: float
    wall_seconds: float


def measure_quickstart(path: Path, sweep: Path = SWEEP, only_table: bool = False) -> Iterator[str]:
    """Run the sweep in a fresh folder, unless that was done, and lay out the table.

    Parameters
    ----------
    path : Path
        CSV file of the results; read if it exists.
    sweep : Path
        Sweep file.
    only_table : bool
        Whether to run nothing.

    Yields
    ------
    str
        Lines of Markdown.

    Raises
    ------
    RuntimeError
        If the sweep fails, or writes no report.
    """
    results = ResultRows(Part, path)
    if not results.rows and not only_table:
        with tempfile.TemporaryDirectory() as folder:
            results.add(run_sweep(sweep, Path(folder)))
    yield from table(results.rows)


def run_sweep(sweep: Path, folder: Path) -> list[Part]:
    """Run a sweep file until its report is written.

    Parameters
    ----------
    sweep : Path
        Its trials get a profiler; nothing else is changed.
    folder : Path
        For runs and profiles, empty.

    Raises
    ------
    RuntimeError
        If it fails, or writes no report.
    """
    content: dict[str, Any] = yaml.safe_load(sweep.read_text(encoding="utf-8"))
    content["command"] = [*content["command"][:-1], PROFILER, content["command"][-1]]
    copy = folder / sweep.name
    copy.write_text(yaml.safe_dump(content), encoding="utf-8")
    profiles = folder / "profiles"
    profiles.mkdir()
    environment = {**os.environ, "WANDB_MODE": "offline", VARIABLE: str(profiles)}
    command = [sys.executable, "sweep.py", str(copy), f"--runs_dir={folder / 'runs'}"]
    used, seconds, code = run_watched(command, ROOT, environment)
    report = folder / "runs" / content["name"] / "report.html"
    if code or not report.is_file():
        raise RuntimeError(f"{' '.join(command)} ended with {code}, without its report")
    found = [json.loads(file.read_text()) for file in sorted(profiles.glob("*.json"))]
    return divide(used, found, seconds)


def divide(
    used: Sequence[Used], profiles: Sequence[Mapping[str, Any]], seconds: float
) -> list[Part]:
    """Divide the CPU time of all processes by what it was spent on.

    Parameters
    ----------
    used : sequence of Used
        The sweep's process first.
    profiles : sequence of mapping
        As `CpuProfiler` writes them, one for each training.
    seconds : float
        Duration of the sweep.
    """
    parts = dict.fromkeys([START, TRAINING, *MEASURING, EVALUATION, REST], 0.0)
    for profile in profiles:
        actions, before = profile["actions"], profile["before"]
        own = {TRAINING: actions.get(TRAINING_BATCH, 0.0)}
        own[TRAINING] += _sum(actions, "[_TrainingEpochLoop].train_dataloader_next")
        own |= {name: _sum(actions, start) for name, start in MEASURING.items()}
        own[EVALUATION] = sum(
            _sum(actions, start)
            for start in ("[Strategy]SingleDeviceStrategy.validation_step",
                          "[Strategy]SingleDeviceStrategy.test_step",
                          "[_EvaluationLoop]")
        )  # fmt: skip
        measured = sum(_sum(before, start) for start in MEASURING.values())
        own[START] = before.get("cpu", 0.0) - measured
        for name, cpu in own.items():
            parts[name] += cpu
        parts[REST] += profile["cpu"] - sum(own.values())
    parts |= dict.fromkeys([WORKER, WANDB, SWEEPING], 0.0)
    trainings = 0.0
    for number, process in enumerate(used):
        if number == 0:
            parts[SWEEPING] += process.cpu_seconds
        elif "latents" in process.command:
            parts[WORKER] += process.cpu_seconds
        elif "wandb" in process.command.partition(" ")[0]:
            parts[WANDB] += process.cpu_seconds
        else:
            trainings += process.cpu_seconds
    # What a training process does before its profiler is made, and after the file is written, is
    # in `cpu` already; other small processes count as the rest.
    parts[REST] += max(0.0, trainings - sum(profile["cpu"] for profile in profiles))
    rows = [Part(name, cpu, float("nan")) for name, cpu in parts.items()]
    return [*rows, Part(TOTAL, sum(parts.values()), seconds)]


def _sum(actions: Mapping[str, float], start: str) -> float:
    return sum(seconds for name, seconds in actions.items() if name.startswith(start))


def table(rows: Sequence[Part]) -> Iterator[str]:
    """Lay out the parts as Markdown.

    Parameters
    ----------
    rows : sequence of Part
        The total last.

    Yields
    ------
    str
        Lines.
    """
    if not rows:
        yield "Nothing was measured yet."
        return
    total = rows[-1]
    yield "| what | CPU s | share |"
    yield "|---|---:|---:|"
    for row in rows:
        yield f"| {row.part} | {row.cpu_seconds:.0f} | {row.cpu_seconds / total.cpu_seconds:.0%} |"
    yield f"\nFrom the command to its report: {total.wall_seconds:.0f} s."
