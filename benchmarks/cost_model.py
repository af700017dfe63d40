"""Measured times of both orders of contraction beside those that the cost model estimates.

``python -m benchmarks.cost_model`` prints nanoseconds per node for the forward and backward pass of
single layers on one core, the estimates of `networks.convolution.cost_model`, and how much slower
the chosen order is where the cost model chooses the slower one. May import everything; nothing
imports it.
"""

from __future__ import annotations

import time
from typing import Any

import torch
from torch_geometric.data import Batch

from benchmarks.training_step import Row, molecules
from networks.convnet import EquivariantConvNet
from networks.convolution.contraction import graph_of
from networks.convolution.cost_model import ORDERS, Order, Plan
from networks.convolution.fast import FastConvolution
from networks.geometry import Geometry
from records.standard_streams import make_standard_streams_safe

SETS = (
    ((0,), 32),
    ((0, 1), 16),
    ((0, 2), 16),
    ((0, 1, 2), 8),
    ((0, 1, 2), 16),
    ((0, 1, 2), 32),
    ((0, 1, 2, 3), 16),
    ((0, 1, 2, 3, 4), 8),
    ((0, 1, 2, 3, 4), 16),
    ((0, 3, 4, 5, 6), 16),
)
LAYERS = {"first": 0, "middle": 1, "last": 4}
REPEATS = 7


def layer_time(layer: FastConvolution, order: Order, geometry: Geometry, plan: Plan) -> float:
    """Measure forward and backward pass of a layer in one order.

    Parameters
    ----------
    layer : FastConvolution
        The layer.
    order : {"nodes", "edges"}
        Order of contraction.
    geometry : Geometry
        The batch's edges.
    plan : Plan
        The cost model's choice; its directions are used.

    Returns
    -------
    float
        Nanoseconds per node, the smallest of `REPEATS` repetitions. Two warm-up runs before them
        compute what layers share.
    """
    x = torch.randn(geometry.num_nodes, layer.irreps_in.dim, requires_grad=True)
    layer.contraction.force(graph_of(geometry), Plan(order, plan.directions, plan.cost))
    times = []
    for _ in range(REPEATS + 2):
        start = time.perf_counter()
        layer(x, geometry).sum().backward()
        times.append(time.perf_counter() - start)
    return 1e9 * min(times[2:]) / geometry.num_nodes


def compare(row: Row, batch: Batch) -> list[str]:
    """Measure the first, a middle and the last layer of the published network.

    Parameters
    ----------
    row : Row
        Network.
    batch : Batch
        Molecules.

    Returns
    -------
    list of str
        One row of the table per layer.
    """
    torch.manual_seed(0)
    network = EquivariantConvNet(row.irreps)
    geometry = network.prepare(batch)
    lines = []
    for name, k in LAYERS.items():
        layer: Any = network.layers[k]
        plan = layer.contraction.plan(graph_of(geometry))
        times = {order: layer_time(layer, order, geometry, plan) for order in ORDERS}
        best = min(ORDERS, key=times.__getitem__)
        slowdown = "" if plan.order == best else f"{times[plan.order] / times[best]:.2f}"
        figures = [f"{value[order]:,.0f}" for order in ORDERS for value in (times, plan.cost)]
        lines.append(f"| {row.name} | {name} | {' | '.join(figures)} | {plan.order} | {slowdown} |")
    return lines


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print("| graph, degrees | layer | nodes | model | edges | model | chosen | slowdown |")
    print("|---|---|---:|---:|---:|---:|---|---:|")
    for graph in ("bonds", "radius"):
        batch = molecules(graph, 32)
        for degrees, channels in SETS:
            print("\n".join(compare(Row(graph, degrees, channels), batch)), flush=True)


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
