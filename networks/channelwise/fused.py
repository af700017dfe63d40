"""The channelwise product on a CPU without a message per edge and path.

Imports NumPy, torch, e3nn and this package; numba when the product runs for the first time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray
from torch import Tensor

from networks.channelwise.paths import ChannelwisePaths, coupling_columns, coupling_matrices
from networks.channelwise.plain import ChannelwiseProduct, plain_product
from networks.convolution.neighborhoods import (
    EdgeSlots,
    pair_edges,
    pair_known_edges,
    pair_sorted_edges,
)
from networks.geometry import Geometry
from networks.threads import in_threads, threads_for

Integers = NDArray[np.int64]


class FusedProduct(ChannelwiseProduct):
    """Gathers, multiplies and sums edge by edge, in loops that numba compiles.

    Nothing of size edges x channels x paths is formed but the radial weights, and of these only one
    row for an edge and its reverse. Where the edges' harmonics need gradients (forces) or gradients
    of gradients are asked for, torch operations compute the same.
    """

    def weighted_edges(self, geometry: Geometry) -> Tensor | None:
        """Choose one edge of every pair of an edge and its reverse."""
        return None if needs_torch(geometry) else edge_tables(geometry).first_edges

    def forward(self, x: Tensor, weights: Tensor, geometry: Geometry) -> Tensor:
        """Send messages and sum them at the targets."""
        if needs_torch(geometry):
            return plain_product(self.paths, x, weights, geometry)
        out: Tensor = _Fused.apply(x, weights, self.paths, geometry)  # type: ignore[no-untyped-call]
        return out


def needs_torch(geometry: Geometry) -> bool:
    """Whether the loops cannot compute what is asked for: on a GPU, or for forces."""
    return geometry.vectors.requires_grad or geometry.vectors.device.type != "cpu"


@dataclass(frozen=True)
class EdgeTables:
    """The edges of a batch on a CPU, by target, by source and by row of weights.

    Attributes
    ----------
    source, target : array
        [e] nodes.
    edges_of_row : array
        [r, 1 or 2] edges that share their radial weights: an edge and its reverse.
    """

    source: Integers
    target: Integers
    edges_of_row: Integers
    num_nodes: int

    @cached_property
    def first_edges(self) -> Tensor:
        """[r] int64, one edge of each row of weights."""
        return torch.from_numpy(np.ascontiguousarray(self.edges_of_row[:, 0]))

    @cached_property
    def row_of_edge(self) -> Integers:
        """[e] row of weights."""
        row = np.empty(len(self.source), dtype=np.int64)
        row[self.edges_of_row.T] = np.arange(len(self.edges_of_row))
        return row

    @cached_property
    def boundaries(self) -> Integers:
        """Nodes v such that no edge connects those before v with others; from 0 to n."""
        lower, upper = np.minimum(self.source, self.target), np.maximum(self.source, self.target)
        begins, ends = (np.bincount(v + 1, minlength=self.num_nodes + 1) for v in (lower, upper))
        return np.flatnonzero(np.cumsum(begins - ends) == 0)

    @cached_property
    def by_target(self) -> tuple[Integers, Integers, Integers, Integers]:
        """First entry of each target, then sources, rows and edges."""
        return self._grouped(self.target, self.source)

    @cached_property
    def by_source(self) -> tuple[Integers, Integers, Integers, Integers]:
        """First entry of each source, then targets, rows and edges."""
        return self._grouped(self.source, self.target)

    def _grouped(
        self, receiver: Integers, sender: Integers
    ) -> tuple[Integers, Integers, Integers, Integers]:
        edge = np.argsort(receiver, kind="stable")
        counts = np.bincount(receiver, minlength=self.num_nodes)
        start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return start, sender[edge], self.row_of_edge[edge], edge


def edge_tables(geometry: Geometry) -> EdgeTables:
    """Arrange a batch's edges, once."""
    if "channelwise edges" not in geometry.shared:
        source, target = geometry.edge_index
        slots: EdgeSlots | None
        if geometry.reverse is not None:
            slots = pair_known_edges(source, target, geometry.reverse, geometry.num_nodes)
        elif geometry.neighbor_counts is not None and geometry.num_padding_nodes == 0:
            slots = pair_sorted_edges(source, target, geometry.num_nodes)
        else:
            slots = pair_edges(source, target, geometry.num_nodes)
        edges = torch.arange(len(source))[:, None] if slots is None else slots.edge.view(-1, 2)
        geometry.shared["channelwise edges"] = EdgeTables(
            source.contiguous().numpy(),
            target.contiguous().numpy(),
            edges.contiguous().numpy(),
            geometry.num_nodes,
        )
    tables: EdgeTables = geometry.shared["channelwise edges"]
    return tables


