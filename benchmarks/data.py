"""Cost of the data pipeline beside that of PyG's own: ``python -m benchmarks.data``.

May import everything; nothing imports it.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from statistics import median

import torch
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from lightning_modules.qm9_datamodule import QM9DataModule
from qm9.cache import load_or_build
from qm9.graphs import radius_edges
from records.standard_streams import make_standard_streams_safe

BATCH_SIZE = 32
RADIUS = 5.0


def seconds_per_batch(batches: Iterable[Batch], count: int) -> float:
    """Measure the wall time per batch, averaged over `count` batches."""
    start = time.perf_counter()
    for _ in islice(batches, count):
        pass
    return (time.perf_counter() - start) / count


def compare(
    ours: Iterable[Batch], peer: Iterable[Batch], count: int, rounds: int
) -> dict[str, float]:
    """Measure the median time of each in alternation, and the median ratio within a round."""
    for batches in (ours, peer):  # warm-up
        seconds_per_batch(batches, count)
    pairs = [
        (seconds_per_batch(ours, count), seconds_per_batch(peer, count)) for _ in range(rounds)
    ]
    return {
        "ours_us": median(a for a, _ in pairs) * 1e6,
        "peer_us": median(b for _, b in pairs) * 1e6,
        "ratio": median(b / a for a, b in pairs),
    }


class SearchedEdges:
    """Iterates over the same batches, but searches the radius graph's edges in each of them."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            radius_edges(batch.pos, batch.ptr, RADIUS)
            yield batch


def measure_loaders(cache_dir: str | None, count: int, rounds: int) -> dict[str, dict[str, float]]:
    """Compare with PyG's `DataLoader` over a list of `Data`, in memory, on both graphs."""
    results = {}
    for graph in ("bonds", "radius"):
        module = QM9DataModule(
            graph=graph,
            cutoff=RADIUS,
            cache_dir=cache_dir,
            train_size=count * BATCH_SIZE,
            batch_size=BATCH_SIZE,
        )
        module.prepare_data()
        module.setup()
        loader = module.train_dataloader()
        items = [module.store.data(row) for row in module.splits["train"].tolist()]
        pyg = DataLoader(items, batch_size=BATCH_SIZE, shuffle=True)
        results[f"{graph}: PyG DataLoader"] = compare(loader, pyg, count, rounds)
    results["radius: searching the edges"] = compare(loader, SearchedEdges(loader), count, rounds)
    return results


def measure_start(cache_dir: str) -> dict[str, float]:
    """Measure wall time and peak memory of `load_or_build` in a separate process."""
    command = [sys.executable, "-m", "benchmarks.data", "--start", "--cache_dir", cache_dir]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    result: dict[str, float] = json.loads(output.splitlines()[-1])
    return result


def _start(cache_dir: str) -> None:
    before = _peak_memory()
    start = time.perf_counter()
    load_or_build(cache_dir)
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_gb": _peak_memory(), "imports_gb": before}))


def _peak_memory() -> float:
    """Peak resident memory of this process in GB (Linux reports kB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; see ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data", description=__doc__)
    parser.add_argument("--cache_dir", default=None, help="prepared data for the loaders")
    parser.add_argument("--batches", type=int, default=300, help="batches per round")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds")
    parser.add_argument("--json", type=Path, default=None, help="write the results here as well")
    parser.add_argument("--start", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.start:
        _start(options.cache_dir)
        return 0
    with tempfile.TemporaryDirectory() as empty:
        cold, warm = measure_start(empty), measure_start(empty)
    loaders = measure_loaders(options.cache_dir, options.batches, options.rounds)
    print(f"\n{torch.get_num_threads()} threads, batches of {BATCH_SIZE}, radius {RADIUS} A\n")
    print(f"{'':42}{'seconds':>9}{'peak GB':>9}{'of which imports':>18}")
    for name, result in (("first preparation", cold), ("later starts", warm)):
        print(f"{name:42}{result['seconds']:9.2f}{result['peak_gb']:9.2f}", end="")
        print(f"{result['imports_gb']:18.2f}")
    print(f"\n{'compared with':42}{'ours, us':>9}{'peer, us':>9}{'ratio':>8}")
    for name, row in loaders.items():
        print(f"{name:42}{row['ours_us']:9.0f}{row['peer_us']:9.0f}{row['ratio']:8.1f}")
    if options.json is not None:
        results = {"cold": cold, "warm": warm, "loaders": loaders}
        options.json.write_text(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    make_standard_streams_safe()
    sys.exit(main())
