"""Messages as batched matrix products, sums over neighbours before the weights.

Everything here is a partial derivative of one multilinear form, a sum over slots (center i,
neighbour j) and over pairs (a, b) of a center's and a neighbour's block; q counts the edge
degrees that couple the two:

    F = sum_ij sum_q sum_kuw sum_ab  Gamma_ij[(a q), b] v_j[b, u] h_ij[k] B[q u k w] c_i[a, w]

Messages summed at the centers are dF/dc for given v ("down": a has the smaller degree and
receives); messages that centers send are dF/dv for given c ("up"). The backward pass of either
needs the other derivatives of the same F:

    T_ij[(a q), u] = sum_b Gamma_ij[(a q), b] v_j[b, u]
    A_i[a, (q u k)] = sum_j T_ij[(a q), u] h_ij[k]
    Z_i[a, (q u k)] = sum_w c_i[a, w] B[w, (q u k)]
    S_ij[(a q), u] = sum_k h_ij[k] Z_i[a, (q u k)]

    dF/dc = A B^T    dF/dB = c^T A    dF/dh = T Z    dF/dv = Gamma^T S    dF/dGamma = S v^T

T, A, Z and S exist for one chunk of centers at a time and are computed again in the backward
pass. Imports torch and this package only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from networks.convolution.neighborhoods import NodeSlots
from networks.convolution.products import (
    Scratch,
    Shapes,
    add_mm,
    add_transposed_mm,
    batched_product,
    chunk_numbers,
    parts_of,
    split_blocks,
)

Direction = Literal["down", "up"]


@dataclass(frozen=True)
class NodePair:
    """A center's and a neighbour's block with all edge degrees that couple the two.

    Attributes
    ----------
    center, neighbor : int
        Positions of the blocks.
    rows : slice
        Rows (a q) of the neighbour block's Gamma that belong to this pair.
    """

    center: int
    neighbor: int
    rows: slice


@dataclass(frozen=True)
class NodeForm:
    """Which blocks F couples, and their shapes.

    Attributes
    ----------
    pairs : tuple of NodePair
        In the order of their neighbour blocks; each has one B.
    center_shapes, neighbor_shapes : tuple of (int, int)
        (2 l + 1, multiplicity) of all blocks. Node values are [n, dim], each block m-major: its
        2 l + 1 components one after the other, each of all channels.
    """

    pairs: tuple[NodePair, ...]
    center_shapes: Shapes
    neighbor_shapes: Shapes

    @property
    def neighbors(self) -> list[int]:
        """Neighbour blocks that occur in pairs, ascending; each has one Gamma."""
        return sorted({pair.neighbor for pair in self.pairs})


def send_between_nodes(
    form: NodeForm,
    slots: NodeSlots,
    direction: Direction,
    values: Tensor,
    h: Tensor,
    gammas: Sequence[Tensor],
    weights: Sequence[Tensor],
    scratch: Scratch,
) -> Tensor:
    """Send messages along all slots and sum them at the receiving nodes.

    Parameters
    ----------
    form : NodeForm
        Pairs and shapes.
    slots : NodeSlots
        The graph.
    direction : {"down", "up"}
        To the centers, dF/dc, or from the centers, dF/dv.
    values : Tensor
        [n, dim] values of the nodes that send.
    h : Tensor
        Radial features, zero in padding: [s, k].
    gammas : sequence of Tensor
        [s, (a q) of all pairs, b] a neighbour block that occurs.
    weights : sequence of Tensor
        B [w, q u k] a pair.
    scratch : Scratch
        Memory to work in.

    Returns
    -------
    Tensor
        [n, dim] of the nodes that receive. Can be differentiated any number of times.
    """
    tables = (*gammas, *weights)
    out: Tensor = _SendBetweenNodes.apply(form, slots, direction, scratch, values, h, *tables)
    return out


class _SendBetweenNodes(torch.autograd.Function):
    """One derivative of F forward, the others backward.

    With create_graph, autograd records the backward pass like any other code, so that second
    derivatives are exact too (and take the memory of all intermediate results).
    """

    @staticmethod
    def forward(
        ctx: Any,
        form: NodeForm,
        slots: NodeSlots,
        direction: Direction,
        scratch: Scratch,
        values: Tensor,
        h: Tensor,
        *tables: Tensor,
    ) -> Tensor:
        ctx.form, ctx.slots, ctx.direction, ctx.scratch = form, slots, direction, scratch
        ctx.save_for_backward(values, h, *tables)
        if direction == "down":
            return _Derivatives(form, slots, values, None, h, tables, {"c"}, scratch).out["c"][0]
        return _Derivatives(form, slots, None, values, h, tables, {"v"}, scratch).out["v"][0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            return _backward(ctx, grad)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, h, *tables = ctx.saved_tensors
    sender, v, c = ("v", values, grad) if ctx.direction == "down" else ("c", grad, values)
    num_gammas = len(ctx.form.neighbors)
    needs = ctx.needs_input_grad[4:]
    needed = {
        sender: needs[0],
        "h": needs[1],
        "gammas": any(needs[2 : 2 + num_gammas]),
        "weights": any(needs[2 + num_gammas :]),
    }
    wanted = {name for name in needed if needed[name]}
    out = _Derivatives(ctx.form, ctx.slots, v, c, h, tables, wanted, ctx.scratch).out
    return (
        *(None, None, None, None),
        *out.get(sender, [None]),
        *out.get("h", [None]),
        *out.get("gammas", [None] * num_gammas),
        *out.get("weights", [None] * len(ctx.form.pairs)),
    )


class _Derivatives:
    """Those of dF/dv, dF/dc, dF/dh, dF/dGamma and dF/dB that are wanted, in `out`.

    v may be missing where T is not needed, c where neither Z, W nor S are.
    """

    def __init__(
        self,
        form: NodeForm,
        slots: NodeSlots,
        v: Tensor | None,
        c: Tensor | None,
        h: Tensor,
        tables: Sequence[Tensor],
        wanted: set[str],
        scratch: Scratch,
    ) -> None:
        self.form, self.h, self.scratch = form, h, scratch
        self.gammas = dict(zip(form.neighbors, tables))
        self.weights = tables[len(self.gammas) :]
        self.by_neighbor: dict[int, list[tuple[int, NodePair]]] = {b: [] for b in self.gammas}
        for p, pair in enumerate(form.pairs):
            self.by_neighbor[pair.neighbor].append((p, pair))
        self.by_center = {pair.center for pair in form.pairs}
        self.v = None if v is None else split_blocks(v, form.neighbor_shapes)
        self.c = None if c is None else split_blocks(c, form.center_shapes)
        self.out: dict[str, list[Tensor]] = {}
        for side, shapes in (("v", form.neighbor_shapes), ("c", form.center_shapes)):
            if side in wanted:
                self.out[side] = [h.new_zeros(slots.num_nodes, m * mul) for m, mul in shapes]
        for name, like in (("h", [h]), ("gammas", self.gammas.values())):
            if name in wanted:
                self.out[name] = [torch.zeros_like(tensor) for tensor in like]
        self.num_parts = parts_of(h.shape[0], h.device)
        if "weights" in wanted:  # one sum for every thread
            self.out["weights"] = [h.new_zeros(self.num_parts, *w.shape) for w in self.weights]
        self.out_gammas = dict(zip(self.gammas, self.out.get("gammas", [])))
        if h.shape[0] > 0:
            self._add(slots)
        for side in {"v", "c"} & wanted:
            self.out[side] = [torch.cat(self.out[side], dim=1)]
        if "weights" in wanted:
            self.out["weights"] = [each.sum(0) for each in self.out["weights"]]

    def _add(self, slots: NodeSlots) -> None:
        """Add to `out`, chunk by chunk."""
        form, out, num_k = self.form, self.out, self.h.shape[1]
        num_centers = slots.centers.shape[0]
        own = None if self.c is None else [c.index_select(0, slots.centers) for c in self.c]
        received = [self.h.new_zeros(num_centers * m, mul) for m, mul in form.center_shapes]
        most = chunk_numbers(self.h.device)
        for centers, inside, degree in _node_chunks(
            slots, self._numbers_of_center, self.num_parts, most
        ):
            n = centers.stop - centers.start
            parts = self.num_parts if n % self.num_parts == 0 else 1
            neighbor, h_ndk = slots.neighbor[inside], self.h[inside].view(n, degree, num_k)
            if "h" in out:
                dh_ndk = out["h"][0][inside].view(n, degree, num_k)
            for b, pairs in self.by_neighbor.items():
                u = form.neighbor_shapes[b][1]
                gamma_b, sent = self.gammas[b][inside], None
                if self.v is not None:
                    near = self.v[b].index_select(0, neighbor).view(-1, *form.neighbor_shapes[b])
                    t_b = self.scratch.bmm("t", gamma_b, near).view(n, degree, -1)
                for p, pair in pairs:
                    weight, (m, w) = self.weights[p], form.center_shapes[pair.center]
                    here = slice(centers.start * m, centers.stop * m)
                    gamma = gamma_b[:, pair.rows]
                    if self.v is not None:
                        t = t_b[:, :, pair.rows.start * u : pair.rows.stop * u]
                    if "c" in out or "weights" in out:
                        a = self.scratch.bmm("a", t.transpose(1, 2), h_ndk).view(n * m, -1)
                    if own is not None:
                        c = own[pair.center].view(-1, w)[here]
                        z = self.scratch.mm("z", c, weight, parts).view(n, -1, num_k)
                    if "v" in out or "gammas" in out:
                        s = self.scratch.bmm("s", h_ndk, z.transpose(1, 2)).view(n * degree, -1, u)
                    if "c" in out:
                        add_mm(received[pair.center][here], a, weight.t(), parts)
                    if "weights" in out:
                        add_transposed_mm(out["weights"][p][:parts], c, a)
                    if "h" in out:
                        dh_ndk.baddbmm_(t, z)
                    if "v" in out:
                        sent = batched_product(gamma.transpose(1, 2), s, sent)
                    if "gammas" in out:
                        self.out_gammas[b][inside, pair.rows] = batched_product(s, near.mT)
                if sent is not None:
                    out["v"][b].index_add_(0, neighbor, sent.flatten(1))
        if "c" in out:
            for total, values in zip(out["c"], received):
                total.index_copy_(0, slots.centers, values.view(num_centers, -1))

    def _numbers_of_center(self, degree: int) -> int:
        """Size of the larger of T of a neighbour block and A of a pair, for one center."""
        a = max(
            self.form.center_shapes[pair.center][0] * weight.shape[1]
            for pair, weight in zip(self.form.pairs, self.weights)
        )
        t = max(
            degree * gamma.shape[1] * self.form.neighbor_shapes[b][1]
            for b, gamma in self.gammas.items()
        )
        return max(a, t)


def _node_chunks(
    slots: NodeSlots, numbers: Callable[[int], int], num_parts: int, most: int
) -> list[tuple[slice, slice, int]]:
    """Centers, slots and degree of chunks with about `most` numbers, numbers(degree) a center."""
    chunks = []
    for block in slots.blocks:
        size = max(1, most // numbers(block.degree))
        pieces = -(-block.num_centers // size)
        size = -(-block.num_centers // pieces)  # of equal size
        size += -size % num_parts
        for start in range(0, block.num_centers, size):
            stop = min(start + size, block.num_centers)
            first, degree = block.first_slot, block.degree
            centers = slice(block.start + start, block.start + stop)
            inside = slice(first + start * degree, first + stop * degree)
            chunks.append((centers, inside, degree))
    return chunks
