"""Radius graphs of many structures as flat tensors, periodic images included.

Imports NumPy, torch, tqdm and this package only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from structures.cache import StructureData
from structures.neighbors import Edges, neighbor_edges

MAX_TOTAL_EDGES = 400_000_000
"""Largest number of edges of all structures together: 10 GB."""


@dataclass(frozen=True)
class Graphs:
    """Edges of many structures; nodes are counted within their structure.

    Attributes
    ----------
    edges : Tensor
        [2, e] int32, row 0 source j and row 1 target i, sorted by target, then source.
    offsets : Tensor
        [g + 1] int64, first edge of each structure and the total.
    shifts : Tensor
        [e, 3] int32, cell vectors between a source and the image that the edge joins.
    reverse_step : Tensor
        [e] int32, how many edges further each edge's reverse is.
    """

    edges: Tensor
    offsets: Tensor
    shifts: Tensor
    reverse_step: Tensor


def radius_graphs(
    data: StructureData,
    cutoff: float,
    name: Callable[[int], str],
    *,
    progress: bool = True,
) -> Graphs:
    """Find the edges of all structures.

    Parameters
    ----------
    data : StructureData
        Structures.
    cutoff : float
        Angstrom.
    name : callable
        Names the structure of a row, for errors.
    progress : bool
        Whether to show a progress bar.

    Raises
    ------
    ValueError
        If a structure has overlapping atoms, or there are too many edges. Names the structure.
    """
    offsets = data.node_offsets.tolist()
    pos, cells, periodic = data.pos.numpy(), data.cells.numpy(), data.periodic.numpy()
    found: list[Edges] = []
    total = 0
    rows = range(len(data))
    # Without a terminal, tqdm shows nothing if `disable` is None.
    hidden = None if progress else True
    for row in tqdm(rows, "Finding neighbours", unit=" frames", disable=hidden, leave=False):
        try:
            edges = neighbor_edges(
                pos[offsets[row] : offsets[row + 1]], cells[row], periodic[row], cutoff
            )
        except ValueError as error:
            raise ValueError(f"{name(row)}: {error}") from error
        found.append(edges)
        total += edges.index.shape[1]
        if total > MAX_TOTAL_EDGES:
            raise ValueError(
                f"the first {row + 1:,} of {len(data):,} structures have more than "
                f"{MAX_TOTAL_EDGES:,} edges within {cutoff:g} angstrom: give fewer structures or a "
                "smaller --model.cutoff"
            )
    sizes = [edges.index.shape[1] for edges in found]
    steps = [edges.reverse - np.arange(len(edges.reverse), dtype=np.int32) for edges in found]
    return Graphs(
        edges=torch.from_numpy(np.concatenate([edges.index for edges in found], axis=1)),
        offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)),
        shifts=torch.from_numpy(np.concatenate([edges.shifts for edges in found])),
        reverse_step=torch.from_numpy(np.concatenate(steps)),
    )
