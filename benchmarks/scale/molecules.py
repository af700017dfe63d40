"""QM9's molecules, from 14 to 131 thousand: data, an epoch's set-up, and training steps.

May import everything but the programs.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

import torch

from benchmarks.scale.costs import Meter
from lightning_modules.qm9_datamodule import QM9DataModule
from networks.convnet import EquivariantConvNet
from qm9.cache import load_or_build
from qm9.composition import fit_composition
from qm9.graphs import bond_edges, radius_edges

CUTOFF = 5.0
"""Angstrom."""
STEPS = 50
BATCH_SIZE = 32


def measure_neighbors(meter: Meter, folder: Path) -> None:
    """Measure finding the edges of the first molecules, by both graphs."""
    data = load_or_build(progress=False)
    offsets = data.node_offsets[: meter.size + 1]
    pos, z = data.pos[: offsets[-1]], data.z[: offsets[-1]]
    radius_edges(pos, offsets[:2], CUTOFF)  # what a first call alone costs
    meter.measure("radius graph", lambda: radius_edges(pos, offsets, CUTOFF))
    meter.measure("bonds", lambda: bond_edges(pos, z, offsets))


def measure_training(meter: Meter, folder: Path) -> None:
    """Measure what a run on this many training molecules does before its first step, and steps."""
    data = QM9DataModule(
        graph="radius",
        cutoff=CUTOFF,
        train_size=meter.size,
        batch_size=BATCH_SIZE,
        shuffle_seed=0,
    )
    meter.measure("loading all QM9", data.prepare_data)
    meter.measure("parts and edges", data.setup)
    # Measured, and not looked up in the folder of the cache.
    meter.measure("baselines", data._measure_baselines)
    meter.measure(
        "composition", lambda: fit_composition(data.element_counts("train"), data.targets("train"))
    )
    loader = data.train_dataloader()
    meter.measure("an epoch's batches", lambda: deque(loader, maxlen=0))
    step = _Steps(data)
    step()
    meter.measure(f"{STEPS} training steps", lambda: deque(map(step, range(STEPS)), maxlen=0))


class _Steps:
    """Training steps of a small network, over the batches of an epoch.

    Parameters
    ----------
    data : QM9DataModule
        Set up.
    """

    def __init__(self, data: QM9DataModule) -> None:
        torch.manual_seed(0)
        self._batches = iter(data.train_dataloader())
        self._data = data
        self._network = EquivariantConvNet("8x0e+8x1o+8x2e", num_layers=3, cutoff=CUTOFF)
        self._optimizer = torch.optim.AdamW(self._network.parameters(), lr=1e-3, fused=True)

    def __call__(self, number: int = 0) -> None:
        """Take the next step, whatever its number."""
        batch = next(self._batches)
        y = ((batch.y - self._data.target_mean) / self._data.target_std).float()
        self._optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.mse_loss(self._network(batch), y).backward()
        self._optimizer.step()