class _Fused(torch.autograd.Function):
    """The product as a function of x and the weights."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weights: Tensor, paths: ChannelwisePaths, geometry: Geometry
    ) -> Tensor:
        ctx.save_for_backward(x, weights)
        ctx.paths, ctx.geometry = paths, geometry
        x, weights = x.contiguous(), weights.contiguous()
        out = x.new_zeros(geometry.num_nodes, paths.dim_out)
        _send(paths, geometry, x, weights, out)
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weights = ctx.saved_tensors
        paths, geometry, (d_out,) = ctx.paths, ctx.geometry, gradients
        if torch.is_grad_enabled():  # create_graph
            return (*_torch_gradients(x, weights, paths, geometry, d_out), None, None)
        x, weights, d_out = x.contiguous(), weights.contiguous(), d_out.contiguous()
        d_x, d_weights = torch.zeros_like(x), torch.zeros_like(weights)
        _send_back(paths, geometry, x, weights, d_out, d_x, d_weights)
        return d_x, d_weights, None, None


def _torch_gradients(
    x: Tensor, weights: Tensor, paths: ChannelwisePaths, geometry: Geometry, d_out: Tensor
) -> list[Tensor | None]:
    """Compute the same derivatives by torch operations, which can be differentiated again."""
    row = torch.from_numpy(edge_tables(geometry).row_of_edge)
    inputs = [tensor for tensor in (x, weights) if tensor.requires_grad]
    out = plain_product(paths, x, weights.index_select(0, row), geometry)
    found = iter(torch.autograd.grad(out, inputs, d_out, create_graph=True))
    return [next(found) if tensor.requires_grad else None for tensor in (x, weights)]


def _send(
    paths: ChannelwisePaths, geometry: Geometry, x: Tensor, weights: Tensor, out: Tensor
) -> None:
    """Add every message to `out`."""
    from networks.channelwise.fused_kernel import send

    entries = edge_tables(geometry).by_target
    gamma = _array(coupling_matrices(paths.triples, geometry))
    arrays = gamma, _array(weights), _array(x), _array(out)

    def part(first: int, stop: int) -> None:
        send(first, stop, *entries, *arrays, _path_table(paths))

    _in_parts(part, entries[0])


def _send_back(
    paths: ChannelwisePaths,
    geometry: Geometry,
    x: Tensor,
    weights: Tensor,
    d_out: Tensor,
    d_x: Tensor,
    d_weights: Tensor,
) -> None:
    """Add the derivatives to `d_x` and `d_weights`."""
    from networks.channelwise.fused_kernel import send_back

    tables = edge_tables(geometry)
    entries = tables.by_source
    gamma = _array(coupling_matrices(paths.triples, geometry))
    given = gamma, _array(weights), _array(x), _array(d_out)
    results = _array(d_x), _array(d_weights)

    def part(first: int, stop: int) -> None:
        send_back(first, stop, *entries, *given, *results, _path_table(paths))

    # An edge and its reverse add to one row of `d_weights`: one thread must do both.
    _in_parts(part, entries[0], tables.boundaries)


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().numpy()
    return array


@cache
def _path_table(paths: ChannelwisePaths) -> NDArray[np.uint64]:
    """Lay the paths out as `networks.channelwise.fused_kernel.send` wants them."""
    columns = coupling_columns(paths.triples)
    starts_in, starts_out = _starts(dict(paths.irreps_in)), _starts(paths.irreps_out)
    rows, weight, place = [], 0, dict.fromkeys(paths.irreps_out, 0)
    for path in paths.paths:
        name_in, name_out, channels = path.irrep_in, path.irrep_out, path.channels
        dim_in, dim_out = o3.Irrep(name_in).dim, o3.Irrep(name_out).dim
        first_out = starts_out[name_out] + place[name_out]
        end_in = (starts_in[name_in], channels, dim_in)
        end_out = (first_out, paths.irreps_out[name_out], dim_out)
        first, step_out = columns[path.triple].start, paths.irreps_out[name_out]
        if path.edge_degree > 0:
            rows.append((*end_in, *end_out, first, dim_in, 1, weight, channels))
        for m in range(dim_in if path.edge_degree == 0 else 0):  # a multiple of the identity
            one_in = (starts_in[name_in] + m * channels, 0, 1)
            one_out = (first_out + m * step_out, 0, 1)
            rows.append((*one_in, *one_out, first + m * (dim_in + 1), 0, 0, weight, channels))
        weight += channels
        place[name_out] += channels
    return np.array(rows, dtype=np.uint64).reshape(-1, 11)


def _starts(channels: dict[str, int]) -> dict[str, int]:
    """First column of each block."""
    starts, column = {}, 0
    for name, count in channels.items():
        starts[name] = column
        column += count * o3.Irrep(name).dim
    return starts


_SMALL = 2_000
"""Entries below which threads cost more than they save."""


def _in_parts(
    part: Callable[[int, int], None], start_of: Integers, boundaries: Integers | None = None
) -> None:
    """Cut nodes into one part for each of torch's threads, with about equally many entries.

    If `boundaries` is given, parts begin and end there only.
    """
    count, total = len(start_of) - 1, int(start_of[-1])
    threads = threads_for(total, _SMALL)
    cuts = np.searchsorted(start_of, np.linspace(0, total, threads + 1))
    cuts[0], cuts[-1] = 0, count
    if boundaries is not None:
        cuts = boundaries[np.searchsorted(boundaries, cuts)]
    in_threads(part, cuts.tolist())
