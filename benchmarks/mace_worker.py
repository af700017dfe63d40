"""MACE in a process of its own: it needs another version of e3nn than this project.

`benchmarks.gated` starts it as a script, with an interpreter that has mace-torch, and gives it a
JSON object of settings as its argument. Then it answers every line on standard input, ``train``,
``infer`` or ``memory``, with a line of JSON. Imports torch and mace only.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ELEMENTS = (1, 6, 7, 8, 9)
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}


def build(settings: dict[str, Any]) -> torch.nn.Module:
    """Build MACE with the irreps, radial functions and number of layers of `settings`."""
    torch.serialization.add_safe_globals([slice])  # e3nn 0.4.4 reads its constants with it
    import numpy as np
    from e3nn import o3
    from mace import modules

    irreps = o3.Irreps(settings["irreps"])
    torch.manual_seed(0)
    model: torch.nn.Module = modules.ScaleShiftMACE(
        r_max=settings["cutoff"],
        num_bessel=settings["num_radial"],
        num_polynomial_cutoff=6,
        max_ell=irreps.lmax,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticInteractionBlock"],
        num_interactions=settings["num_layers"],
        num_elements=len(ELEMENTS),
        hidden_irreps=irreps,
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(ELEMENTS)),
        avg_num_neighbors=settings["neighbor_norm"] ** 2,
        atomic_numbers=list(ELEMENTS),
        correlation=settings["correlation"],
        gate=torch.nn.functional.silu,
        radial_MLP=[settings["radial_hidden"]],
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    return model


def read_batch(path: str) -> tuple[dict[str, Tensor], Tensor]:
    """Read the molecules as MACE wants them, and their targets."""
    saved = torch.load(path, weights_only=True)
    z, edges, num_graphs = saved["z"], saved["edge_index"], len(saved["y"])
    data = {
        "positions": saved["pos"],
        "node_attrs": (z[:, None] == torch.tensor(ELEMENTS)).to(saved["pos"].dtype),
        "edge_index": edges,
        "shifts": torch.zeros(edges.shape[1], 3),
        "unit_shifts": torch.zeros(edges.shape[1], 3),
        "cell": torch.zeros(3 * num_graphs, 3),
        "batch": saved["batch"],
        "ptr": saved["ptr"],
    }
    return data, saved["y"]


def first_two(data: dict[str, Tensor], y: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Cut two molecules off a batch."""
    nodes = int(data["ptr"][2])
    is_there = data["edge_index"][0] < nodes
    small = {name: data[name][:nodes] for name in ("positions", "node_attrs", "batch")}
    small |= {name: data[name][is_there] for name in ("shifts", "unit_shifts")}
    small |= {"edge_index": data["edge_index"][:, is_there]}
    return small | {"cell": data["cell"][:6], "ptr": data["ptr"][:3]}, y[:2]


class Worker:
    """A network, its optimizer and a batch.

    Parameters
    ----------
    settings : dict
        From `benchmarks.gated`.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.data, self.y = read_batch(settings["batch"])
        self.read = CLOCKS[settings["clock"]]
        self.model = build(settings)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)

    def predict(self, training: bool) -> Tensor:
        """Predict energies: [g]."""
        found = self.model(dict(self.data), training=training, compute_force=False)
        energy: Tensor = found["energy"]
        return energy

    def train(self) -> float:
        """Run a training step; return its seconds."""
        start = self.read()
        self.optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(self.predict(True), self.y).backward()
        self.optimizer.step()
        return self.read() - start

    @torch.no_grad()
    def infer(self) -> float:
        """Predict; return the seconds."""
        start = self.read()
        self.predict(False)
        return self.read() - start

    def memory(self) -> float:
        """Measure the peak of three training steps above what there was before, MB."""
        whole = self.data, self.y
        self.data, self.y = first_two(*whole)
        self.train()  # loads or compiles what later steps use
        self.data, self.y = whole
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)  # returns what has been freed to the system
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = _resident("VmRSS")
        for _ in range(3):
            self.train()
        return _resident("VmHWM") - before

    def parameters(self) -> float:
        """Count the parameters."""
        return float(sum(p.numel() for p in self.model.parameters()))


def _resident(key: str) -> float:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else float("nan")


def main() -> None:
    """Answer the lines on standard input."""
    warnings.filterwarnings("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may write among the answers
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    worker = Worker(settings)
    actions: dict[str, Callable[[], float]] = {
        "train": worker.train,
        "infer": worker.infer,
        "memory": worker.memory,
        "parameters": worker.parameters,
    }
    for line in sys.stdin:
        print(json.dumps(actions[line.strip()]()), file=answers, flush=True)


if __name__ == "__main__":
    main()
