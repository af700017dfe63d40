"""Training speed on a GPU: ``python -m benchmarks.gpu [--device cuda] [--rows IRREPS …]``.

For every published set of irreps it prints epoch time, molecules/s and memory of the fast
convolution with its step replayed from a CUDA graph. It also prints the speed-up over the fast
convolution without a graph, e3nn's layers as published, e3nn's layers with trimmed irreps and
compiled products, and the products of cuEquivariance and OpenEquivariance if they are installed.
The molecules are on the device. ``--device cpu`` runs the same on a CPU, without a graph.

Each network is measured in a process of its own, so that neither a lack of memory nor what torch
has compiled for one affects another. ``--json FILE`` gets a line as soon as one is measured; the
same command goes on with what the file lacks. May import everything; nothing imports it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Batch

from benchmarks.rivals import MODULES, installed, replace_products
from lightning_modules.qm9_datamodule import QM9DataModule
from networks.convnet import EquivariantConvNet
from networks.cuda_graph import BatchShape, PaddedNetwork, likely_shape
from qm9.batching import EpochSampler, MoleculeLoader
from records.standard_streams import make_standard_streams_safe
from sweeping.file import load_sweep_file
from sweeping.space import grid

ROOT = Path(__file__).parents[1]
SWEEPS = ("paper_single_degree", "paper_lmax", "paper_long")
MOLECULES_PER_EPOCH = 110_000
BATCH_SIZE = 32
GRAPH = "fast, CUDA graph"
VARIANTS = (GRAPH, "fast", "e3nn", "e3nn compiled", *MODULES)
"""Epoch times are those of the first variant measured; the others are compared with it."""


def published() -> dict[str, int]:
    """Sum the epochs of every published set of irreps over its sweeps, for one seed.

    The sweeps also train each on a target reference that was not published.
    """
    epochs: dict[str, int] = {}
    for name in SWEEPS:
        trials = list(grid(load_sweep_file(Path("sweeps") / f"{name}.yaml").parameters))
        seed = trials[0]["seed_everything"]
        for trial in trials:
            raw = trial.get("model.reference", "mean") == "mean"
            if trial["seed_everything"] == seed and raw:
                irreps = trial["model.irreps"]
                epochs[irreps] = epochs.get(irreps, 0) + int(trial["trainer.max_epochs"])
    return epochs


def build(irreps: str, variant: str, device: torch.device) -> EquivariantConvNet:
    """Build a network.

    Parameters
    ----------
    irreps : str
        Feature irreps.
    variant : str
        One of `VARIANTS`.
    device : torch.device
        Device of the network.
    """
    torch.manual_seed(0)
    if variant in (GRAPH, "fast"):
        return EquivariantConvNet(irreps).to(device)
    trimmed = variant != "e3nn"  # as published, nothing is trimmed
    network = EquivariantConvNet(irreps, convolution="e3nn", trim_unreachable=trimmed).to(device)
    if variant == "e3nn compiled":
        network.compile_tensor_products()
    elif variant in MODULES:
        replace_products(network, variant)
    return network


def measure(
    network: EquivariantConvNet,
    batches: Callable[[], Iterator[Batch]],
    seconds: float,
    shape: BatchShape | None = None,
) -> dict[str, float]:
    """Measure the speed and memory of training.

    Parameters
    ----------
    network : EquivariantConvNet
        On its device.
    batches : callable
        Returns an endless stream of batches with standardized ``y``.
    seconds : float
        How long to measure, after five warm-up steps.
    shape : BatchShape, optional
        Pad the batches to this shape, and on CUDA replay a recorded step.

    Returns
    -------
    dict
        ``molecules_per_s``, ``steps``, and ``memory_mb``, the peak of what the allocator has taken
        from the device, beyond that before; the pools of recorded graphs are in it (NaN on a CPU).
    """
    device = network.embedding.weight.device
    on_gpu = device.type == "cuda"
    before = torch.cuda.memory_reserved(device) if on_gpu else 0
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)
    predict = network if shape is None else PaddedNetwork(network, shape)
    stream = batches()

    def step() -> int:
        batch = next(stream)
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(predict(batch), batch.y).backward()
        optimizer.step()
        return int(batch.num_graphs)

    def wait() -> None:
        if on_gpu:
            torch.cuda.synchronize(device)

    for _ in range(5):
        step()
    wait()
    start, molecules, steps = time.perf_counter(), 0, 0
    # The host runs ahead of the device, so it waits only after every ten steps.
    while time.perf_counter() - start < seconds:
        for _ in range(10 if on_gpu else 1):
            molecules += step()
            steps += 1
        wait()
    elapsed = time.perf_counter() - start
    memory = (torch.cuda.max_memory_reserved(device) - before) / 2**20 if on_gpu else math.nan
    return {"molecules_per_s": molecules / elapsed, "memory_mb": memory, "steps": steps}


def stream_of(graph: str, device: torch.device) -> tuple[Callable[[], Iterator[Batch]], BatchShape]:
    """Set up shuffled batches of the training part, collated on the device.

    Parameters
    ----------
    graph : {"bonds", "radius"}
        Edges of the molecules.
    device : torch.device
        Device of the molecules.

    Returns
    -------
    batches : callable
        Returns an endless stream of batches.
    shape : BatchShape
        Nearly all batches fit it.
    """
    data = QM9DataModule(
        graph=graph, cutoff=5.0 if graph == "radius" else 6.0, batch_size=BATCH_SIZE
    )
    data.prepare_data()
    data.setup("fit")
    loader = MoleculeLoader(
        data.place(device), EpochSampler(data.splits["train"], BATCH_SIZE, seed=0)
    )

    def batches() -> Iterator[Batch]:
        while True:
            for batch in loader:
                batch.y = ((batch.y - data.target_mean) / data.target_std).float()
                yield batch

    num_nodes, neighbor_counts = data.training_sizes()
    shape = likely_shape(num_nodes, neighbor_counts, BATCH_SIZE)
    room = shape.num_nodes / num_nodes.mean() / BATCH_SIZE - 1
    edge_room = shape.num_edges * len(num_nodes) / neighbor_counts.sum() / BATCH_SIZE - 1
    print(
        f"padded batches: {room:.0%} more atoms, {edge_room:.0%} more edges than the average batch"
    )
    return batches, shape


def measure_here(options: argparse.Namespace, irreps: str, variant: str) -> dict[str, Any]:
    """Measure one network in this process.

    Parameters
    ----------
    options : argparse.Namespace
        ``device``, ``graph`` and ``seconds``.
    irreps, variant : str
        As for `build`.

    Returns
    -------
    dict
        From `measure`, with ``irreps``, ``variant`` and the device's ``name``.
    """
    device = torch.device(options.device)
    batches, shape = stream_of(options.graph, device)
    padded = shape if variant == GRAPH else None
    figures = measure(build(irreps, variant, device), batches, options.seconds, padded)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return {"irreps": irreps, "variant": variant, "name": name, **figures}


def measure_apart(options: argparse.Namespace, irreps: str, variant: str) -> dict[str, Any]:
    """Measure one network in a process of its own.

    Parameters
    ----------
    options, irreps, variant
        As for `measure_here`.

    Returns
    -------
    dict
        From `measure_here`; or ``irreps``, ``variant`` and ``error``, the last line that the
        process has written.
    """
    command = [sys.executable, "-m", "benchmarks.gpu", "--one", irreps, variant]
    for name in ("device", "graph", "seconds"):
        command += [f"--{name}", str(getattr(options, name))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found
    last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return {"irreps": irreps, "variant": variant, "error": last[:300]}


def read_results(path: Path | None) -> list[dict[str, Any]]:
    """Read what was measured before; measurements that have failed are made again."""
    if path is None or not path.exists():
        return []
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if "error" not in line]


def table(results: list[dict[str, Any]], variants: list[str]) -> str:
    """Write the figures as a Markdown table.

    Parameters
    ----------
    results : list of dict
        From `measure_apart`; a set of irreps may lack some variants.
    variants : list of str
        The first one is compared with the others.
    """
    ours, *rivals = variants
    rates = {(r["irreps"], r["variant"]): r for r in results if "error" not in r}
    header = ["irreps", "epoch s", "molecules/s", "memory MB", *(f"× {name}" for name in rivals)]
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    for irreps in dict.fromkeys(result["irreps"] for result in results):
        fast = rates.get((irreps, ours))
        if fast is None:
            lines.append(f"| {irreps} |" + " – |" * (len(header) - 1))
            continue
        cells = [
            irreps,
            f"{MOLECULES_PER_EPOCH / fast['molecules_per_s']:.1f}",
            f"{fast['molecules_per_s']:,.0f}",
            "–" if math.isnan(fast["memory_mb"]) else f"{fast['memory_mb']:,.0f}",
        ]
        for name in rivals:
            rival = rates.get((irreps, name))
            known = rival and fast["molecules_per_s"] / rival["molecules_per_s"]
            cells.append(f"{known:.1f}" if known else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table.

    Parameters
    ----------
    arguments : list of str, optional
        Command line; by default, that of the program.
    """
    epochs = published()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--graph", choices=["bonds", "radius"], default="bonds")
    parser.add_argument("--rows", nargs="+", default=list(epochs), metavar="IRREPS")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, help="default: all installed")
    parser.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="append a line per measurement")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no CUDA device: give --device cpu to run on the CPU")
    if options.one:
        print(json.dumps(measure_here(options, *options.one)))
        return
    found = [v for v in VARIANTS if v not in MODULES or installed(v)]
    if not options.device.startswith("cuda"):
        found.remove(GRAPH)
    variants = [v for v in VARIANTS if v in (options.variants or found)]
    results = read_results(options.json)
    known = {(result["irreps"], result["variant"]) for result in results}
    for irreps, variant in itertools.product(options.rows, variants):
        if (irreps, variant) in known:
            continue
        results.append(measure_apart(options, irreps, variant))
        _keep(results[-1], options.json)
    results = [r for r in results if r["irreps"] in options.rows]
    names = ", ".join(dict.fromkeys(r["name"] for r in results if "name" in r))
    print(f"\n{names}, {options.graph} graph, batches of {BATCH_SIZE}, float32, {variants[0]}\n")
    print(table(results, variants))
    ours = [r for r in results if r["variant"] == variants[0] and "error" not in r]
    if {r["irreps"] for r in ours} == set(epochs):
        times = [epochs[r["irreps"]] * MOLECULES_PER_EPOCH / r["molecules_per_s"] for r in ours]
        print(f"\nAll published runs, one seed: {sum(times) / 3600:.1f} hours on this device")


def _keep(result: dict[str, Any], path: Path | None) -> None:
    """Say what was measured, and append it to a file."""
    shown = result.get("error") or f"{result['molecules_per_s']:,.0f} molecules/s"
    print(f"{result['irreps']}, {result['variant']}: {shown}", flush=True)
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
