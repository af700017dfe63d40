"""Batches of molecules, gathered straight from flat tensors, and the order of an epoch.

May import NumPy, torch and torch_geometric.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.data import Batch, Data

from qm9.graphs import ranges, spread

_EDGES_AT_ONCE = 16_384
"""Edges of one gather on a CPU. No tensor may exceed torch's grain size of 32,768 elements: above
it torch wakes its other threads, which takes longer than the gather and, beside another process,
milliseconds."""

_EDGES_AT_ONCE_ON_DEVICE = 1_000_000
"""The same on an accelerator, where a gather's cost is that of starting its kernels."""


@dataclass(frozen=True)
class _Ragged:
    """Where the rows of each molecule lie in a flat tensor; offsets live on the host as well."""

    first: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, offsets: Tensor) -> "_Ragged":
        host = offsets.cpu().numpy()
        return cls(host, np.diff(host))


class MoleculeStore:
    """The molecules of a data set, ready to be collated on their device.

    Sizes are known on the host, so that on CUDA nothing here waits for the device.

    Parameters
    ----------
    z
        uint8 [n], atomic numbers.
    pos
        float [n, 3], angstrom; batches have its dtype.
    node_offsets
        int64 [mol + 1], first node of each molecule and the total.
    edges
        int8 [2, e], row 0 source j and row 1 target i, local to each molecule, sorted by target
        then source, each with its reverse.
    edge_offsets
        int64 [mol + 1], first edge of each molecule and the total.
    y
        float64 [mol], the target.
    device
        Where the tensors, and so the batches, live.
    """

    def __init__(
        self,
        z: Tensor,
        pos: Tensor,
        node_offsets: Tensor,
        edges: Tensor,
        edge_offsets: Tensor,
        y: Tensor,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self._nodes = _Ragged.of(node_offsets)
        self._edges = _Ragged.of(edge_offsets)
        self.z = z.to(self.device)
        self.pos = pos.to(self.device)
        self.edges = edges.to(self.device)
        self._neighbor_counts = _neighbor_counts(self._nodes, self._edges, edges.cpu().numpy())
        self.y = y.to(self.device)
        self.elements = z.unique().long().to(self.device)

    def __len__(self) -> int:
        return len(self._nodes.sizes)

    def __getitem__(self, rows: Tensor | Sequence[int]) -> Batch:
        """One batch of the given molecules; lets `DataLoader(store, batch_size=None)` work."""
        return next(self.batches([torch.as_tensor(rows, dtype=torch.int64)]))

    def sizes(self, rows: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Atoms of every molecule, int64 [mol], and edges into every atom, int64 [n]."""
        first, sizes = self._nodes.first[rows.numpy()], self._nodes.sizes[rows.numpy()]
        return sizes, self._neighbor_counts[_rows(first, sizes)]

    def data(self, row: int) -> Data:
        """One molecule as a plain PyG `Data`, the same fields as in a batch."""
        batch = self[[row]]
        return Data(z=batch.z, pos=batch.pos, edge_index=batch.edge_index, y=batch.y, idx=batch.idx)

    def batches(self, groups: Sequence[Tensor]) -> Iterator[Batch]:
        """Collate many batches, a few in one gather: the cost of a call is shared between them.

        Parameters
        ----------
        groups
            int64 [g] each, the molecules of one batch; on the host.

        Yields
        ------
        Batch
            `z` int64 [n], `pos` [n, 3], `edge_index` int64 [2, e] sorted by target then source,
            `batch` int64 [n], `ptr` int64 [g + 1], `y` float64 [g], `idx` int64 [g] (rows of the
            data set), NumPy `neighbor_counts` int64 [n], edges into every node, and `elements`,
            the atomic numbers of the whole data set.
        """
        limit = _EDGES_AT_ONCE if self.device.type == "cpu" else _EDGES_AT_ONCE_ON_DEVICE
        taken: list[Tensor] = []
        num_edges = 0
        for group in groups:
            more = int(self._edges.sizes[group.numpy()].sum())
            if taken and num_edges + more > limit:
                yield from self._collate(taken)
                taken, num_edges = [], 0
            taken.append(group)
            num_edges += more
        if taken:
            yield from self._collate(taken)

    # Without this a batch made while Lightning validates could never enter autograd.
    @torch.inference_mode(False)
    def _collate(self, groups: Sequence[Tensor]) -> list[Batch]:
        plan = _Plan(groups, self._nodes, self._edges)
        # Two copies carry all index arithmetic to the device, without waiting for it.
        first_node, nodes, first_edge, edges, graph, base, idx = plan.rows_to(self.device)
        ptr = plan.ptr.to(self.device, non_blocking=True)
        take_n = ranges(first_node, nodes, plan.num_nodes)
        take_e = ranges(first_edge, edges, plan.num_edges)
        z = self.z.index_select(0, take_n).long()
        pos = self.pos.index_select(0, take_n)
        batch = spread(graph, nodes, plan.num_nodes)
        edge_index = self.edges.index_select(1, take_e).long()
        edge_index += spread(base, edges, plan.num_edges)
        y = self.y.index_select(0, idx)
        counts = self._neighbor_counts[plan.node_rows()]
        made = []
        for part in plan.parts():
            fields: dict[str, Any] = {
                "z": z[part.nodes],
                "pos": pos[part.nodes],
                "edge_index": edge_index[:, part.edges].contiguous(),
                "y": y[part.graphs],
                "idx": idx[part.graphs],
                "batch": batch[part.nodes],
                "ptr": ptr[part.ptr],
            }
            fields["neighbor_counts"] = counts[part.nodes]
            fields["elements"] = self.elements
            made.append(_as_batch(fields, plan.ptr[part.ptr], plan.edge_ptr[part.ptr]))
        return made


class _Part(NamedTuple):
    """Where one batch lies in the tensors of a gather."""

    graphs: slice
    nodes: slice
    edges: slice
    ptr: slice


class _Plan:
    """Index arithmetic of one gather of several batches, on the host.

    Node and graph numbers start from 0 in every batch.
    """

    def __init__(self, groups: Sequence[Tensor], nodes: _Ragged, edges: _Ragged) -> None:
        rows = torch.cat(list(groups)).numpy()
        counts = np.array([len(group) for group in groups])
        self.first_graph = _offsets(counts)
        node_ends, edge_ends = _offsets(nodes.sizes[rows]), _offsets(edges.sizes[rows])
        self.first_node = node_ends[self.first_graph]
        self.first_edge = edge_ends[self.first_graph]
        self.num_nodes, self.num_edges = int(node_ends[-1]), int(edge_ends[-1])
        # Batch k has counts[k] + 1 entries in ptr: the last graph's end is the next one's start.
        self.first_ptr = self.first_graph + np.arange(len(counts) + 1)
        entries = np.arange(len(rows) + len(counts)) - np.repeat(np.arange(len(counts)), counts + 1)
        self.ptr = torch.from_numpy(
            node_ends[entries] - np.repeat(self.first_node[:-1], counts + 1)
        )
        self.edge_ptr = torch.from_numpy(
            edge_ends[entries] - np.repeat(self.first_edge[:-1], counts + 1)
        )
        self._rows = np.stack(
            [
                nodes.first[rows],
                nodes.sizes[rows],
                edges.first[rows],
                edges.sizes[rows],
                np.arange(len(rows)) - np.repeat(self.first_graph[:-1], counts),
                node_ends[:-1] - np.repeat(self.first_node[:-1], counts),
                rows,
            ]
        )

    def rows_to(self, device: torch.device) -> tuple[Tensor, ...]:
        """First node, nodes, first edge, edges, graph number, first node in its batch, row."""
        return torch.from_numpy(self._rows).to(device, non_blocking=True).unbind()

    def node_rows(self) -> NDArray[np.int64]:
        """Row of every node in the data set."""
        return _rows(self._rows[0], self._rows[1])

    def parts(self) -> Iterator[_Part]:
        bounds = (self.first_graph, self.first_node, self.first_edge, self.first_ptr)
        edges = [list(map(slice, b[:-1].tolist(), b[1:].tolist())) for b in bounds]
        return (_Part(*slices) for slices in zip(*edges))


def _as_batch(fields: dict[str, Any], ptr: Tensor, edge_ptr: Tensor) -> Batch:
    """Make a `Batch` that PyG can also take apart again (`ptr`, `edge_ptr` on the host)."""
    # Batch(...) would look its class and its signature up anew every time: most of a batch's cost.
    made: Batch = type.__call__(_batch_class(), **fields)
    each, none = torch.arange(len(ptr)), torch.zeros(len(ptr) - 1, dtype=torch.int64)
    made._num_graphs = len(ptr) - 1
    made._slice_dict = {"z": ptr, "pos": ptr, "edge_index": edge_ptr, "y": each, "idx": each}
    made._inc_dict = {"z": none, "pos": none, "edge_index": ptr[:-1], "y": none, "idx": none}
    return made


@cache
def _batch_class() -> type[Batch]:
    return type(Batch())


def _neighbor_counts(nodes: _Ragged, edges: _Ragged, ends: NDArray[np.int8]) -> NDArray[np.int64]:
    """Edges into every node of the data set, int64 [n]."""
    targets = np.repeat(nodes.first[:-1], edges.sizes) + ends[1, : edges.first[-1]]
    return np.bincount(targets, minlength=int(nodes.first[-1]))


def _rows(first: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """first[0], first[0] + 1, … of every range, one range after the other."""
    before = np.cumsum(sizes) - sizes
    return np.arange(sizes.sum()) + np.repeat(first - before, sizes)


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)])


class EpochSampler(Sampler[Tensor]):
    """The batches of an epoch, of one process out of several.

    A batch is cut from the common order of all processes and then shared out between them, so
    that `batch_size` is the number of molecules of one step whatever the number of processes:
    two processes do what one does. All processes have the same number of batches.

    Shuffled (training): the order is
    ``Generator(PCG64(SeedSequence([seed, epoch]))).permutation(len(rows))``, which depends on
    nothing else, so that a resumed run sees what an unbroken one would. If the last batch is
    smaller than the number of processes, its molecules go to the batch before it.

    Parameters
    ----------
    rows
        int64 [n], the molecules.
    batch_size
        Molecules a step over all processes; the last batch may be smaller.
    seed
        Shuffle by this seed and the epoch; None keeps the order of `rows`.
    rank, world_size
        This process and the number of processes.

    Raises
    ------
    ValueError
        If there are fewer molecules than processes, or fewer a batch.
    """

    def __init__(
        self,
        rows: Tensor,
        batch_size: int,
        *,
        seed: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if min(batch_size, len(rows)) < world_size:
            raise ValueError(
                f"{len(rows)} molecules in batches of {batch_size} cannot be shared between "
                f"{world_size} processes: give each at least one, or use fewer processes"
            )
        self.rows = rows
        self.seed = seed
        self.epoch = 0
        self.rank = rank
        self.world_size = world_size
        starts = list(range(0, len(rows), batch_size))
        if len(rows) - starts[-1] < world_size:
            starts.pop()
        self._bounds = list(zip(starts, [*starts[1:], len(rows)]))

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; Lightning calls this before every epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._bounds)

    def __iter__(self) -> Iterator[Tensor]:
        rows = self.rows
        if self.seed is not None:
            sequence = np.random.SeedSequence([self.seed, self.epoch])
            generator = np.random.Generator(np.random.PCG64(sequence))
            rows = rows[torch.from_numpy(generator.permutation(len(rows)))]
        for start, stop in self._bounds:
            yield rows[start + self.rank : stop : self.world_size]

    def loss_weights(self) -> list[float]:
        """Size of this process's share of each batch over the mean size of all shares."""
        return [
            len(range(start + self.rank, stop, self.world_size)) * self.world_size / (stop - start)
            for start, stop in self._bounds
        ]


class MoleculeLoader:
    """Iterates over the batches of an epoch.

    In place of a torch `DataLoader`, whose worker processes and per-item collation cost more than
    the gather itself. Lightning takes any iterable with a length, leaves its order alone, and
    calls `sampler.set_epoch`.

    With several processes each batch has a `loss_weight`, a float: the mean loss times this,
    averaged over the processes, is the mean over the molecules of all, also where a batch could
    not be shared out equally.

    Parameters
    ----------
    store
        The molecules.
    sampler
        The order.
    """

    def __init__(self, store: MoleculeStore, sampler: EpochSampler) -> None:
        self.store = store
        self.sampler = sampler
        self.batch_sampler = None  # Lightning looks here when it asks whether data are shuffled

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        # A generator draws the order with the first batch. Lightning asks for the iterator before
        # it sets the epoch in the first epoch of a resumed run, which would be epoch 0 again.
        batches = self.store.batches(list(self.sampler))
        if self.sampler.world_size == 1:
            yield from batches
        else:
            yield from map(_weighted, batches, self.sampler.loss_weights())


def _weighted(batch: Batch, loss_weight: float) -> Batch:
    batch.loss_weight = loss_weight
    return batch
