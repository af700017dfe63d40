"""Messages along single edges, weights first, each edge seen in a frame of its own.

In the frame of an edge (`networks.convolution.edge_frames`) the tensor product is diagonal in the
order m. Let x_s[m, (i u)] be the rows +m and -m (one row for m = 0) of slot s's sending node, all
blocks i of degree >= m side by side, and y_s[m, (o w)] the same rows of its message. Then

    W_e[m, (i u), (o w)] = sum_k h_e[k] T[m, k, (i u), (o w)]
    y_s[m, (o w)] = sum_(i u) x_s[m, (i u)] W_e[m, (i u), (o w)]

where T mixes the paths' weights by the polar couplings. Wigner matrices D_s rotate node values into
the frame to give x, and y back. An edge and its reverse (s = 2 e and 2 e + 1) share W_e: in the
frame of the edge its reverse is inverted, which multiplies every block by its parity. All sums are
matrix products over a chunk of edges that fits the cache, but for rotations on a CPU
(`networks.convolution.frames`). The backward pass computes them again. Imports torch and this
package only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from networks.convolution.frame_layout import FrameLayout, Piece, Side
from networks.convolution.frames import Frames, FrameValues, Slots, frames_for, rows_by_block
from networks.convolution.neighborhoods import EdgeSlots
from networks.convolution.products import (
    Scratch,
    add_mm,
    add_transposed_mm,
    batched_product,
    max_chunk_elements,
    num_row_parts,
)


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

    @cached_property
    def sent(self) -> FrameLayout:
        """Rows of the sender, by order."""
        return self._by_order(self.sender)

    @cached_property
    def received(self) -> FrameLayout:
        """Rows of the receiver, by order."""
        return self._by_order(self.receiver)

    def _by_order(self, side: Side) -> FrameLayout:
        orders = range(self.max_order + 1)
        return FrameLayout(side, tuple(Piece(m, tuple(side.columns(m))) for m in orders))

    @cached_property
    def messages(self) -> FrameLayout:
        """Rows of the receiver, by terms."""
        return FrameLayout(self.receiver, tuple(Piece(term.m, term.blocks) for term in self.terms))


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
        frames = frames_for(scratch, values, h)
        chunks = _Chunks(form, slots, frames, h, tables)
        sent = frames.load(form.sender, values)
        out = frames.zeros(form.receiver, slots.num_nodes, values)
        for chunk in chunks:
            x = frames.rotate_into("x", form.sent, chunk.senders, sent)
            frames.add_back(chunk.receivers, chunk.messages(x), out)
        return frames.total(out)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            return _backward(ctx, grad)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    form: EdgeForm = ctx.form
    values, h, *tables = ctx.saved_tensors
    num_wigner = len(tables) - len(form.terms)
    needs_d_wigner = any(ctx.needs_input_grad[5 : 5 + num_wigner])
    frames = frames_for(ctx.scratch, values, h, differentiable=needs_d_wigner)
    chunks = _Chunks(form, ctx.slots, frames, h, tables)
    sent, d_received = frames.load(form.sender, values), frames.load(form.receiver, grad)
    d_sent = frames.zeros(form.sender, ctx.slots.num_nodes, values)
    d_h = torch.zeros_like(h)
    d_wigner = [torch.zeros_like(d) for d in chunks.wigner_d] if needs_d_wigner else []
    d_weights = [h.new_zeros(chunks.num_parts, *table.shape) for table in chunks.weights]
    for chunk in chunks:
        x = frames.rotate_into("x", form.sent, chunk.senders, sent)
        d_y = frames.rotate_into("d_y", form.received, chunk.receivers, d_received)
        d_x = chunk.add_weight_gradients(x, d_y, d_h, d_weights)
        frames.add_back(chunk.senders, d_x, d_sent)
        if needs_d_wigner:
            y = chunk.messages(x)
            chunk.add_wigner_gradients(chunk.receivers, d_received, y, d_wigner)
            chunk.add_wigner_gradients(chunk.senders, sent, d_x, d_wigner)
    return (
        *(None, None, None),
        frames.total(d_sent),
        d_h,
        *(d_wigner if needs_d_wigner else [None] * num_wigner),
        *(parts[0] if chunks.num_parts == 1 else parts.sum(0) for parts in d_weights),
    )


class _Chunks:
    """Consecutive edges, cut so that the largest intermediate result of a chunk fits the cache."""

    def __init__(
        self,
        form: EdgeForm,
        slots: EdgeSlots,
        frames: Frames,
        h: Tensor,
        tables: Sequence[Tensor],
    ) -> None:
        self.form, self.slots, self.frames, self.h = form, slots, frames, h
        num_irreps = len(tables) - len(form.terms)
        self.wigner_d, self.weights = tables[:num_irreps], tables[num_irreps:]
        parts = num_row_parts(h.shape[0], h.device)
        self.num_parts = parts if h.shape[0] % parts == 0 else 1

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
        self.form, self.weights, self.frames = chunks.form, chunks.weights, chunks.frames
        self.num_parts = chunks.num_parts
        slots_per_edge = chunks.slots.slots_per_edge
        self.edges = slice(start, stop)
        self.slots = slice(start * slots_per_edge, stop * slots_per_edge)
        self.h = chunks.h[self.edges]
        wigner_d = [d[self.slots] for d in chunks.wigner_d]
        self.senders, self.receivers = (
            Slots(nodes[self.slots], wigner_d, stop - start)
            for nodes in (chunks.slots.neighbor, chunks.slots.center)
        )

    def messages(self, x: FrameValues) -> FrameValues:
        """Messages y in the edges' frames, of every term."""
        room = self.frames.room("y", self.form.messages, self.receivers, self.h)
        parts = []
        for k, (term, table) in enumerate(zip(self.form.terms, self.weights)):
            x_m = x.parts[term.m]
            w = self._edge_weights(table, x_m)
            parts.append(batched_product(x_m, w, out=None if room is None else room.parts[k]))
        return FrameValues(self.form.messages, parts, None if room is None else room.memory)

    def add_weight_gradients(
        self, x: FrameValues, d_y: FrameValues, d_h: Tensor, d_weights: list[Tensor]
    ) -> FrameValues:
        """Add the derivatives by h and T; return those by x, of every order."""
        layout = self.form.sent
        room = self.frames.room("d_x", layout, self.senders, self.h)
        d_x: dict[int, Tensor] = {}
        for term, table, d_table in zip(self.form.terms, self.weights, d_weights):
            m, x_m, d_y_term = term.m, x.parts[term.m], d_y.parts[term.m][:, :, term.columns]
            w = self._edge_weights(table, x_m)
            if m in d_x:
                batched_product(d_y_term, w.mT, d_x[m])
            else:
                out = None if room is None else room.parts[m]
                d_x[m] = batched_product(d_y_term, w.mT, out=out)
            # The sum of x[a] d_y[b] over the rows [e, (a b)] overwrites W.
            d_w = self.frames.scratch.bmm("w", x_m.transpose(1, 2), d_y_term).flatten(1)
            add_transposed_mm(d_table, self.h, d_w)
            add_mm(d_h[self.edges], d_w, table.t(), self.num_parts)
        return FrameValues(layout, list(d_x.values()), None if room is None else room.memory)

    def _edge_weights(self, table: Tensor, x: Tensor) -> Tensor:
        """W [e, (i u), (o w)] of a term."""
        w = self.frames.scratch.mm("w", self.h, table, self.num_parts)
        return w.view(self.h.shape[0], x.shape[2], -1)

    def add_wigner_gradients(
        self, slots: Slots, values: list[Tensor], inside: FrameValues, d_wigner: list[Tensor]
    ) -> None:
        """Add the derivative by D of sum_s <inside_s, D_s values[nodes_s]>."""
        side = inside.layout.side
        blocks = zip(side.shapes, side.irreps, rows_by_block(slots, inside), values)
        for (dim, mul), irrep, rows, block in blocks:
            outside = block.index_select(0, slots.nodes).view(-1, dim, mul)
            d_wigner[irrep][self.slots, : rows.shape[1]] += batched_product(rows, outside.mT)
