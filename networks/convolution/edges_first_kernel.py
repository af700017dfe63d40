"""Messages along single edges, weights first, each edge seen in a frame of its own.

In the frame of an edge (`networks.convolution.edge_frames`) the tensor product is diagonal in the
order m. Let x_s[m, (i u)] be the rows +m and -m (one row for m = 0) of slot s's sending node, all
blocks i of degree >= m side by side, and y_s[m, (o w)] the same rows of its message. Then

    W_e[m, (i u), (o w)] = sum_k h_e[k] T[m, k, (i u), (o w)]
    y_s[m, (o w)] = sum_(i u) x_s[m, (i u)] W_e[m, (i u), (o w)]

where T mixes the paths' weights by the polar couplings. Wigner matrices D_s rotate node values into
the frame to give x, and y back. An edge and its reverse (s = 2 e and 2 e + 1) share W_e: in the
frame of the edge its reverse is inverted, which multiplies every block by its parity. All sums are
matrix products over a chunk of edges that fits the cache. The backward pass computes them again.
Imports torch and this package only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from networks.convolution.neighborhoods import EdgeSlots
from networks.convolution.products import (
    BlockShapes,
    Scratch,
    add_mm,
    add_transposed_mm,
    batched_product,
    join,
    max_chunk_elements,
    num_row_parts,
    split_blocks,
)

FrameValues = tuple[tuple[int, ...], Tensor]
"""Blocks, and their rows of one order in the frames of the edges: [e, rows, channels of all]."""


@dataclass(frozen=True)
class Side:
    """Blocks of the sending or of the receiving nodes.

    Attributes
    ----------
    shapes : BlockShapes
        Shape of each block.
    irreps : tuple of int
        Position of each block's irrep among the Wigner matrices.
    """

    shapes: BlockShapes
    irreps: tuple[int, ...]

    def columns(self, m: int) -> dict[int, slice]:
        """Map each block that has order m to its channels among those of all such blocks."""
        columns: dict[int, slice] = {}
        stop = 0
        for block, (dim, mul) in enumerate(self.shapes):
            if dim > 2 * m:
                columns[block] = slice(stop, stop + mul)
                stop += mul
        return columns

    def width(self, m: int) -> int:
        """Count the channels of all blocks that have order m."""
        return sum(mul for dim, mul in self.shapes if dim > 2 * m)


@dataclass(frozen=True)
class Term:
    """A part of the messages of one order that is computed at once.

    Attributes
    ----------
    m : int
        Order.
    blocks : tuple of int
        Receiving blocks, consecutive among those of order m.
    columns : slice
        Their channels among those of all receiving blocks of order m.
    """

    m: int
    blocks: tuple[int, ...]
    columns: slice


@dataclass(frozen=True)
class EdgeForm:
    """The blocks at both ends of an edge, and the terms that couple them.

    Attributes
    ----------
    sender, receiver : Side
        Blocks of both ends.
    terms : tuple of Term
        By ascending order. Each has a T of its own.
    """

    sender: Side
    receiver: Side
    terms: tuple[Term, ...]

    @property
    def max_order(self) -> int:
        """Largest m that both ends have."""
        return self.terms[-1].m


def cut_terms(sender: Side, receiver: Side, max_elements: float) -> tuple[Term, ...]:
    """Distribute the receiving blocks of every order over terms.

    Parameters
    ----------
    sender, receiver : Side
        Blocks of both ends.
    max_elements : float
        A term of several blocks has at most so many elements of an edge's W, rounded up to whole
        blocks.

    Returns
    -------
    tuple of Term
        By ascending order.
    """
    terms: list[Term] = []
    dims = [max(dim for dim, _ in side.shapes) for side in (sender, receiver)]
    for m in range(min(dims) // 2 + 1):
        width, start = sender.width(m), 0
        blocks: list[int] = []
        for block, columns in receiver.columns(m).items():
            if blocks and width * (columns.stop - start) > max_elements:
                terms.append(Term(m, tuple(blocks), slice(start, columns.start)))
                start, blocks = columns.start, []
            blocks.append(block)
        terms.append(Term(m, tuple(blocks), slice(start, receiver.width(m))))
    return tuple(terms)


def send_along_edges(
    form: EdgeForm,
    slots: EdgeSlots,
    values: Tensor,
    h: Tensor,
    wigner_d: Sequence[Tensor],
    weights: Sequence[Tensor],
    scratch: Scratch,
) -> Tensor:
    """Send messages along all edges and sum them at the receiving nodes.

    Parameters
    ----------
    form : EdgeForm
        Blocks and terms.
    slots : EdgeSlots
        The graph. Messages go from neighbours to centers.
    values : Tensor
        [n, sender's dim].
    h : Tensor
        [e, k] radial features, with one row for an edge and its reverse.
    wigner_d : sequence of Tensor
        D [s, 2 l + 1, 2 l + 1] of every irrep that occurs, rows sorted by order.
    weights : sequence of Tensor
        T [k, (i u o w)] of every term.
    scratch : Scratch
        Memory for intermediate results.

    Returns
    -------
    Tensor
        [n, receiver's dim]. Can be differentiated any number of times.
    """
    out: Tensor = _SendAlongEdges.apply(  # type: ignore[no-untyped-call]
        form, slots, scratch, values, h, *wigner_d, *weights
    )
    return out


class _SendAlongEdges(torch.autograd.Function):
    """With create_graph, autograd records the backward pass like any other code."""

    @staticmethod
    def forward(
        ctx: Any,
        form: EdgeForm,
        slots: EdgeSlots,
        scratch: Scratch,
        values: Tensor,
        h: Tensor,
        *tables: Tensor,
    ) -> Tensor:
        ctx.form, ctx.slots, ctx.scratch = form, slots, scratch
        ctx.save_for_backward(values, h, *tables)
        chunks = _Chunks(form, slots, scratch, h, tables)
        senders = split_blocks(values, form.sender.shapes)
        out = chunks.zeros(form.receiver)
        for chunk in chunks:
            x = chunk.rotate_into_frames(form.sender, chunk.neighbor, senders)
            chunk.add_rotated_back(form.receiver, chunk.center, chunk.messages(x), out)
        return torch.cat(out, dim=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            return _backward(ctx, grad)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    form: EdgeForm = ctx.form
    values, h, *tables = ctx.saved_tensors
    chunks = _Chunks(form, ctx.slots, ctx.scratch, h, tables)
    senders = split_blocks(values, form.sender.shapes)
    d_receivers = split_blocks(grad, form.receiver.shapes)
    d_senders = chunks.zeros(form.sender)
    needs_d_wigner = any(ctx.needs_input_grad[5 : 5 + len(chunks.wigner_d)])
    d_h = torch.zeros_like(h)
    d_wigner = [torch.zeros_like(d) for d in chunks.wigner_d] if needs_d_wigner else []
    d_weights = [h.new_zeros(chunks.num_parts, *table.shape) for table in chunks.weights]
    for chunk in chunks:
        x = chunk.rotate_into_frames(form.sender, chunk.neighbor, senders)
        d_y = chunk.rotate_into_frames(form.receiver, chunk.center, d_receivers)
        d_x = chunk.add_weight_gradients(x, d_y, d_h, d_weights)
        chunk.add_rotated_back(form.sender, chunk.neighbor, d_x, d_senders)
        if needs_d_wigner:
            y = chunk.messages(x)
            chunk.add_wigner_gradients(form.receiver, chunk.center, d_receivers, y, d_wigner)
            chunk.add_wigner_gradients(form.sender, chunk.neighbor, senders, d_x, d_wigner)
    return (
        *(None, None, None),
        torch.cat(d_senders, dim=1),
        d_h,
        *(d_wigner if needs_d_wigner else [None] * len(chunks.wigner_d)),
        *(parts[0] if chunks.num_parts == 1 else parts.sum(0) for parts in d_weights),
    )


class _Chunks:
    """Consecutive edges, cut so that the largest intermediate result of a chunk fits the cache."""

    def __init__(
        self,
        form: EdgeForm,
        slots: EdgeSlots,
        scratch: Scratch,
        h: Tensor,
        tables: Sequence[Tensor],
    ) -> None:
        self.form, self.slots, self.scratch, self.h = form, slots, scratch, h
        num_irreps = len(tables) - len(form.terms)
        self.wigner_d, self.weights = tables[:num_irreps], tables[num_irreps:]
        parts = num_row_parts(h.shape[0], h.device)
        self.num_parts = parts if h.shape[0] % parts == 0 else 1

    def zeros(self, side: Side) -> list[Tensor]:
        """Zero node values [n, (2 l + 1) mul] of every block."""
        return [self.h.new_zeros(self.slots.num_nodes, dim * mul) for dim, mul in side.shapes]

    def __iter__(self) -> Iterator[_Chunk]:
        num_edges = self.h.shape[0]
        max_elements = max_chunk_elements(self.h.device)
        size = max(1, max_elements // max(table.shape[1] for table in self.weights))
        num_chunks = max(1, -(-num_edges // size))
        size = -(-num_edges // num_chunks)  # equal sizes
        size = -(-size // self.num_parts) * self.num_parts
        for start in range(0, num_edges, max(size, 1)):
            yield _Chunk(self, start, min(start + size, num_edges))


class _Chunk:
    """Edges `start` to `stop` with their slots."""

    def __init__(self, chunks: _Chunks, start: int, stop: int) -> None:
        self.form, self.weights, self.scratch = chunks.form, chunks.weights, chunks.scratch
        self.num_parts = chunks.num_parts
        slots_per_edge = chunks.slots.slots_per_edge
        self.edges = slice(start, stop)
        self.slots = slice(start * slots_per_edge, stop * slots_per_edge)
        self.h = chunks.h[self.edges]
        self.center = chunks.slots.center[self.slots]
        self.neighbor = chunks.slots.neighbor[self.slots]
        self.wigner_d = [d[self.slots] for d in chunks.wigner_d]

    def rotate_into_frames(self, side: Side, nodes: Tensor, values: list[Tensor]) -> list[Tensor]:
        """Rotate node values into the edges' frames: [e, rows, (i u)] of every order."""
        num_rows = 2 * self.form.max_order + 1
        rotated = []
        for (dim, mul), irrep, block in zip(side.shapes, side.irreps, values):
            outside = block.index_select(0, nodes).view(-1, dim, mul)
            rotated.append(batched_product(self.wigner_d[irrep][:, :num_rows], outside))
        by_order = []
        for m in range(self.form.max_order + 1):
            rows = slice(max(2 * m - 1, 0), 2 * m + 1)
            blocks = [rotated[block][:, rows] for block in side.columns(m)]
            by_order.append(join(blocks, 2).reshape(self.h.shape[0], -1, side.width(m)))
        return by_order

    def messages(self, x: list[Tensor]) -> list[FrameValues]:
        """Messages y in the edges' frames, of every term."""
        return [
            (term.blocks, batched_product(x[term.m], self._edge_weights(table, x[term.m])))
            for term, table in zip(self.form.terms, self.weights)
        ]

    def add_weight_gradients(
        self, x: list[Tensor], d_y: list[Tensor], d_h: Tensor, d_weights: list[Tensor]
    ) -> list[FrameValues]:
        """Add the derivatives by h and T; return those by x, of every order."""
        d_x: dict[int, Tensor] = {}
        for term, table, d_table in zip(self.form.terms, self.weights, d_weights):
            m, d_y_term = term.m, d_y[term.m][:, :, term.columns]
            w = self._edge_weights(table, x[m])
            d_x[m] = batched_product(d_y_term, w.mT, d_x.get(m))
            # The sum of x[a] d_y[b] over the rows [e, (a b)] overwrites W.
            d_w = self.scratch.bmm("w", x[m].transpose(1, 2), d_y_term).flatten(1)
            add_transposed_mm(d_table, self.h, d_w)
            add_mm(d_h[self.edges], d_w, table.t(), self.num_parts)
        return [(tuple(self.form.sender.columns(m)), values) for m, values in d_x.items()]

    def _edge_weights(self, table: Tensor, x: Tensor) -> Tensor:
        """W [e, (i u), (o w)] of a term."""
        w = self.scratch.mm("w", self.h, table, self.num_parts)
        return w.view(self.h.shape[0], x.shape[2], -1)

    def add_rotated_back(
        self, side: Side, nodes: Tensor, values: list[FrameValues], totals: list[Tensor]
    ) -> None:
        """Rotate values back from the edges' frames and add them at the nodes."""
        for irrep, inside, total in zip(side.irreps, self._by_block(side, values), totals):
            d = self.wigner_d[irrep][:, : inside.shape[1]]
            total.index_add_(0, nodes, batched_product(d.mT, inside).flatten(1))

    def add_wigner_gradients(
        self,
        side: Side,
        nodes: Tensor,
        values: list[Tensor],
        frame_values: list[FrameValues],
        d_wigner: list[Tensor],
    ) -> None:
        """Add the derivative by D of sum_s <frame_values_s, D_s values[nodes_s]>."""
        blocks = zip(side.shapes, side.irreps, self._by_block(side, frame_values), values)
        for (dim, mul), irrep, inside, block in blocks:
            outside = block.index_select(0, nodes).view(-1, dim, mul)
            d_wigner[irrep][self.slots, : inside.shape[1]] += batched_product(inside, outside.mT)

    def _by_block(self, side: Side, values: list[FrameValues]) -> list[Tensor]:
        """Rows [s, rows, mul] of each block, all orders one after the other."""
        rows: list[list[Tensor]] = [[] for _ in side.shapes]
        for blocks, value in values:
            by_slot = value.view(self.center.shape[0], -1, value.shape[2])
            widths = [side.shapes[block][1] for block in blocks]
            for block, part in zip(blocks, by_slot.split(widths, dim=2)):
                rows[block].append(part)
        return [join(parts, 1) for parts in rows]
