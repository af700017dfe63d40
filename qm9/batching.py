"""Batches of molecules, gathered straight from flat tensors, and the order of an epoch.

Imports NumPy, torch, torch_geometric and `qm9.graphs` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.data import Batch, Data

from qm9.graphs import ranges, spread

FieldKind = Literal["node", "edge", "graph"]
"""Of what a field of a batch has one row each."""

_EDGES_AT_ONCE = 16_384
"""Largest number of edges per gather on a CPU. It keeps the tensors of a gather below torch's grain
size of 32,768 elements. Above it torch wakes its other threads, which takes longer than the gather
itself, and milliseconds if another process uses the cores."""

_EDGES_AT_ONCE_ON_DEVICE = 1_000_000
"""The same on an accelerator, where starting the kernels is most of a gather's cost."""


@dataclass(frozen=True)
class _Ragged:
    """Where the rows of each molecule lie in a flat tensor; kept on the host.

    Attributes
    ----------
    first : array
        [mol + 1] int64, first row of each molecule and the total.
    sizes : array
        [mol] int64, rows of each molecule.
    """

    first: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, offsets: Tensor) -> _Ragged:
        host = offsets.cpu().numpy()
        return cls(host, np.diff(host))


class MoleculeStore:
    """All molecules of a data set on one device, ready to be collated there.

    The sizes of molecules are known on the host, so that nothing here waits for a CUDA device.

    Parameters
    ----------
    z : Tensor
        [n] uint8, atomic numbers.
    pos : Tensor
        [n, 3] float, angstrom. Batches have its dtype.
    node_offsets : Tensor
        [mol + 1] int64, first node of each molecule and the total.
    edges : Tensor
        [2, e] integers, row 0 source j and row 1 target i, both counted within their molecule.
        Sorted by target, then source; the reverse of every edge is there as well.
    edge_offsets : Tensor
        [mol + 1] int64, first edge of each molecule and the total.
    y : Tensor
        [mol] float64, the target; [mol, m] for a vector or tensor.
    device : torch.device or str
        Device of the molecules and of the batches.
    more : mapping of str to (str, Tensor)
        Further fields of batches by name: ``node``, ``edge`` or ``graph``, and a tensor with a row
        for each of all nodes, edges or molecules.
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
        more: Mapping[str, tuple[FieldKind, Tensor]] | None = None,
    ) -> None:
        self.device = torch.device(device)
        self._nodes = _Ragged.of(node_offsets)
        self._edges = _Ragged.of(edge_offsets)
        self.z = z.to(self.device)
        self.pos = pos.to(self.device)
        self.edges = edges.to(self.device)
        self._neighbor_counts = _neighbor_counts(self._nodes, self._edges, edges.cpu().numpy())
        self.y = y.to(self.device)
        self.elements = torch.unique(z).long().to(self.device)
        self._more = {
            name: (kind, values.to(self.device)) for name, (kind, values) in (more or {}).items()
        }

    def __len__(self) -> int:
        return len(self._nodes.sizes)

    def __getitem__(self, rows: Tensor | Sequence[int]) -> Batch:
        """Collate the given molecules; `DataLoader(store, batch_size=None)` needs this method."""
        return next(self.batches([torch.as_tensor(rows, dtype=torch.int64)]))

    def sizes(self, rows: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Look up the sizes of molecules, on the host.

        Parameters
        ----------
        rows : Tensor
            [mol] int64, rows of the data set.

        Returns
        -------
        num_atoms : array
            [mol] int64.
        neighbor_counts : array
            [n] int64, edges into every atom of these molecules.
        """
        first, sizes = self._nodes.first[rows.numpy()], self._nodes.sizes[rows.numpy()]
        return sizes, self._neighbor_counts[_rows(first, sizes)]

    def num_edges(self, rows: Tensor) -> NDArray[np.int64]:
        """Look up the number of edges of molecules, [mol] int64 on the host.

        Parameters
        ----------
        rows : Tensor
            [mol] int64, rows of the data set.
        """
        counts: NDArray[np.int64] = self._edges.sizes[rows.numpy()]
        return counts

    def data(self, row: int) -> Data:
        """Get one molecule as a plain PyG `Data`, with the fields that a batch has."""
        batch = self[[row]]
        return Data(z=batch.z, pos=batch.pos, edge_index=batch.edge_index, y=batch.y, idx=batch.idx)

    def batches(self, groups: Sequence[Tensor]) -> Iterator[Batch]:
        """Collate many batches. One gather serves several of them, which share its cost.

        Parameters
        ----------
        groups : sequence of Tensor
            [g] int64 each, the molecules of one batch; on the host.

        Yields
        ------
        Batch
            With ``z`` [n] int64, ``pos`` [n, 3], ``edge_index`` [2, e] int64 (sorted by target,
            then source), ``batch`` [n] int64, ``ptr`` [g + 1] int64, ``y`` [g] or [g, m] float64,
            ``idx`` [g] int64 (rows of the data set), ``neighbor_counts`` (NumPy [n] int64, edges
            into every node), ``elements`` (the atomic numbers of the whole data set) and the fields
            of `more`.
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

    # Otherwise a batch that is made while Lightning validates could never enter autograd.
    @torch.inference_mode(False)
    def _collate(self, groups: Sequence[Tensor]) -> list[Batch]:
        plan = _Plan(groups, self._nodes, self._edges)
        # Two copies bring all index arithmetic to the device, and neither waits for it.
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
        rows = {"node": take_n, "edge": take_e, "graph": idx}
        more = {
            name: (kind, values.index_select(0, rows[kind]))
            for name, (kind, values) in self._more.items()
        }
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
            kinds = {name: kind for name, (kind, _) in more.items()}
            for name, (kind, values) in more.items():
                fields[name] = values[getattr(part, f"{kind}s")]
            made.append(_as_batch(fields, plan.ptr[part.ptr], plan.edge_ptr[part.ptr], kinds))
        return made


class _Part(NamedTuple):
    """Where one batch lies in the tensors of a gather."""

    graphs: slice
    nodes: slice
    edges: slice
    ptr: slice


class _Plan:
    """The index arithmetic of one gather for several batches, on the host.

    Nodes and graphs are counted from 0 in every batch.
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
        """Copy what each molecule needs to the device.

        Returns
        -------
        tuple of Tensor
            [g] int64 each: first node, number of nodes, first edge, number of edges, position in
            the batch, first node in the batch, row of the data set.
        """
        return torch.from_numpy(self._rows).to(device, non_blocking=True).unbind()

    def node_rows(self) -> NDArray[np.int64]:
        """Compute the row of every node in the data set's flat tensors."""
        return _rows(self._rows[0], self._rows[1])

    def parts(self) -> Iterator[_Part]:
        bounds = (self.first_graph, self.first_node, self.first_edge, self.first_ptr)
        edges = [list(map(slice, b[:-1].tolist(), b[1:].tolist())) for b in bounds]
        return (_Part(*slices) for slices in zip(*edges))


