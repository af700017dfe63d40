"""How long the sweeps take on CPU cores: ``python -m benchmarks.rates [SWEEP …]``.

Measures the CPU time of one thread, which other work on the machine changes little. May import
everything; nothing imports it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from records.standard_streams import make_standard_streams_safe
from sweeping.file import load_sweep_file
from sweeping.space import grid

BATCH = 32
STEPS = 3
CORES = 2


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
    target = model.reference.standardize(batch)
    times = []
    for _ in range(STEPS):
        start = time.process_time()
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(batch), target).backward()
        optimizer.step()
        times.append(time.process_time() - start)
    return min(times) / BATCH


def sweep_hours(path: Path, rates: dict[str, float]) -> float:
    """Estimate the hours that a grid takes on `CORES` cores with one worker per core.

    Parameters
    ----------
    path : Path
        A grid sweep file that starts from configs/paper.yaml.
    rates : dict
        Rates measured so far; new ones are added.
    """
    seconds = 0.0
    for trial in grid(load_sweep_file(path).parameters):
        graph = trial.get("data.graph", "bonds")
        cutoff = float(trial.get("model.cutoff", 6.0))
        model = {k.removeprefix("model."): v for k, v in trial.items() if k.startswith("model.")}
        key = repr((sorted(model.items()), graph))
        if key not in rates:
            data = QM9DataModule(graph=graph, cutoff=cutoff, train_size=BATCH, val_size=1)
            data.prepare_data()
            data.setup("fit")
            rates[key] = cpu_seconds_per_molecule(model, data)
            print(
                f"  {model.get('irreps')}, {graph}: {1 / rates[key]:,.0f} molecules/s", flush=True
            )
        molecules = 104_664 * int(trial.get("trainer.max_epochs", 30))
        seconds += rates[key] * molecules
    return seconds / 3600 / CORES


def main() -> None:
    """Print the measured rates, and the hours of each sweep file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweeps", nargs="*", type=Path, default=[])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rates: dict[str, float] = {}
    # Only grids have a known list of runs, and the sizes here are those of configs/paper.yaml.
    needed = ("\nmethod: grid", "configs/paper.yaml")
    files = sorted(Path("sweeps").glob("*.yaml"))
    grids = [p for p in files if all(text in p.read_text() for text in needed)]
    for path in arguments.sweeps or grids:
        print(path)
        print(f"{path}: {sweep_hours(path, rates):,.1f} hours on {CORES} cores", flush=True)


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
