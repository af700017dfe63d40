"""What the programs cost before they do anything: ``python -m benchmarks.startup``.

Starts each command several times, in turns, and prints the median CPU seconds (user and system, all
threads) and the median time. CPU seconds depend little on what else the machine does. "first step"
is what ``train.py`` has used when its first training step of configs/quickstart.yaml ends, with
QM9's cache and the baselines' on disk: imports, options, W&B's start, data, and the measurement of
the untrained network. "sweep.py, each trial" is what a trial takes longer than its own program.
``--against DIR`` lets another checkout take turns; ``--modules`` also lists
the packages whose import takes longest. Nothing imports this.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.first_step import VARIABLE
from records.standard_streams import make_standard_streams_safe

ROOT = Path(__file__).parents[1]
LIBRARIES = "import torch, lightning.pytorch.cli, torch_geometric.data, e3nn.o3, jsonargparse"
FIRST_STEP, EACH_TRIAL = "first step", "sweep.py, each trial"
COMMANDS: dict[str, list[str]] = {
    "train.py --help": ["train.py", "--help"],
    "sweep.py --help": ["sweep.py", "--help"],
    "report.py --help": ["report.py", "--help"],
    "train.py fit --help": ["train.py", "fit", "--help"],
    "the imported libraries alone": ["-c", LIBRARIES],
    FIRST_STEP: ["train.py", "--config", "configs/quickstart.yaml"],
    EACH_TRIAL: [],
}
MANY_TRIALS = 9
_IMPORT = re.compile(r"import time:\s+(\d+) \|\s+\d+ \|\s+([\w]+)")


def run(command: Sequence[str], checkout: Path) -> tuple[float, float]:
    """Run Python in a checkout.

    Parameters
    ----------
    command : sequence of str
        Arguments of the interpreter.
    checkout : Path
        Working directory.

    Returns
    -------
    cpu, wall : float
        Seconds.
    """
    before, start = _used_by_children(), time.perf_counter()
    subprocess.run(
        [sys.executable, *command], cwd=checkout, check=True, capture_output=True, text=True
    )
    return _used_by_children() - before, time.perf_counter() - start


def _used_by_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_to_first_step(command: Sequence[str], checkout: Path) -> tuple[float, float]:
    """Run ``train.py`` until its first step has ended, in a folder that is removed.

    Parameters
    ----------
    command : sequence of str
        Arguments of the interpreter, without the callback and ``--runs_dir``.
    checkout : Path
        Working directory.

    Returns
    -------
    cpu, wall : float
        Seconds.
    """
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder) / "note.json"
        environment = {
            **os.environ,
            "WANDB_MODE": "offline",
            VARIABLE: str(note),
            "PYTHONPATH": str(Path(__file__).parent),
        }
        options = [f"--runs_dir={folder}", "--trainer.callbacks=first_step.FirstStep"]
        start = time.time()
        subprocess.run(
            [sys.executable, *command, *options], cwd=checkout, env=environment, capture_output=True
        )
        return float(json.loads(note.read_text())["cpu"]), note.stat().st_mtime - start


def run_trials(_: Sequence[str], checkout: Path) -> tuple[float, float]:
    """Run sweeps of one and of `MANY_TRIALS` trials that do nothing.

    Parameters
    ----------
    checkout : Path
        Its ``sweep.py`` is run.

    Returns
    -------
    cpu, wall : float
        Seconds per additional trial, those in which Python starts to run its program included.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "nothing.py").touch()
        for count in (1, MANY_TRIALS):
            file = Path(folder) / f"{count}.yaml"
            file.write_text(
                f"name: trials-{count}\nproject: startup\nprogram: nothing.py\nmethod: grid\n"
                "metric: {name: val/mae, goal: minimize}\n"
                f"parameters: {{seed_everything: {{values: {list(range(count))}}}}}\n"
                'command: ["${interpreter}", "${program}", "${args}"]\n'
            )
            command = [sys.executable, str(checkout / "sweep.py"), str(file), "--workers", "1"]
            before, start = _used_by_children(), time.perf_counter()
            # The trials leave no results, which sweep.py reports as failures at its end.
            subprocess.run(command, cwd=folder, capture_output=True, check=False)
            found.append((_used_by_children() - before, time.perf_counter() - start))
    (cpu_one, one), (cpu_many, many) = found
    return (cpu_many - cpu_one) / (MANY_TRIALS - 1), (many - one) / (MANY_TRIALS - 1)


MEASURES: dict[str, Callable[[Sequence[str], Path], tuple[float, float]]] = {
    FIRST_STEP: run_to_first_step,
    EACH_TRIAL: run_trials,
}
"""Of commands that are not just run."""


def slowest_imports(checkout: Path, count: int) -> list[tuple[str, float]]:
    """Sum the seconds that each package's own modules take to be imported for ``fit --help``.

    Parameters
    ----------
    checkout : Path
        Working directory.
    count : int
        How many packages to list.
    """
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *COMMANDS["train.py fit --help"]],
        cwd=checkout, check=True, capture_output=True, text=True,
    )  # fmt: skip
    seconds: Counter[str] = Counter()
    for microseconds, package in _IMPORT.findall(done.stderr):
        seconds[package] += int(microseconds)
    return [(package, total / 1e6) for package, total in seconds.most_common(count)]


def table(found: dict[str, dict[str, list[tuple[float, float]]]]) -> str:
    """Write medians of CPU seconds and time as a Markdown table.

    Parameters
    ----------
    found : dict
        (cpu, wall) of every round, by command and checkout.
    """
    checkouts = list(next(iter(found.values())))
    header = " | ".join(f"{name}: CPU s | s" for name in checkouts)
    ratio = " | CPU, ratio" if len(checkouts) > 1 else ""
    lines = [f"| command | {header}{ratio} |"]
    lines.append("|---" + "|---:" * (2 * len(checkouts) + len(checkouts) - 1) + "|")
    for command, rounds in found.items():
        cpu = [statistics.median(c for c, _ in rounds[name]) for name in checkouts]
        wall = [statistics.median(w for _, w in rounds[name]) for name in checkouts]
        cells = [f"{c:.2f} | {w:.2f}" for c, w in zip(cpu, wall)]
        if len(checkouts) > 1:
            cells.append(f"{cpu[1] / cpu[0]:.2f}")
        lines.append(f"| {command} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table.

    Parameters
    ----------
    arguments : list of str, optional
        Command line; by default, that of the program.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--commands", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--against", type=Path, metavar="DIR", help="an earlier checkout")
    parser.add_argument("--modules", type=int, default=0, metavar="N", help="list N packages")
    options = parser.parse_args(arguments)
    checkouts = {"before": options.against, "now": ROOT} if options.against else {"now": ROOT}
    found: dict[str, dict[str, list[tuple[float, float]]]] = {
        command: {name: [] for name in checkouts} for command in options.commands
    }
    for number in range(options.rounds + 1):
        for command in options.commands:
            for name, checkout in checkouts.items():
                result = MEASURES.get(command, run)(COMMANDS[command], checkout)
                if number:  # the first round fills the caches of files
                    found[command][name].append(result)
    print(table(found))
    for package, seconds in slowest_imports(ROOT, options.modules) if options.modules else []:
        print(f"{seconds:8.2f} s  {package}")


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