def _as_batch(
    fields: dict[str, Any], ptr: Tensor, edge_ptr: Tensor, more: Mapping[str, FieldKind]
) -> Batch:
    """Make a `Batch` that PyG can take apart again; `ptr` and `edge_ptr` are on the host."""
    # Batch(...) looks up its class and its signature every time, which is most of a batch's cost.
    made: Batch = type.__call__(_batch_class(), **fields)
    each, none = torch.arange(len(ptr)), torch.zeros(len(ptr) - 1, dtype=torch.int64)
    made._num_graphs = len(ptr) - 1
    made._slice_dict = {"z": ptr, "pos": ptr, "edge_index": edge_ptr, "y": each, "idx": each}
    made._inc_dict = {"z": none, "pos": none, "edge_index": ptr[:-1], "y": none, "idx": none}
    bounds = {"node": ptr, "edge": edge_ptr, "graph": each}
    for name, kind in more.items():
        made._slice_dict[name], made._inc_dict[name] = bounds[kind], none
    return made


@cache
def _batch_class() -> type[Batch]:
    return type(Batch())


def _neighbor_counts(
    nodes: _Ragged, edges: _Ragged, ends: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Count the edges into every node of the data set, [n] int64."""
    targets = np.repeat(nodes.first[:-1], edges.sizes) + ends[1, : edges.first[-1]]
    counts: NDArray[np.int64] = np.bincount(targets, minlength=int(nodes.first[-1]))
    return counts


def _rows(first: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Concatenate ``arange(first, first + size)`` over all pairs."""
    before = np.cumsum(sizes) - sizes
    rows: NDArray[np.int64] = np.arange(sizes.sum()) + np.repeat(first - before, sizes)
    return rows


def _offsets(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(sizes)])


class EpochSampler(Sampler[Tensor]):
    """The batches of an epoch, for one process out of several.

    All processes cut the same order of molecules into batches and take equal shares of each batch.
    So `batch_size` is the number of molecules per step for any number of processes, two processes
    take the steps that one would take, and all processes have the same number of batches.

    With a seed (for training), the order is
    ``Generator(PCG64(SeedSequence([seed, epoch]))).permutation(len(rows))``. It depends on nothing
    else, so that a resumed run sees the order of an unbroken one. If the last batch has fewer
    molecules than there are processes, they go to the batch before it.

    Parameters
    ----------
    rows : Tensor
        [n] int64, the molecules.
    batch_size : int
        Molecules per step over all processes; the last batch may be smaller.
    seed : int, optional
        Seed of the order, together with the epoch; None keeps the order of `rows`.
    rank, world_size : int
        This process and the number of processes.

    Raises
    ------
    ValueError
        If there are fewer molecules, or fewer molecules per batch, than processes.
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
        """Choose the epoch's order; Lightning calls this before every epoch."""
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
        """Divide the size of this process's share of each batch by the mean size of all shares."""
        return [
            len(range(start + self.rank, stop, self.world_size)) * self.world_size / (stop - start)
            for start, stop in self._bounds
        ]


class MoleculeLoader:
    """Iterates over the batches of an epoch.

    It stands in for a torch `DataLoader`, whose worker processes and collation of single items
    cost more than the gather itself. Lightning accepts any iterable with a length, keeps its order,
    and calls `sampler.set_epoch`.

    With several processes every batch has a float ``loss_weight``. The mean loss of a process's
    share, times this weight and averaged over the processes, is the mean over all molecules of the
    batch, even if the shares differ in size.

    Parameters
    ----------
    store : MoleculeStore
        The molecules.
    sampler : EpochSampler
        The order.
    """

    def __init__(self, store: MoleculeStore, sampler: EpochSampler) -> None:
        self.store = store
        self.sampler = sampler
        self.batch_sampler = None  # Lightning reads this to find out whether data are shuffled

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        # This generator draws the order when its first batch is asked for. In the first epoch of a
        # resumed run, Lightning makes the iterator before it sets the epoch: drawing the order at
        # once would repeat epoch 0.
        batches = self.store.batches(list(self.sampler))
        if self.sampler.world_size == 1:
            yield from batches
        else:
            yield from map(_weighted, batches, self.sampler.loss_weights())


def _weighted(batch: Batch, loss_weight: float) -> Batch:
    batch.loss_weight = loss_weight
    return batch
