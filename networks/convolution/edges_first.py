"""Messages along single edges, weights first, each edge seen in a frame of its own.

In the frame of an edge (`networks.convolution.edge_frames`) the tensor product is diagonal in the order m.
With x_s[m, (i u)] the rows +m and -m (one row for m = 0) of slot s's sending node, all blocks i
of degree >= m side by side, and y_s[m, (o w)] those of its message,

    W_e[m, (i u), (o w)] = sum_k h_e[k] T[m, k, (i u), (o w)]
    y_s[m, (o w)] = sum_(i u) x_s[m, (i u)] W_e[m, (i u), (o w)]

where T mixes the paths' weights by the polar couplings. x and y are turned into the frame and
back by D_s. An edge and its reverse (s = 2 e and 2 e + 1) share W_e: in the frame of the edge its
reverse is inverted, which multiplies every block by its parity. All sums are products of matrices
over a chunk of edges that stays in cache; the backward pass computes them again. Imports torch
and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from networks.convolution.neighborhoods import EdgeSlots
from networks.convolution.products import (
    Scratch,
    add_mm,
    add_transposed_mm,
    batched_product,
    chunk_numbers,
    join,
    parts_of,
    split_blocks,
)

Part = tuple[tuple[int, ...], Tensor]
"""Blocks, and their rows of one order in the frames of the edges, [e, rows, channels of all]."""


@dataclass(frozen=True)
class Side:
    """Blocks of the sending or of the receiving nodes.

    Attributes
    ----------
    shapes : tuple of (int, int)
        (2 l + 1, multiplicity) of each block. Node values are [n, dim], each block m-major: its
        2 l + 1 components one after the other, each of all channels.
    frames : tuple of int
        Position of each block's D among the frames.
    """

    shapes: tuple[tuple[int, int], ...]
    frames: tuple[int, ...]

    def columns(self, m: int) -> dict[int, slice]:
        """Blocks that have components of order m, each with its channels among all of theirs."""
        found: dict[int, slice] = {}
        stop = 0
        for block, (dim, mul) in enumerate(self.shapes):
            if dim > 2 * m:
                found[block] = slice(stop, stop + mul)
                stop += mul
        return found

    def width(self, m: int) -> int:
        """Channels of all blocks that have components of order m."""
        return sum(mul for dim, mul in self.shapes if dim > 2 * m)


@dataclass(frozen=True)
class Term:
    """A part of the messages of one order that is computed at once.

    Attributes
    ----------
    m : int
        Order.
    blocks : tuple of int
        Receiving blocks, one after the other.
    columns : slice
        Their channels among those of all receiving blocks of order m.
    """

    m: int
    blocks: tuple[int, ...]
    columns: slice


@dataclass(frozen=True)
class EdgeForm:
    """What is coupled.

    Attributes
    ----------
    sender, receiver : Side
        Blocks of both ends.
    terms : tuple of Term
        By ascending order; each has one T.
    """

    sender: Side
    receiver: Side
    terms: tuple[Term, ...]

    @property
    def max_order(self) -> int:
        """Largest m that both ends have."""
        return self.terms[-1].m


def cut_terms(sender: Side, receiver: Side, largest: float) -> tuple[Term, ...]:
    """Share the messages out between terms.

    Parameters
    ----------
    sender, receiver : Side
        Blocks of both ends.
    largest : float
        Numbers of an edge's W beyond which a term is cut, if it has several blocks.

    Returns
    -------
    tuple of Term
    """
    terms: list[Term] = []
    dims = [max(dim for dim, _ in side.shapes) for side in (sender, receiver)]
    for m in range(min(dims) // 2 + 1):
        width, start = sender.width(m), 0
        blocks: list[int] = []
        for block, columns in receiver.columns(m).items():
            if blocks and width * (columns.stop - start) > largest:
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
    frames: Sequence[Tensor],
    weights: Sequence[Tensor],
    scratch: Scratch,
) -> Tensor:
    """Send messages along all edges and sum them at the receiving nodes.

    Parameters
    ----------
    form : EdgeForm
        Blocks.
    slots : EdgeSlots
        The graph; messages go from neighbours to centers.
    values : Tensor
        [n, sender's dim].
    h : Tensor
        [e, k] radial features; one row for the slots of an edge and its reverse.
    frames : sequence of Tensor
        D [s, 2 l + 1, 2 l + 1] of every irrep that occurs, rows sorted by order.
    weights : sequence of Tensor
        T [k, (i u o w)] of every term.
    scratch : Scratch
        Memory to work in.

    Returns
    -------
    Tensor
        [n, receiver's dim]. Can be differentiated any number of times.
    """
    out: Tensor = _SendAlongEdges.apply(form, slots, scratch, values, h, *frames, *weights)
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
            x = chunk.into_frames(form.sender, chunk.neighbor, senders)
            chunk.out_of_frames(form.receiver, chunk.center, chunk.messages(x), out)
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
    receivers = split_blocks(grad, form.receiver.shapes)
    d_senders = chunks.zeros(form.sender)
    turned = any(ctx.needs_input_grad[5 : 5 + len(chunks.frames)])
    d_h = torch.zeros_like(h)
    d_frames = [torch.zeros_like(frame) for frame in chunks.frames] if turned else []
    d_weights = [h.new_zeros(chunks.num_parts, *table.shape) for table in chunks.weights]
    for chunk in chunks:
        x = chunk.into_frames(form.sender, chunk.neighbor, senders)
        d_y = chunk.into_frames(form.receiver, chunk.center, receivers)
        d_x: dict[int, Tensor] = {}
        for term, table, d_table in zip(form.terms, chunk.weights, d_weights):
            m, d_y_term = term.m, d_y[term.m][:, :, term.columns]
            d_x[m] = batched_product(d_y_term, chunk.mixed(table, x[m]).mT, d_x.get(m))
            d_w = chunk.outer(x[m], d_y_term)
            add_transposed_mm(d_table, chunk.h, d_w)
            add_mm(d_h[chunk.edges], d_w, table.t(), chunk.num_parts)
        by_order = [(tuple(form.sender.columns(m)), each) for m, each in d_x.items()]
        chunk.out_of_frames(form.sender, chunk.neighbor, by_order, d_senders)
        if turned:
            chunk.turn(form.receiver, chunk.center, receivers, chunk.messages(x), d_frames)
            chunk.turn(form.sender, chunk.neighbor, senders, by_order, d_frames)
    d_weights = [d[0] if chunks.num_parts == 1 else d.sum(0) for d in d_weights]
    no_frames = [None] * (0 if turned else len(chunks.frames))
    d_sender = torch.cat(d_senders, dim=1)
    return None, None, None, d_sender, d_h, *d_frames, *no_frames, *d_weights


class _Chunks:
    """Cut of the edges into parts whose largest intermediate result stays in cache."""

    def __init__(
        self,
        form: EdgeForm,
        slots: EdgeSlots,
        scratch: Scratch,
        h: Tensor,
        tables: Sequence[Tensor],
    ) -> None:
        self.form, self.slots, self.scratch, self.h = form, slots, scratch, h
        num_frames = len(tables) - len(form.terms)
        self.frames, self.weights = tables[:num_frames], tables[num_frames:]
        parts = parts_of(h.shape[0], h.device)
        self.num_parts = parts if h.shape[0] % parts == 0 else 1

    def zeros(self, side: Side) -> list[Tensor]:
        """Node values of every block, [n, (2 l + 1) mul]."""
        return [self.h.new_zeros(self.slots.num_nodes, dim * mul) for dim, mul in side.shapes]

    def __iter__(self) -> Any:
        num_edges = self.h.shape[0]
        size = max(1, chunk_numbers(self.h.device) // max(table.shape[1] for table in self.weights))
        size = -(-num_edges // max(1, -(-num_edges // size)))  # of equal size
        size = -(-size // self.num_parts) * self.num_parts
        for start in range(0, num_edges, max(size, 1)):
            yield _Chunk(self, start, min(start + size, num_edges))


class _Chunk:
    """Consecutive edges."""

    def __init__(self, whole: _Chunks, start: int, stop: int) -> None:
        self.form, self.weights, self.scratch = whole.form, whole.weights, whole.scratch
        self.num_parts, self.twins = whole.num_parts, whole.slots.twins
        self.edges, self.slots = slice(start, stop), slice(start * self.twins, stop * self.twins)
        self.h = whole.h[self.edges]
        self.center = whole.slots.center[self.slots]
        self.neighbor = whole.slots.neighbor[self.slots]
        self.frames = [frame[self.slots] for frame in whole.frames]

    def into_frames(self, side: Side, nodes: Tensor, values: list[Tensor]) -> list[Tensor]:
        """Turn node values into the edges' frames: [e, rows, (i u)] of every order."""
        turned = []
        for (dim, mul), f, block in zip(side.shapes, side.frames, values):
            near = block.index_select(0, nodes).view(-1, dim, mul)
            frame = self.frames[f][:, : 2 * self.form.max_order + 1]
            turned.append(batched_product(frame, near))
        found = []
        for m in range(self.form.max_order + 1):
            rows = slice(max(2 * m - 1, 0), 2 * m + 1)
            members = [turned[block][:, rows] for block in side.columns(m)]
            found.append(join(members, 2).reshape(self.h.shape[0], -1, side.width(m)))
        return found

    def messages(self, x: list[Tensor]) -> list[Part]:
        """Messages in the edges' frames, of every term."""
        return [
            (term.blocks, batched_product(x[term.m], self.mixed(table, x[term.m])))
            for term, table in zip(self.form.terms, self.weights)
        ]

    def mixed(self, table: Tensor, x: Tensor) -> Tensor:
        """W [e, (i u), (o w)] of a term."""
        w = self.scratch.mm("w", self.h, table, self.num_parts)
        return w.view(self.h.shape[0], x.shape[2], -1)

    def outer(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of x[a] y[b] over the rows, [e, (a b)]; overwrites W."""
        return self.scratch.bmm("w", x.transpose(1, 2), y).flatten(1)

    def out_of_frames(
        self, side: Side, nodes: Tensor, values: list[Part], out: list[Tensor]
    ) -> None:
        """Turn values back from the edges' frames and add them at the nodes."""
        for f, joined, total in zip(side.frames, self._by_block(side, values), out):
            back = self.frames[f][:, : joined.shape[1]].mT
            total.index_add_(0, nodes, batched_product(back, joined).flatten(1))

    def turn(
        self,
        side: Side,
        nodes: Tensor,
        outside: list[Tensor],
        inside: list[Part],
        d_frames: list[Tensor],
    ) -> None:
        """Add the derivative by D of sum inside D outside."""
        by_block = zip(side.shapes, side.frames, self._by_block(side, inside), outside)
        for (dim, mul), f, joined, block in by_block:
            near = block.index_select(0, nodes).view(-1, dim, mul)
            d_frames[f][self.slots, : joined.shape[1]] += batched_product(joined, near.mT)

    def _by_block(self, side: Side, values: list[Part]) -> list[Tensor]:
        """Each block's rows [s, rows, mul], those of all orders below one another."""
        rows: list[list[Tensor]] = [[] for _ in side.shapes]
        for blocks, value in values:
            by_slot = value.view(self.center.shape[0], -1, value.shape[2])
            widths = [side.shapes[block][1] for block in blocks]
            for block, part in zip(blocks, by_slot.split(widths, dim=2)):
                rows[block].append(part)
        return [join(parts, 1) for parts in rows]
