"""A graph's edges arranged as tables of slots, which turns sums over edges into matrix products.

A slot is an edge seen from one end, its center; the other end is its neighbour. Imports NumPy and
torch only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MIN_FILL = 0.85
"""All centers of a block have at least this fraction of the neighbours of its first center."""


@dataclass(frozen=True)
class CenterBlock:
    """Consecutive centers, each with the same number of slots.

    Attributes
    ----------
    start : int
        First center.
    num_centers : int
        Number of centers.
    first_slot : int
        First slot.
    slots_per_center : int
        Slots of each center.
    """

    start: int
    num_centers: int
    first_slot: int
    slots_per_center: int


@dataclass(frozen=True)
class NodeSlots:
    """Slots grouped by center, padded so that all centers of a block have equally many.

    Attributes
    ----------
    centers : Tensor
        [c] int64, the nodes that have neighbours, in descending order of their number.
    neighbor : Tensor
        [s] int64, the neighbour of each slot.
    edge : Tensor
        [s] int64, the edge of each slot. Padding repeats an edge of the same center.
    mask : Tensor or None
        [s] bool, false in padding; None without padding.
    blocks : tuple of CenterBlock
        Partition of centers and slots.
    num_nodes : int
        Nodes of the graph.
    """

    centers: Tensor
    neighbor: Tensor
    edge: Tensor
    mask: Tensor | None
    blocks: tuple[CenterBlock, ...]
    num_nodes: int


@dataclass(frozen=True)
class EdgeSlots:
    """One slot for each directed edge. Where the graph is symmetric, an edge precedes its reverse.

    Attributes
    ----------
    center, neighbor, edge : Tensor
        [s] int64, the two ends and the edge of each slot.
    slots_per_edge : int
        2 if slots 2 i and 2 i + 1 are an edge and its reverse, which count as one undirected edge;
        otherwise 1.
    num_nodes : int
        Nodes of the graph.
    """

    center: Tensor
    neighbor: Tensor
    edge: Tensor
    slots_per_edge: int
    num_nodes: int


def group_by_center(
    center: Tensor,
    neighbor: Tensor,
    num_nodes: int,
    counts: NDArray[np.int64] | None = None,
    num_padding_nodes: int = 0,
) -> NodeSlots:
    """Group edges by center.

    Parameters
    ----------
    center, neighbor : Tensor
        [e] int64, the two ends of each edge, in any order.
    num_nodes : int
        Number of nodes.
    counts : array, optional
        [n] edges of each center. By default they are read from the device, which has to be waited
        for.
    num_padding_nodes : int
        The last `num_padding_nodes` nodes and the edges between them are left out. The descending
        `counts` are then upper bounds: for the center with most edges, the one with second most
        and so on.
    """
    edge_count = center.new_zeros(num_nodes).index_add_(0, center, torch.ones_like(center))
    first_edge = edge_count.cumsum(0) - edge_count
    edge_count[num_nodes - num_padding_nodes :].zero_()
    edges_by_center = center.argsort(stable=True)
    edge_count, nodes = edge_count.sort(descending=True, stable=True)
    blocks = _cut_centers(edge_count.tolist() if counts is None else np.sort(counts)[::-1].tolist())
    positions, is_real = [edges_by_center[:0]], [edges_by_center[:0].bool()]
    for block in blocks:
        centers = slice(block.start, block.start + block.num_centers)
        column = torch.arange(block.slots_per_center, device=center.device)
        is_real.append((column < edge_count[centers, None]).flatten())
        first = first_edge[nodes[centers], None].clamp(max=center.shape[0] - 1)
        padding = first.expand(-1, block.slots_per_center).flatten()
        positions.append((first + column).flatten().where(is_real[-1], padding))
    edge = edges_by_center[torch.cat(positions)]
    has_padding = num_padding_nodes > 0 or edge.shape[0] > center.shape[0]
    mask = torch.cat(is_real) if has_padding else None
    num_centers = sum(block.num_centers for block in blocks)
    return NodeSlots(nodes[:num_centers], neighbor[edge], edge, mask, blocks, num_nodes)


def _cut_centers(counts: list[int]) -> tuple[CenterBlock, ...]:
    """Cut centers into blocks of similar edge counts; `counts` descend."""
    blocks: list[CenterBlock] = []
    start = slot = 0
    while start < len(counts) and counts[start] > 0:
        most = counts[start]
        fewest = max(1, math.ceil(MIN_FILL * most))
        stop = start + 1
        while stop < len(counts) and counts[stop] >= fewest:
            stop += 1
        blocks.append(CenterBlock(start, stop - start, slot, most))
        start, slot = stop, slot + (stop - start) * most
    return tuple(blocks)


def pair_edges(source: Tensor, target: Tensor, num_nodes: int) -> EdgeSlots | None:
    """Put each edge next to its reverse. Centers are targets.

    The host waits for the device to learn whether every edge has a reverse.

    Parameters
    ----------
    source, target : Tensor
        [e] int64, in any order.
    num_nodes : int
        Number of nodes.

    Returns
    -------
    EdgeSlots or None
        None if some edge has no reverse, or several edges join the same two nodes, so that their
        reverses cannot be told apart.
    """
    up = (source < target).nonzero().squeeze(1)
    down = (source > target).nonzero().squeeze(1)
    if up.shape != down.shape or 2 * up.shape[0] != source.shape[0]:
        return None
    key_up, key_down = (source * num_nodes + target)[up], (target * num_nodes + source)[down]
    key_up, order_up = key_up.sort()
    key_down, order_down = key_down.sort()
    if not torch.equal(key_up, key_down) or bool((key_up[1:] == key_up[:-1]).any()):
        return None
    edge = torch.stack([up[order_up], down[order_down]], dim=1).flatten()
    return EdgeSlots(target[edge], source[edge], edge, 2, num_nodes)


def pair_sorted_edges(source: Tensor, target: Tensor, num_nodes: int) -> EdgeSlots:
    """Put each edge next to its reverse, without reading anything from the device.

    Centers are targets.

    Parameters
    ----------
    source, target : Tensor
        [e] int64, sorted by target, then source. Each edge must have a reverse.
    num_nodes : int
        Number of nodes.
    """
    # Sorted by source, then target, the k-th edge is the reverse of the k-th edge as given.
    reverse = source.argsort(stable=True)
    up = (source > target).to(torch.uint8).argsort(stable=True)[: source.shape[0] // 2]
    edge = torch.stack([up, reverse.index_select(0, up)], dim=1).flatten()
    return EdgeSlots(target[edge], source[edge], edge, 2, num_nodes)


def pair_known_edges(source: Tensor, target: Tensor, reverse: Tensor, num_nodes: int) -> EdgeSlots:
    """Put each edge next to its reverse, without reading anything from the device.

    Centers are targets.

    Parameters
    ----------
    source, target : Tensor
        [e] int64, in any order. Several edges may join the same two nodes, or a node to itself.
    reverse : Tensor
        [e] int64, the position of each edge's reverse.
    num_nodes : int
        Number of nodes.
    """
    is_later = torch.arange(len(reverse), device=reverse.device) > reverse
    first = is_later.to(torch.uint8).argsort(stable=True)[: source.shape[0] // 2]
    edge = torch.stack([first, reverse.index_select(0, first)], dim=1).flatten()
    return EdgeSlots(target[edge], source[edge], edge, 2, num_nodes)
