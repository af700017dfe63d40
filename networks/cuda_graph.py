"""Batches padded to one shape, so that a GPU can replay a recorded training step.

Imports NumPy, torch, torch_geometric and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.data import Batch

from networks.convnet import EquivariantConvNet

IDLE = 2
"""Nodes at the end of a padded batch between which all edges run that are padding."""

DEVIATIONS = 4.0
"""Of a batch's size from its expectation, in standard deviations, that still fit."""


@dataclass(frozen=True)
class BatchShape:
    """What a padded batch has room for.

    Attributes
    ----------
    num_graphs, num_nodes, num_edges : int
        Most of each; edges are even in number, as each has its reverse.
    neighbor_counts : array
        [num_nodes] int64, descending: the k-th busiest node may have so many edges.
    """

    num_graphs: int
    num_nodes: int
    num_edges: int
    neighbor_counts: NDArray[np.int64]

    def holds(self, batch: Batch) -> bool:
        """Whether a batch fits; looks at nothing on its device.

        Parameters
        ----------
        batch : Batch
            With ``neighbor_counts``.

        Returns
        -------
        bool
        """
        counts = np.sort(batch.neighbor_counts)[::-1]
        return (
            batch.num_graphs <= self.num_graphs
            and len(counts) <= self.num_nodes
            and batch.edge_index.shape[1] <= self.num_edges
            and bool((counts <= self.neighbor_counts[: len(counts)]).all())
        )


def likely_shape(
    num_nodes: NDArray[np.int64], neighbor_counts: NDArray[np.int64], batch_size: int
) -> BatchShape:
    """Room for all but very few random batches.

    Sums over the molecules of a batch may exceed their expectation by `DEVIATIONS` standard
    deviations, but not what a batch of the largest molecules has.

    Parameters
    ----------
    num_nodes : array
        [mol] int64, atoms of every molecule, at least one.
    neighbor_counts : array
        [sum of num_nodes] int64, edges into every atom.
    batch_size : int
        Molecules a batch.

    Returns
    -------
    BatchShape
    """

    def bound(per_molecule: NDArray[np.int64]) -> int:
        spread = DEVIATIONS * math.sqrt(batch_size) * float(per_molecule.std())
        likely = math.ceil(batch_size * float(per_molecule.mean()) + spread)
        return min(likely, batch_size * int(per_molecule.max()))

    first = np.cumsum(num_nodes) - num_nodes
    nodes = bound(num_nodes)
    edges = bound(np.add.reduceat(neighbor_counts, first))
    most = np.zeros(nodes, dtype=np.int64)
    for degree in range(1, int(neighbor_counts.max(initial=0)) + 1):
        busy = np.add.reduceat((neighbor_counts >= degree).astype(np.int64), first)
        most[: bound(busy)] = degree
    return BatchShape(batch_size, nodes, edges + edges % 2, most)


class PaddedNetwork:
    """A network in training, on batches that all have one shape; on CUDA as a recorded graph.

    A batch is copied into tensors that stay where they are. Further nodes have no edges, so that
    their features are zero; further edges join the last two nodes, `IDLE`, which are beyond the
    cutoff from each other, so that they carry nothing. Predictions and gradients are those of the
    batch alone, to rounding. On CUDA forward and backward are recorded at the first batch and
    replayed from then on: the host starts two graphs instead of several hundred kernels. A batch
    that does not fit goes through the network as it is.

    Parameters
    ----------
    network : EquivariantConvNet
        Its parameters must stay where they are, and be updated in place.
    shape : BatchShape
        Of the padded batches.
    """

    def __init__(self, network: EquivariantConvNet, shape: BatchShape) -> None:
        self.network = network
        self.shape = shape
        self._recorded: _RecordedNetwork | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """Predict the standardized target of every molecule.

        Parameters
        ----------
        batch : Batch
            As from `qm9.batching.MoleculeStore`: with ``neighbor_counts`` and ``elements``.

        Returns
        -------
        Tensor
            [g].
        """
        if not self.shape.holds(batch):
            unpadded: Tensor = self.network(batch)
            return unpadded
        if self._recorded is None:
            self._recorded = _RecordedNetwork(self.network, self.shape, batch)
        return self._recorded(batch)


class _RecordedNetwork:
    """The network on tensors that stay where they are, into which batches are copied."""

    def __init__(self, network: EquivariantConvNet, shape: BatchShape, like: Batch) -> None:
        n, half = shape.num_nodes + IDLE, shape.num_edges // 2
        pos = like.pos.new_zeros(n, 3)
        pos[-1, 0] = 2 * network.cutoff
        self.batch = Batch(
            z=like.elements[:1].repeat(n),
            pos=pos,
            edge_index=like.edge_index.new_zeros(2, shape.num_edges),
            batch=like.batch.new_full((n,), shape.num_graphs),
            elements=like.elements,
            neighbor_counts=np.append(shape.neighbor_counts, [0] * IDLE),
            num_idle=IDLE,
        )
        self.batch._num_graphs = shape.num_graphs + 1  # the last one takes the padding
        # Edges into the last node but one, then as many into the last: any part around the middle
        # is padding in the order in which edges are sorted.
        target = torch.tensor([n - 2, n - 1]).repeat_interleave(half)
        self._idle_edges = torch.stack([target.flip(0), target]).to(like.edge_index)
        self._fill(like)
        self._run = _recorded(network, self.batch)

    def __call__(self, batch: Batch) -> Tensor:
        self._fill(batch)
        return self._run(self.batch.pos)[: batch.num_graphs]

    def _fill(self, batch: Batch) -> None:
        """Put a batch in, without waiting for the device; everything else becomes padding."""
        n, e = batch.pos.shape[0], batch.edge_index.shape[1]
        into, total = self.batch, self.batch.edge_index.shape[1]
        into.z[:n].copy_(batch.z)
        into.pos[:n].copy_(batch.pos)
        into.batch[:n].copy_(batch.batch)
        into.batch[n:].fill_(into.num_graphs - 1)
        into.edge_index[:, :e].copy_(batch.edge_index)
        into.edge_index[:, e:].copy_(self._idle_edges[:, e // 2 : total - e // 2])


class _OnBatch(nn.Module):
    """The network on one batch whose tensors stay where they are."""

    def __init__(self, network: EquivariantConvNet, batch: Batch) -> None:
        super().__init__()
        self.network = network
        self.batch = batch

    def forward(self, pos: Tensor) -> Tensor:
        """Predict [g]; `pos` is the batch's own."""
        prediction: Tensor = self.network(self.batch)
        return prediction


def _recorded(network: EquivariantConvNet, batch: Batch) -> Callable[[Tensor], Tensor]:
    """From the batch's own positions to its predictions, [g]; recorded on CUDA."""
    module: Any = _OnBatch(network, batch)
    if batch.pos.device.type == "cuda":
        module = torch.cuda.make_graphed_callables(module, (batch.pos,), allow_unused_input=True)
    run: Callable[[Tensor], Tensor] = module
    return run
