"""Training batches padded to one shape, so that a GPU can replay a recorded step.

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

from networks.restrictable import RestrictableNetwork

NUM_PADDING_NODES = 2
"""A padded batch ends with this many extra nodes. All padding edges run between them."""

MARGIN = 4.0
"""Batches up to this many standard deviations larger than the expected size fit."""


@dataclass(frozen=True)
class BatchShape:
    """What a padded batch has room for.

    Attributes
    ----------
    num_graphs, num_nodes, num_edges : int
        Largest number of each. The number of edges is even, because each has its reverse.
    neighbor_counts : array
        [num_nodes] int64, descending. The node with k-th most edges may have at most
        neighbor_counts[k].
    """

    num_graphs: int
    num_nodes: int
    num_edges: int
    neighbor_counts: NDArray[np.int64]

    def holds(self, batch: Batch) -> bool:
        """Whether a batch fits. Reads nothing from the batch's device.

        Parameters
        ----------
        batch : Batch
            With ``neighbor_counts``.
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
    """Find a shape with room for nearly every random batch.

    A sum over the molecules of a batch may exceed its expectation by `MARGIN` standard deviations,
    but never what a batch of the largest molecules has.

    Parameters
    ----------
    num_nodes : array
        [mol] int64, atoms of each molecule, at least one.
    neighbor_counts : array
        [sum of num_nodes] int64, edges into each atom.
    batch_size : int
        Molecules per batch.
    """

    def room_for(per_molecule: NDArray[np.int64]) -> int:
        spread = MARGIN * math.sqrt(batch_size) * float(per_molecule.std())
        likely = math.ceil(batch_size * float(per_molecule.mean()) + spread)
        return min(likely, batch_size * int(per_molecule.max()))

    first_node = np.cumsum(num_nodes) - num_nodes
    nodes = room_for(num_nodes)
    edges = room_for(np.add.reduceat(neighbor_counts, first_node))
    max_counts = np.zeros(nodes, dtype=np.int64)
    for count in range(1, int(neighbor_counts.max(initial=0)) + 1):
        has_as_many = (neighbor_counts >= count).astype(np.int64)
        max_counts[: room_for(np.add.reduceat(has_as_many, first_node))] = count
    return BatchShape(batch_size, nodes, edges + edges % 2, max_counts)


class PaddedNetwork:
    """Runs a network in training on batches padded to one shape; on CUDA as a recorded graph.

    Every batch is copied into the same tensors. The nodes that are left over have no edges, so
    their features are zero. The edges that are left over join the last two nodes, which are
    further apart than the cutoff, so they carry zero messages. Predictions and gradients equal
    those of the batch alone to rounding.

    On CUDA the forward and the backward pass are recorded at the first batch and replayed from
    then on. The host then starts two graphs instead of several hundred kernels. A batch that does
    not fit goes through the network unpadded.

    Parameters
    ----------
    network : RestrictableNetwork
        Its parameters must keep their memory and be updated in place.
    shape : BatchShape
        Shape of the padded batches.
    """

    def __init__(self, network: RestrictableNetwork, shape: BatchShape) -> None:
        self.network = network
        self.shape = shape
        self._padded: _PaddedBatchNetwork | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """Predict the standardized target of every molecule.

        Parameters
        ----------
        batch : Batch
            As made by `qm9.batching.MoleculeStore`: with ``neighbor_counts`` and ``elements``.

        Returns
        -------
        Tensor
            [g].
        """
        if not self.shape.holds(batch):
            unpadded: Tensor = self.network(batch)
            return unpadded
        if self._padded is None:
            self._padded = _PaddedBatchNetwork(self.network, self.shape, batch)
        return self._padded(batch)


class _PaddedBatchNetwork:
    """The network on one padded batch, into whose tensors every batch is copied."""

    def __init__(self, network: RestrictableNetwork, shape: BatchShape, example: Batch) -> None:
        n, half = shape.num_nodes + NUM_PADDING_NODES, shape.num_edges // 2
        pos = example.pos.new_zeros(n, 3)
        pos[-1, 0] = 2 * network.cutoff
        self.batch = Batch(
            z=example.elements[:1].repeat(n),
            pos=pos,
            edge_index=example.edge_index.new_zeros(2, shape.num_edges),
            batch=example.batch.new_full((n,), shape.num_graphs),
            elements=example.elements,
            neighbor_counts=np.append(shape.neighbor_counts, [0] * NUM_PADDING_NODES),
            num_padding_nodes=NUM_PADDING_NODES,
        )
        self.batch._num_graphs = shape.num_graphs + 1  # the last graph holds the padding
        # Edges into the last node but one, then as many into the last one. Any slice about the
        # middle holds as many of either and is sorted by target.
        target = torch.tensor([n - 2, n - 1]).repeat_interleave(half)
        self._padding_edges = torch.stack([target.flip(0), target]).to(example.edge_index)
        self._fill(example)
        self._run = _record(network, self.batch)

    def __call__(self, batch: Batch) -> Tensor:
        self._fill(batch)
        return self._run(self.batch.pos)[: batch.num_graphs]

    def _fill(self, batch: Batch) -> None:
        """Copy a batch, without waiting for the device, and turn everything else into padding."""
        n, e = batch.pos.shape[0], batch.edge_index.shape[1]
        padded, total = self.batch, self.batch.edge_index.shape[1]
        padded.z[:n].copy_(batch.z)
        padded.pos[:n].copy_(batch.pos)
        padded.batch[:n].copy_(batch.batch)
        padded.batch[n:].fill_(padded.num_graphs - 1)
        padded.edge_index[:, :e].copy_(batch.edge_index)
        padded.edge_index[:, e:].copy_(self._padding_edges[:, e // 2 : total - e // 2])


class _OnBatch(nn.Module):
    """The network as a function of the positions of one batch."""

    def __init__(self, network: RestrictableNetwork, batch: Batch) -> None:
        super().__init__()
        self.network = network
        self.batch = batch

    def forward(self, pos: Tensor) -> Tensor:
        """Predict [g]. `pos` must be the batch's own positions, which the network reads."""
        prediction: Tensor = self.network(self.batch)
        return prediction


def _record(network: RestrictableNetwork, batch: Batch) -> Callable[[Tensor], Tensor]:
    """Make the function from the batch's positions to its predictions [g]; recorded on CUDA."""
    module: Any = _OnBatch(network, batch)
    if batch.pos.device.type == "cuda":
        module = torch.cuda.make_graphed_callables(module, (batch.pos,), allow_unused_input=True)
    run: Callable[[Tensor], Tensor] = module
    return run
