"""What a network costs: time and memory, measured beside the intact network.

Imports NumPy, torch, torch_geometric and `networks`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch_geometric.data import Batch

from networks.backward_memory import backward_memory
from networks.layered import LayeredNetwork

REPEATS = 7
"""Timings per network; the medians are compared."""


@dataclass(frozen=True)
class Costs:
    """Costs of one network.

    Attributes
    ----------
    memory : float
        Bytes per molecule that a training step keeps for its backward pass.
    inference_rate, training_rate : float
        Molecules per second, relative to the intact network in the same minute.
    """

    memory: float
    inference_rate: float
    training_rate: float


def measure_costs(
    intact: LayeredNetwork, networks: Sequence[LayeredNetwork], training: Batch, inference: Batch
) -> list[Costs]:
    """Measure networks beside the intact one, in turns.

    Parameters
    ----------
    intact : LayeredNetwork
        What rates are relative to.
    networks : sequence of LayeredNetwork
        To measure.
    training, inference : Batch
        Molecules of a training step, and of a prediction.
    """
    return [
        Costs(
            memory=backward_memory(network, training) / training.num_graphs,
            inference_rate=_speedup(
                lambda: _predict(intact, inference),
                lambda network=network: _predict(network, inference),  # type: ignore[misc]
            ),
            training_rate=_speedup(
                lambda: _step(intact, training),
                lambda network=network: _step(network, training),  # type: ignore[misc]
            ),
        )
        for network in networks
    ]


def _predict(network: LayeredNetwork, batch: Batch) -> None:
    with torch.no_grad():
        network(batch)


def _step(network: LayeredNetwork, batch: Batch) -> None:
    with torch.enable_grad():
        network(batch).square().mean().backward()


def _speedup(slow: Callable[[], None], fast: Callable[[], None]) -> float:
    """Ratio of the median times, taken in turns after one call of each."""
    slow()
    fast()
    times = [[_seconds(call) for call in (slow, fast)] for _ in range(REPEATS)]
    medians = np.median(times, axis=0)
    return float(medians[0] / medians[1])


def _seconds(call: Callable[[], None]) -> float:
    _wait()
    begin = time.perf_counter()
    call()
    _wait()
    return time.perf_counter() - begin


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
