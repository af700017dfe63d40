"""Messages along single edges, weights first, each edge seen in a frame of its own.

In the frame of an edge (`networks.edge_frames`) the tensor product is diagonal in the order m.
With x_s[m, (i u)] the rows +m and -m (one row for m = 0) of slot s's sending node, all blocks i
of degree >= m side by side, and y_s[m, o, w] those of block o of its message,

    W_e[m, o, (i u), w] = sum_k h_e[k] T[m, o, k, (i u), w]
    y_s[m, o, w] = sum_(i u) x_s[m, (i u)] W_e[m, o, (i u), w]

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

from networks.neighborhoods import EdgeSlots
from networks.products import (
    CHUNK_NUMBERS,
    Scratch,
    add_mm,
    add_transposed_mm,
    batched_product,
    parts_of,
    split_blocks,
)

Values = Sequence[Sequence[Tensor]]
"""By order m and member: a block's rows +m and -m in the frames of the edges."""


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

    def members(self, m: int) -> list[int]:
        """Blocks that have components of order m."""
        return [b for b, (dim, _) in enumerate(self.shapes) if dim > 2 * m]

    def channels(self, m: int) -> list[int]:
        """Multiplicity of each of them."""
        return [self.shapes[b][1] for b in self.members(m)]


@dataclass(frozen=True)
class EdgeForm:
    """What is coupled.

    Attributes
    ----------
    sender, receiver : Side
        Blocks of both ends.
    max_order : int
        Largest m that both ends have.
    """

    sender: Side
    receiver: Side
    max_order: int

    def terms(self) -> list[tuple[int, int]]:
        """(m, o) of every T: the order and the position among the receiver's members."""
        orders = range(self.max_order + 1)
        return [(m, o) for m in orders for o in range(len(self.receiver.members(m)))]


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
        T [k, (i u w)] of every term (m, o).
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
            x = chunk.join(chunk.into_frames(form.sender, chunk.neighbor, senders))
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
    num_frames = len(tables) - len(form.terms())
    turned = any(ctx.needs_input_grad[5 : 5 + num_frames])
    d_h = torch.zeros_like(h)
    d_frames = [torch.zeros_like(frame) for frame in chunks.frames]
    d_weights = [h.new_zeros(chunks.num_parts, *table.shape) for table in chunks.weights]
    for chunk in chunks:
        x = chunk.join(chunk.into_frames(form.sender, chunk.neighbor, senders))
        d_y = chunk.into_frames(form.receiver, chunk.center, receivers)
        d_joined: dict[int, Tensor] = {}
        for (m, o), table, d_table in zip(form.terms(), chunk.weights, d_weights):
            w = chunk.mixed(table, x[m])
            d_joined[m] = batched_product(d_y[m][o], w.mT, d_joined.get(m))
            d_w = chunk.outer(x[m], d_y[m][o])
            add_transposed_mm(d_table, chunk.h, d_w)
            add_mm(d_h[chunk.edges], d_w, table.t(), chunk.num_parts)
        d_x = [d.split(form.sender.channels(m), dim=2) for m, d in d_joined.items()]
        chunk.out_of_frames(form.sender, chunk.neighbor, d_x, d_senders)
        if turned:
            chunk.turn(form.receiver, chunk.center, receivers, chunk.messages(x), d_frames)
            chunk.turn(form.sender, chunk.neighbor, senders, d_x, d_frames)
    d_weights = [d_table.sum(0) for d_table in d_weights]
    return None, None, None, torch.cat(d_senders, dim=1), d_h, *d_frames, *d_weights


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
        num_frames = len(tables) - len(form.terms())
        self.frames, self.weights = tables[:num_frames], tables[num_frames:]
        parts = parts_of(h.shape[0], h.device)
        self.num_parts = parts if h.shape[0] % parts == 0 else 1

    def zeros(self, side: Side) -> list[Tensor]:
        """Node values of every block, [n, (2 l + 1) mul]."""
        return [self.h.new_zeros(self.slots.num_nodes, dim * mul) for dim, mul in side.shapes]

    def __iter__(self) -> Any:
        num_edges = self.h.shape[0]
        size = max(1, CHUNK_NUMBERS // max(table.shape[1] for table in self.weights))
        size = -(-num_edges // max(1, -(-num_edges // size)))  # of equal size
        size = -(-size // self.num_parts) * self.num_parts
        for start in range(0, num_edges, max(size, 1)):
            yield _Chunk(self, start, min(start + size, num_edges))


class _Chunk:
    """Consecutive edges."""

    def __init__(self, whole: _Chunks, start: int, stop: int) -> None:
        self.form, self.weights, self.scratch = whole.form, whole.weights, whole.scratch
        self.num_parts = whole.num_parts
        twins = whole.slots.twins
        self.edges, self.slots = slice(start, stop), slice(start * twins, stop * twins)
        self.h = whole.h[self.edges]
        self.center = whole.slots.center[self.slots]
        self.neighbor = whole.slots.neighbor[self.slots]
        self.frames = [frame[self.slots] for frame in whole.frames]

    def into_frames(self, side: Side, nodes: Tensor, values: list[Tensor]) -> list[list[Tensor]]:
        """Turn node values into the edges' frames: [e, rows, mul] of every order and member."""
        found: list[list[Tensor]] = [[] for _ in range(self.form.max_order + 1)]
        for (dim, mul), f, block in zip(side.shapes, side.frames, values):
            rows = min(dim, 2 * self.form.max_order + 1)
            near = block.index_select(0, nodes).view(-1, dim, mul)
            turned = batched_product(self.frames[f][:, :rows], near)
            for m, part in enumerate(turned.split([1] + [2] * (rows // 2), dim=1)):
                found[m].append(part.reshape(self.h.shape[0], -1, mul))
        return found

    def join(self, values: list[list[Tensor]]) -> list[Tensor]:
        """Members side by side."""
        return [torch.cat(parts, dim=2) for parts in values]

    def messages(self, x: list[Tensor]) -> list[list[Tensor]]:
        """Messages in the edges' frames, [e, rows, mul] of every order and member."""
        found: list[list[Tensor]] = [[] for _ in x]
        for (m, _), table in zip(self.form.terms(), self.weights):
            found[m].append(batched_product(x[m], self.mixed(table, x[m])))
        return found

    def mixed(self, table: Tensor, x: Tensor) -> Tensor:
        """W [e, (i u), w]."""
        w = self.scratch.mm("w", self.h, table, self.num_parts)
        return w.view(self.h.shape[0], x.shape[2], -1)

    def outer(self, x: Tensor, y: Tensor) -> Tensor:
        """Sum of x[a] y[b] over the rows, [e, (a b)]; overwrites W."""
        return self.scratch.bmm("w", x.transpose(1, 2), y).flatten(1)

    def out_of_frames(self, side: Side, nodes: Tensor, values: Values, out: list[Tensor]) -> None:
        """Turn values back from the edges' frames and add them at the nodes."""
        for b, joined in self._by_block(side, values):
            back = self.frames[side.frames[b]][:, : joined.shape[1]].mT
            out[b].index_add_(0, nodes, batched_product(back, joined).flatten(1))

    def turn(
        self,
        side: Side,
        nodes: Tensor,
        outside: list[Tensor],
        inside: Values,
        d_frames: list[Tensor],
    ) -> None:
        """Add the derivative by D of sum inside D outside."""
        for b, joined in self._by_block(side, inside):
            dim, mul = side.shapes[b]
            near = outside[b].index_select(0, nodes).view(-1, dim, mul)
            d_frame = d_frames[side.frames[b]]
            d_frame[self.slots, : joined.shape[1]] += batched_product(joined, near.mT)

    def _by_block(self, side: Side, values: Values) -> list[tuple[int, Tensor]]:
        """Each block's rows [s, rows, mul] from those of every order."""
        rows: dict[int, list[Tensor]] = {}
        for m, parts in enumerate(values):
            for b, part in zip(side.members(m), parts):
                row = part.reshape(self.center.shape[0], -1, part.shape[2])
                rows.setdefault(b, []).append(row)
        return [(b, torch.cat(parts, dim=1)) for b, parts in rows.items()]
