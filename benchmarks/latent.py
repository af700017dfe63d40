"""What `LatentUMAP` costs the training process: ``python -m benchmarks.latent [--quickstart]``.

May import everything; nothing imports it.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from statistics import median
from typing import Any

import psutil
import torch
import yaml

from analysis.latent_embedding import choose_layer
from callbacks.latent_umap import LatentUMAP
from latents.client import UmapClient
from latents.snapshots import Snapshots
from lightning_modules.measured import MEASURED_PART, measured_batches
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from records.latents import Settings, write_molecules, write_snapshot
from records.standard_streams import make_standard_streams_safe

PROJECT = Path(__file__).resolve().parents[1]


def read_config(name: str) -> dict[str, Any]:
    """Read the options of ``configs/<name>.yaml``."""
    config: dict[str, Any] = yaml.safe_load((PROJECT / "configs" / f"{name}.yaml").read_text())
    return config


def training_steps(
    model: EquivariantRegressor, data: QM9DataModule
) -> Callable[[int], tuple[float, float]]:
    """Make a function that trains on a number of batches and returns wall and CPU s per batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    batches = cycle(data.train_dataloader())

    def steps(count: int) -> tuple[float, float]:
        start, cpu_start = time.perf_counter(), time.process_time()
        for _ in range(count):
            batch = next(batches)
            optimizer.zero_grad()
            model.loss(model(batch), model.reference.standardize(batch)).backward()
            optimizer.step()
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu_start
        return wall / count, cpu / count

    return steps


def measure_paper_epoch(count: int, rounds: int) -> dict[str, float]:
    """Measure the hand-over of a snapshot, and training beside a busy worker.

    The network is that of configs/paper.yaml. Training uses all cores but one, which leaves one to
    the worker if nothing else runs. The ratio of CPU times is meaningful on a busy machine too.
    Signals stop and continue the worker, so training with and without it is measured alternately.
    """
    config = read_config("paper")
    data = QM9DataModule(**config["data"])
    data.prepare_data()
    data.setup()
    model = EquivariantRegressor(**config["model"], target=data.target.name)
    steps = training_steps(model, data)
    torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))
    callback = LatentUMAP()
    idx = data.splits[MEASURED_PART][: callback.num_molecules]
    batches = measured_batches(data, model.network, len(idx), callback.batch_size)
    snapshots = Snapshots(idx, [data.smiles(int(i)) for i in idx], batches)

    def hand_over(number: int) -> None:
        snapshot = snapshots.take(
            model.network, lambda standardized, _: standardized, layer, number, number
        )
        write_snapshot(directory, snapshot)
        client.submit({"do": "frame", "frame": number})

    layer = choose_layer(model.network, None)
    unit = data.target
    settings = Settings(unit.name, unit.unit, unit.reporting_unit, unit.reporting_factor, "", layer)
    with tempfile.TemporaryDirectory() as root:
        directory = Path(root)
        write_molecules(directory, snapshots.molecules(settings))
        client = UmapClient(directory, print)
        client.begin()
        hand_overs, alone, beside = [], [], []
        for number in range(rounds):
            start = time.perf_counter()
            hand_over(number)
            hand_overs.append(time.perf_counter() - start)
            os.kill(client.pid, signal.SIGCONT)
            beside.append(steps(count))
            os.kill(client.pid, signal.SIGSTOP)
            alone.append(steps(count))
        os.kill(client.pid, signal.SIGCONT)
        client.wait(600)
        begun = cpu_seconds(client.pid)
        hand_over(rounds)
        client.wait(600)
        busy = cpu_seconds(client.pid) - begun
        client.close(0.0)
    epoch = median(wall for wall, _ in alone) * len(data.train_dataloader())
    ratios = [(b[0] / a[0], b[1] / a[1]) for a, b in zip(alone, beside)]
    return {
        "epoch_s": epoch,
        "hand_over_s": median(hand_overs),
        "hand_over_percent_of_epoch": 100 * median(hand_overs) / epoch,
        "worker_cpu_s_per_epoch": busy,
        "while_worker_is_busy_wall_percent": 100 * (median(wall for wall, _ in ratios) - 1),
        "while_worker_is_busy_cpu_percent": 100 * (median(cpu for _, cpu in ratios) - 1),
    }


def cpu_seconds(pid: int) -> float:
    """Sum the user and system time that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def measure_quickstart(extra: list[str]) -> dict[str, float]:
    """Measure wall and CPU time of the whole quickstart training with and without `LatentUMAP`."""
    results: dict[str, float] = {}
    for enabled in ("false", "true"):
        with tempfile.TemporaryDirectory() as root:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = time.perf_counter()
            subprocess.run(
                [
                    sys.executable,
                    "train.py",
                    "--config=configs/quickstart.yaml",
                    f"--latent.enabled={enabled}",
                    f"--runs_dir={root}",
                    "--trainer.enable_progress_bar=false",
                    *extra,
                ],
                cwd=PROJECT,
                env={**os.environ, "WANDB_MODE": "disabled"},
                stdout=subprocess.DEVNULL,
                check=True,
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        name = "with" if enabled == "true" else "without"
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        results |= {f"{name}_wall_s": time.perf_counter() - start, f"{name}_cpu_s": cpu}
    for clock in ("wall", "cpu"):
        ratio = results[f"with_{clock}_s"] / results[f"without_{clock}_s"]
        results[f"longer_percent_{clock}"] = 100 * (ratio - 1)
    return results


def main(arguments: list[str]) -> None:
    """Measure and print the results as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latent", description=__doc__)
    parser.add_argument("--count", type=int, default=10, help="training batches per round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--quickstart",
        action="store_true",
        help="also train the whole quickstart, with and without",
    )
    options, extra = parser.parse_known_args(arguments)
    results = {"paper epoch": measure_paper_epoch(options.count, options.rounds)}
    if options.quickstart:
        results["quickstart"] = measure_quickstart(extra)
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    make_standard_streams_safe()
    main(sys.argv[1:])
