"""Batches of molecules, gathered straight from flat tensors, and the order of an epoch.

May import NumPy, torch and torch_geometric.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Sampler
from torch_geometric.data import Batch, Data

from qm9.graphs import ranges

_BATCHES_AT_ONCE = 16
"""Batches that one gather fills; more saves little and holds more memory."""


@dataclass(frozen=True)
class _Ragged:
    """Where the rows of each molecule lie in a flat tensor; offsets live on the host as well."""

    host: NDArray[np.int64]
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
        int8 [2, e], row 0 source j and row 1 target i, local to each molecule.
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
        self.y = y.to(self.device)

    def __len__(self) -> int:
        return len(self._nodes.sizes)

    def __getitem__(self, rows: Tensor | Sequence[int]) -> Batch:
        """One batch of the given molecules; lets `DataLoader(store, batch_size=None)` work."""
        return next(self.batches([torch.as_tensor(rows, dtype=torch.int64)]))

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
            data set).
        """
        for start in range(0, len(groups), _BATCHES_AT_ONCE):
            # Without this a batch made while Lightning validates could never enter autograd.
            with torch.inference_mode(False):
                made = self._collate(groups[start : start + _BATCHES_AT_ONCE])
            yield from made

    def _collate(self, groups: Sequence[Tensor]) -> list[Batch]:
        graph_counts = np.array([len(group) for group in groups])
        rows = torch.cat(list(groups)).numpy()
        num_nodes, num_edges = self._nodes.sizes[rows], self._edges.sizes[rows]
        first_graph = _offsets(graph_counts)
        node_ends, edge_ends = _offsets(num_nodes), _offsets(num_edges)
        # Node numbers and graph numbers start from 0 in every batch.
        graph_of = np.arange(len(rows)) - np.repeat(first_graph[:-1], graph_counts)
        node_base = node_ends[:-1] - np.repeat(node_ends[first_graph[:-1]], graph_counts)
        plan = np.stack(
            [
                self._nodes.host[rows],
                num_nodes,
                self._edges.host[rows],
                num_edges,
                graph_of,
                node_base,
                rows,
            ]
        )
        # One copy carries all index arithmetic to the device, without waiting for it.
        first_node, nodes, first_edge, edges, graph, base, idx = torch.from_numpy(plan).to(
            self.device, non_blocking=True
        )
        take_n = ranges(first_node, nodes, int(node_ends[-1]))
        take_e = ranges(first_edge, edges, int(edge_ends[-1]))
        z = self.z.index_select(0, take_n).long()
        pos = self.pos.index_select(0, take_n)
        batch = torch.repeat_interleave(graph, nodes, output_size=len(take_n))
        edge_index = self.edges.index_select(1, take_e).long()
        edge_index += torch.repeat_interleave(base, edges, output_size=len(take_e))
        y = self.y.index_select(0, idx)
        node_at, edge_at = node_ends[first_graph], edge_ends[first_graph]
        made = []
        for k, count in enumerate(graph_counts):
            g = slice(int(first_graph[k]), int(first_graph[k + 1]))
            n = slice(int(node_at[k]), int(node_at[k + 1]))
            e = slice(int(edge_at[k]), int(edge_at[k + 1]))
            made.append(
                _as_batch(
                    z[n],
                    pos[n],
                    # Contiguous, as PyG's own batches are.
                    edge_index[:, e].contiguous(),
                    batch[n],
                    torch.cat([base[g], base.new_full((1,), n.stop - n.start)]),
                    y[g],
                    idx[g],
                    int(count),
                )
            )
        return made


def _as_batch(
    z: Tensor,
    pos: Tensor,
    edge_index: Tensor,
    batch: Tensor,
    ptr: Tensor,
    y: Tensor,
    idx: Tensor,
    num_graphs: int,
) -> Batch:
    made = Batch(z=z, pos=pos, edge_index=edge_index, y=y, idx=idx, batch=batch, ptr=ptr)
    made._num_graphs = num_graphs
    return made


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


class MoleculeLoader:
    """Iterates over the batches of an epoch.

    In place of a torch `DataLoader`, whose worker processes and per-item collation cost more than
    the gather itself. Lightning takes any iterable with a length, leaves its order alone, and
    calls `sampler.set_epoch`.

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

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[Batch]:
        return self.store.batches(list(self.sampler))
