"""Edges arranged around their centers, in blocks of nodes with about the same number of neighbours.

A block's edges form a dense table [nodes, degree] ("slots"), so that sums over neighbours are
batched matrix products. Imports torch and this package only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

LEAST_FILL = 0.85
"""A block takes nodes that have at least this fraction of its first node's neighbours."""
SLOTS_A_BLOCK = 1024
"""Largest number of slots in a block; its intermediate results should stay in cache."""


@dataclass(frozen=True)
class Block:
    """Consecutive centers with one table of slots.

    Attributes
    ----------
    centers : slice
        Rows of `Neighborhoods.centers`.
    slots : slice
        Rows of the slot arrays, `degree` to each center.
    degree : int
        Slots a center.
    """

    centers: slice
    slots: slice
    degree: int

    @property
    def num_centers(self) -> int:
        """Nodes in the block."""
        return self.centers.stop - self.centers.start


@dataclass
class Neighborhoods:
    """Every edge as a slot of its center.

    Attributes
    ----------
    centers : Tensor
        [c] int64, the nodes that have neighbours, those with most first.
    neighbor : Tensor
        [s] int64, the node at the other end of each slot.
    edge : Tensor
        [s] int64, the edge of each slot.
    mask : Tensor or None
        [s] bool, false for padding (a repetition of some real edge); None without padding.
    blocks : list of Block
        Cut of centers and slots.
    num_nodes : int
        Nodes of the graph.
    derived : dict
        What a convolution computes per slot once a batch.
    """

    centers: Tensor
    neighbor: Tensor
    edge: Tensor
    mask: Tensor | None
    blocks: list[Block]
    num_nodes: int
    derived: dict[Any, Any] = field(default_factory=dict)

    @property
    def num_slots(self) -> int:
        """Slots, padding included."""
        return self.neighbor.shape[0]


def group_edges(center: Tensor, neighbor: Tensor, num_nodes: int) -> Neighborhoods:
    """Arrange edges around their centers.

    Parameters
    ----------
    center, neighbor : Tensor
        [e] int64, the two ends of each edge, in any order.
    num_nodes : int
        Number of nodes.

    Returns
    -------
    Neighborhoods
        Its block sizes are read on the host.
    """
    degree = torch.bincount(center, minlength=num_nodes)
    first_edge = degree.cumsum(0) - degree
    by_center = center.argsort(stable=True)
    degrees, nodes = degree.sort(descending=True, stable=True)
    blocks = _cut(degrees.tolist())
    num_centers = blocks[-1].centers.stop if blocks else 0
    nodes = nodes[:num_centers]
    places, filled = [], []
    for block in blocks:
        column = torch.arange(block.degree, device=center.device)
        real = column < degrees[block.centers, None]
        place = first_edge[nodes[block.centers], None] + column * real
        places.append(place.flatten())
        filled.append(real.flatten())
    edge = by_center[torch.cat(places)] if blocks else by_center
    padded = edge.shape[0] > center.shape[0]
    mask = torch.cat(filled) if padded else None
    return Neighborhoods(nodes, neighbor[edge], edge, mask, blocks, num_nodes)


def is_symmetric(source: Tensor, target: Tensor, num_nodes: int) -> bool:
    """Whether every edge has its reverse.

    Parameters
    ----------
    source, target : Tensor
        [e] int64.
    num_nodes : int
        Number of nodes.

    Returns
    -------
    bool
    """
    forward = (target * num_nodes + source).sort().values
    backward = (source * num_nodes + target).sort().values
    return torch.equal(forward, backward)


def _cut(degrees: list[int]) -> list[Block]:
    """Blocks of similar degree and bounded size from descending degrees."""
    blocks: list[Block] = []
    start = slot = 0
    while start < len(degrees) and degrees[start] > 0:
        degree = degrees[start]
        limit = min(len(degrees), start + max(1, SLOTS_A_BLOCK // degree))
        least = max(1, math.ceil(LEAST_FILL * degree))
        stop = start + 1
        while stop < limit and degrees[stop] >= least:
            stop += 1
        slots = (stop - start) * degree
        blocks.append(Block(slice(start, stop), slice(slot, slot + slots), degree))
        start, slot = stop, slot + slots
    return blocks
