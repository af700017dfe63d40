"""A graph's edges arranged as tables of slots, so that sums over edges are matrix products.

A slot is an edge seen from its center; the other end is its neighbour. Imports NumPy, torch
and this package only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LEAST_FILL = 0.85
"""A block takes nodes that have at least this fraction of its first node's neighbours."""


@dataclass(frozen=True)
class Block:
    """Consecutive centers with the same number of slots each.

    Attributes
    ----------
    start : int
        First center.
    num_centers : int
        Number of centers.
    first_slot : int
        First slot.
    degree : int
        Slots a center.
    """

    start: int
    num_centers: int
    first_slot: int
    degree: int


@dataclass(frozen=True)
class NodeSlots:
    """Slots grouped by center, padded to the same number in every center of a block.

    Attributes
    ----------
    centers : Tensor
        [c] int64, the nodes that have neighbours, those with most first.
    neighbor : Tensor
        [s] int64, the node at the other end.
    edge : Tensor
        [s] int64, the edge; padding repeats some edge of the same center.
    mask : Tensor or None
        [s] bool, false in padding; None without padding.
    blocks : tuple of Block
        Cut of centers and slots.
    num_nodes : int
        Nodes of the graph.
    """

    centers: Tensor
    neighbor: Tensor
    edge: Tensor
    mask: Tensor | None
    blocks: tuple[Block, ...]
    num_nodes: int


@dataclass(frozen=True)
class EdgeSlots:
    """One slot an edge; where the graph is symmetric, an edge and its reverse side by side.

    Attributes
    ----------
    center, neighbor, edge : Tensor
        [s] int64, the two ends and the edge.
    twins : int
        2 if slots 2 i and 2 i + 1 are an edge and its reverse, otherwise 1.
    num_nodes : int
        Nodes of the graph.
    """

    center: Tensor
    neighbor: Tensor
    edge: Tensor
    twins: int
    num_nodes: int


def group_by_center(
    center: Tensor,
    neighbor: Tensor,
    num_nodes: int,
    counts: NDArray[np.int64] | None = None,
    num_idle: int = 0,
) -> NodeSlots:
    """Group edges by center.

    Parameters
    ----------
    center, neighbor : Tensor
        [e] int64, the two ends of each edge, in any order.
    num_nodes : int
        Number of nodes.
    counts : array, optional
        [n] edges of every center; without them they are read from the device.
    num_idle : int
        The last so many nodes and the edges between them are left out; `counts` are upper bounds
        then, of the busiest center's edges, the next one's and so on.

    Returns
    -------
    NodeSlots
    """
    degree = center.new_zeros(num_nodes).index_add_(0, center, torch.ones_like(center))
    first_edge = degree.cumsum(0) - degree
    degree[num_nodes - num_idle :].zero_()
    by_center = center.argsort(stable=True)
    degree, nodes = degree.sort(descending=True, stable=True)
    blocks = _cut(degree.tolist() if counts is None else np.sort(counts)[::-1].tolist())
    places, real = [by_center[:0]], [by_center[:0].bool()]
    for block in blocks:
        centers = slice(block.start, block.start + block.num_centers)
        column = torch.arange(block.degree, device=center.device)
        real.append((column < degree[centers, None]).flatten())
        first = first_edge[nodes[centers], None].clamp(max=center.shape[0] - 1)
        places.append(
            (first + column).flatten().where(real[-1], first.expand(-1, block.degree).flatten())
        )
    edge = by_center[torch.cat(places)]
    padded = num_idle > 0 or edge.shape[0] > center.shape[0]
    mask = torch.cat(real) if padded else None
    num_centers = sum(block.num_centers for block in blocks)
    return NodeSlots(nodes[:num_centers], neighbor[edge], edge, mask, blocks, num_nodes)


def _cut(degrees: list[int]) -> tuple[Block, ...]:
    """Blocks of similar degree from descending degrees."""
    blocks: list[Block] = []
    start = slot = 0
    while start < len(degrees) and degrees[start] > 0:
        degree = degrees[start]
        least = max(1, math.ceil(LEAST_FILL * degree))
        stop = start + 1
        while stop < len(degrees) and degrees[stop] >= least:
            stop += 1
        blocks.append(Block(start, stop - start, slot, degree))
        start, slot = stop, slot + (stop - start) * degree
    return tuple(blocks)


def pair_edges(source: Tensor, target: Tensor, num_nodes: int) -> EdgeSlots | None:
    """Put every edge next to its reverse.

    Parameters
    ----------
    source, target : Tensor
        [e] int64, in any order.
    num_nodes : int
        Number of nodes.

    Returns
    -------
    EdgeSlots or None
        Centers are targets. None if some edge has no reverse; decided on the host.
    """
    up = (source < target).nonzero().squeeze(1)
    down = (source > target).nonzero().squeeze(1)
    if up.shape != down.shape or 2 * up.shape[0] != source.shape[0]:
        return None
    key_up, key_down = (source * num_nodes + target)[up], (target * num_nodes + source)[down]
    key_up, order_up = key_up.sort()
    key_down, order_down = key_down.sort()
    if not torch.equal(key_up, key_down):
        return None
    edge = torch.stack([up[order_up], down[order_down]], dim=1).flatten()
    return EdgeSlots(target[edge], source[edge], edge, 2, num_nodes)


def pair_sorted_edges(source: Tensor, target: Tensor, num_nodes: int) -> EdgeSlots:
    """Put every edge next to its reverse, without reading anything from the device.

    Parameters
    ----------
    source, target : Tensor
        [e] int64, sorted by target, then source; each edge must have its reverse.
    num_nodes : int
        Number of nodes.

    Returns
    -------
    EdgeSlots
        Centers are targets.
    """
    # Sorted by source, then target, the reverse of the k-th edge is the k-th one.
    reverse = source.argsort(stable=True)
    up = (source > target).to(torch.uint8).argsort(stable=True)[: source.shape[0] // 2]
    edge = torch.stack([up, reverse.index_select(0, up)], dim=1).flatten()
    return EdgeSlots(target[edge], source[edge], edge, 2, num_nodes)
