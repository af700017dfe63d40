"""How long the trainings of sweeps take on one CPU core: ``python -m benchmarks.rates [SWEEP …]``.

Measures the CPU time of one thread, which other work on the machine changes little. What is not
training (starting, measuring networks, testing) comes on top. May import everything.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from qm9.targets import get_target
from records.standard_streams import make_standard_streams_safe
from sweeping.file import load_sweep_file
from sweeping.space import grid

BATCH = 32
STEPS = 3
SAME_RATE = (
    "model.lr",
    "model.lr_schedule",
    "model.warmup_steps",
    "model.reference",
    "model.target",
    "model.loss",
)
"""Options that do not change the cost of a step."""
PUBLISHED_TRAINING_PART = 104_664
"""Molecules of configs/paper.yaml."""


def cpu_seconds_per_molecule(options: dict[str, Any], data: QM9DataModule) -> float:
    """Measure the training speed of one network.

    Parameters
    ----------
    options : dict
        Constructor arguments of `EquivariantRegressor`.
    data : QM9DataModule
        Set up. Each step trains on the first `BATCH` training molecules.

    Returns
    -------
    float
        CPU seconds of one thread per training molecule, the smallest of `STEPS` steps.
    """
    model = EquivariantRegressor(**options)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    batch = data.batch(data.splits["train"][:BATCH])
    target = torch.zeros_like(model(batch))  # of any rank
    times = []
    for _ in range(STEPS):
        start = time.process_time()
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(batch), target).backward()
        optimizer.step()
        times.append(time.process_time() - start)
    return min(times) / BATCH


def merged_options(command: Sequence[str], trial: Mapping[str, Any]) -> dict[str, Any]:
    """Merge the options of a trial as the program does, from left to right.

    Parameters
    ----------
    command : sequence of str
        Of the sweep file: configurations (``--config=``, a file or YAML), options, and
        ``${args}``, which stands for those of the trial.
    trial : mapping
        Values by parameter.

    Returns
    -------
    dict
        Values by dotted name, e.g. ``model.irreps``.
    """
    given = [f"--{name}={value}" for name, value in sorted(trial.items())]
    items = [option for item in command for option in (given if item == "${args}" else [item])]
    options: dict[str, Any] = {}
    for item in items:
        name, is_option, value = item.removeprefix("--").partition("=")
        if name == "config":
            text = value if value.startswith("{") else Path(value).read_text(encoding="utf-8")
            options |= _flat(yaml.safe_load(text))
        elif is_option:
            options[name] = yaml.safe_load(value)
    return options


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def sweep_hours(path: Path, rates: dict[str, float]) -> float:
    """Estimate the hours of training that a grid takes on one core.

    Parameters
    ----------
    path : Path
        A grid sweep file.
    rates : dict
        Rates measured so far; new ones are added.
    """
    seconds = 0.0
    sweep = load_sweep_file(path)
    for trial in grid(sweep.parameters):
        options = merged_options(sweep.command, trial)
        model = {
            k.removeprefix("model."): v
            for k, v in options.items()
            if k.startswith("model.") and k not in SAME_RATE
        }
        if get_target(options.get("data.target", "U0")).rank:
            model["target"] = options["data.target"]  # its readout takes another irrep
        graph = options.get("data.graph", "radius" if model.get("network") == "gated" else "bonds")
        key = repr((sorted(model.items()), graph))
        if key not in rates:
            cutoff = float(model.get("cutoff", 6.0))
            data = QM9DataModule(graph=graph, cutoff=cutoff, train_size=BATCH, val_size=2)
            data.prepare_data()
            data.setup("fit")
            rates[key] = cpu_seconds_per_molecule(model, data)
            names = ("target", "irreps", "inner_irreps")
            named = ", ".join(f"{name} {model[name]}" for name in names if name in model)
            print(f"  {named}, {graph}: {1 / rates[key]:,.0f} molecules/s", flush=True)
        train_size = options.get("data.train_size") or PUBLISHED_TRAINING_PART
        seconds += rates[key] * train_size * int(options["trainer.max_epochs"])
    return seconds / 3600


def main() -> None:
    """Print the measured rates, and the hours of each sweep file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweeps", nargs="*", type=Path, default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rates: dict[str, float] = {}
    # Only grids have a known list of runs.
    files = sorted(Path("sweeps").glob("**/*.yaml"))
    grids = [p for p in files if "\nmethod: grid" in p.read_text(encoding="utf-8")]
    for path in arguments.sweeps or grids:
        print(path)
        print(f"{path}: {sweep_hours(path, rates):,.1f} hours on one core", flush=True)


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
