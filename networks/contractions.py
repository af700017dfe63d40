"""Sums over neighbours as batched matrix products, with their derivatives written out.

Everything here is a partial derivative of one multilinear form, a sum over slots (center i,
neighbour j) and over pairs (a, b) of a center's and a neighbour's block; q counts the edge
degrees that couple the two:

    F = sum_ij sum_q sum_kuw sum_ab  Gamma_ij[(a q), b] v_j[b, u] h_ij[k] B[q u k w] c_i[a, w]

Messages summed at the centers are dF/dc for given v ("down": a has the smaller degree and
receives); messages that centers send are dF/dv for given c ("up"). The backward pass of either
needs the other derivatives of the same F. In both orders of contraction

    T_ij[(a q), u] = sum_b Gamma_ij[(a q), b] v_j[b, u]

In the order "nodes" the sums over neighbours come before the weights:

    A_i[a, (q u k)] = sum_j T_ij[(a q), u] h_ij[k]
    Z_i[a, (q u k)] = sum_w c_i[a, w] B[w, (q u k)]
    dF/dc = A B^T      dF/dB = c^T A      dF/dh = T Z
    S_ij[(a q), u] = sum_k h_ij[k] Z_i[a, (q u k)]

in the order "edges" the weights come first, of an edge and its reverse at once:

    W_ij[(q u), w] = sum_k h_ij[k] B[k, (q u w)]
    dW_ij[(q u), w] = sum_a T_ij[a, (q u)] c_i[a, w]
    dF/dc = T W        dF/dB = h^T dW     dF/dh = dW B^T
    S_ij[a, (q u)] = sum_w c_i[a, w] W_ij[(q u), w]

and in both dF/dv = Gamma^T S, dF/dGamma = S v^T. T, A, Z, W and S exist for one chunk of centers
or edges at a time and are computed again in the backward pass. Imports torch and this package
only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from networks.neighborhoods import EdgeSlots, NodeSlots

Direction = Literal["down", "up"]
Shapes = tuple[tuple[int, int], ...]
CHUNK_NUMBERS = 1 << 20
"""Numbers in the largest intermediate result of a chunk (4 MB in float32: in cache)."""


@dataclass(frozen=True)
class Pair:
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
class Form:
    """Which blocks F couples, and their shapes.

    Attributes
    ----------
    pairs : tuple of Pair
        In the order of their neighbour blocks; each has one B.
    center_shapes, neighbor_shapes : tuple of (int, int)
        (2 l + 1, multiplicity) of all blocks. Node values are [n, dim], each block m-major: its
        2 l + 1 components one after the other, each of all channels.
    """

    pairs: tuple[Pair, ...]
    center_shapes: Shapes
    neighbor_shapes: Shapes

    @property
    def neighbors(self) -> list[int]:
        """Neighbour blocks that occur in pairs, ascending; each has one Gamma."""
        return sorted({pair.neighbor for pair in self.pairs})


@dataclass
class Scratch:
    """Memory for the intermediate results of one chunk, used again by the next one.

    Fresh memory costs a page fault every 4 kB, which is as slow as filling it.

    Attributes
    ----------
    memory : dict
        Flat tensors by name; replaced by larger ones when needed.
    views : dict
        Those of all shapes asked for so far.
    """

    memory: dict[str, Tensor] = field(default_factory=dict)
    views: dict[tuple[str, tuple[int, ...]], Tensor] = field(default_factory=dict)

    def empty(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Memory to be overwritten.

        Parameters
        ----------
        name : str
            What it is for; asking again for the same name overwrites it.
        like : Tensor
            Gives dtype and device.
        *shape : int
            Shape.

        Returns
        -------
        Tensor
        """
        found = self.views.get((name, shape))
        if found is None:
            numel = math.prod(shape)
            flat = self.memory.get(name)
            if flat is None or flat.numel() < numel:
                with torch.inference_mode(False):
                    flat = torch.empty(numel, dtype=like.dtype, device=like.device)
                self.memory[name] = flat
            found = self.views[name, shape] = flat[:numel].view(shape)
        return found


def send_messages(
    form: Form,
    slots: NodeSlots | EdgeSlots,
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
    form : Form
        Pairs and shapes.
    slots : NodeSlots or EdgeSlots
        The graph; decides the order of contraction.
    direction : {"down", "up"}
        To the centers, dF/dc, or from the centers, dF/dv.
    values : Tensor
        [n, dim] values of the nodes that send.
    h : Tensor
        Radial features, zero in padding: [s, k], or [s / 2, k] for twins.
    gammas : sequence of Tensor
        [s, (a q) of all pairs, b] a neighbour block that occurs.
    weights : sequence of Tensor
        B a pair: [w, q u k] for `NodeSlots`, [k, q u w] for `EdgeSlots`.
    scratch : Scratch
        Memory to work in.

    Returns
    -------
    Tensor
        [n, dim] of the nodes that receive. Can be differentiated any number of times.
    """
    tables = (*gammas, *weights)
    out: Tensor = _SendMessages.apply(form, slots, direction, scratch, values, h, *tables)
    return out


class _SendMessages(torch.autograd.Function):
    """One derivative of F forward, the others backward.

    With create_graph, autograd records the backward pass like any other code, so that second
    derivatives are exact too (and take the memory of all intermediate results).
    """

    @staticmethod
    def forward(
        ctx: Any,
        form: Form,
        slots: NodeSlots | EdgeSlots,
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
        form: Form,
        slots: NodeSlots | EdgeSlots,
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
        self.by_neighbor: dict[int, list[tuple[int, Pair]]] = {b: [] for b in self.gammas}
        for p, pair in enumerate(form.pairs):
            self.by_neighbor[pair.neighbor].append((p, pair))
        self.by_center = {pair.center for pair in form.pairs}
        self.v = None if v is None else _split(v, form.neighbor_shapes)
        self.c = None if c is None else _split(c, form.center_shapes)
        self.out: dict[str, list[Tensor]] = {}
        for side, shapes in (("v", form.neighbor_shapes), ("c", form.center_shapes)):
            if side in wanted:
                self.out[side] = [h.new_zeros(slots.num_nodes, m * mul) for m, mul in shapes]
        for name, like in (("h", [h]), ("gammas", self.gammas.values()), ("weights", self.weights)):
            if name in wanted:
                self.out[name] = [torch.zeros_like(tensor) for tensor in like]
        self.out_gammas = dict(zip(self.gammas, self.out.get("gammas", [])))
        if h.shape[0] > 0:
            self._at_nodes(slots) if isinstance(slots, NodeSlots) else self._at_edges(slots)
        for side in {"v", "c"} & wanted:
            self.out[side] = [torch.cat(self.out[side], dim=1)]

    def _at_nodes(self, slots: NodeSlots) -> None:
        """Add to `out` in the order "nodes"."""
        form, out, num_k = self.form, self.out, self.h.shape[1]
        num_centers = slots.centers.shape[0]
        own = None if self.c is None else [c.index_select(0, slots.centers) for c in self.c]
        received = [self.h.new_zeros(num_centers * m, mul) for m, mul in form.center_shapes]
        for centers, inside, degree in _node_chunks(slots, self._numbers_of_center):
            n = centers.stop - centers.start
            neighbor, h_ndk = slots.neighbor[inside], self.h[inside].view(n, degree, num_k)
            if "h" in out:
                dh_ndk = out["h"][0][inside].view(n, degree, num_k)
            for b, pairs in self.by_neighbor.items():
                u = form.neighbor_shapes[b][1]
                gamma_b, sent = self.gammas[b][inside], None
                if self.v is not None:
                    near = self.v[b].index_select(0, neighbor).view(-1, *form.neighbor_shapes[b])
                    t_b = self._couple("t", gamma_b, near).view(n, degree, -1)
                for p, pair in pairs:
                    weight, (m, w) = self.weights[p], form.center_shapes[pair.center]
                    here = slice(centers.start * m, centers.stop * m)
                    gamma = gamma_b[:, pair.rows]
                    if self.v is not None:
                        t = t_b[:, :, pair.rows.start * u : pair.rows.stop * u]
                    if "c" in out or "weights" in out:
                        a = self._bmm("a", t.transpose(1, 2), h_ndk).view(n * m, -1)
                    if own is not None:
                        c = own[pair.center].view(-1, w)[here]
                        z = self._mm("z", c, weight).view(n, -1, num_k)
                    if "v" in out or "gammas" in out:
                        s = self._bmm("s", h_ndk, z.transpose(1, 2)).view(n * degree, -1, u)
                    if "c" in out:
                        received[pair.center][here].addmm_(a, weight.t())
                    if "weights" in out:
                        out["weights"][p].addmm_(c.t(), a)
                    if "h" in out:
                        dh_ndk.baddbmm_(t, z)
                    if "v" in out:
                        sent = _add_product(sent, gamma.transpose(1, 2), s)
                    if "gammas" in out:
                        self.out_gammas[b][inside, pair.rows] = s @ near.mT
                if sent is not None:
                    out["v"][b].index_add_(0, neighbor, sent.flatten(1))
        if "c" in out:
            for total, values in zip(out["c"], received):
                total.index_copy_(0, slots.centers, values.view(num_centers, -1))

    def _at_edges(self, slots: EdgeSlots) -> None:
        """Add to `out` in the order "edges"; g counts edges together with their reverse."""
        form, out, twins = self.form, self.out, slots.twins
        size = max(1, CHUNK_NUMBERS // max(weight.shape[1] for weight in self.weights))
        for start in range(0, self.h.shape[0], size):
            h_gk = self.h[start : start + size]
            g = h_gk.shape[0]
            inside = slice(start * twins, (start + g) * twins)
            center, neighbor = slots.center[inside], slots.neighbor[inside]
            own, received = dict[int, Tensor](), dict[int, Tensor]()
            if self.c is not None:
                own = {i: self.c[i].index_select(0, center) for i in self.by_center}
            for b, pairs in self.by_neighbor.items():
                u = form.neighbor_shapes[b][1]
                gamma_b, sent = self.gammas[b][inside], None
                if self.v is not None:
                    near = self.v[b].index_select(0, neighbor).view(-1, *form.neighbor_shapes[b])
                for p, pair in pairs:
                    weight, (m, w) = self.weights[p], form.center_shapes[pair.center]
                    gamma = gamma_b[:, pair.rows]
                    if self.v is not None:
                        t = self._couple("t", gamma, near).view(g, twins * m, -1)
                    if own:
                        c = own[pair.center].view(g, twins * m, w)
                    if "c" in out or "v" in out or "gammas" in out:
                        w_edge = self._mm("w", h_gk, weight).view(g, -1, w)
                    if "v" in out or "gammas" in out:
                        s = self._bmm("s", c, w_edge.transpose(1, 2)).view(g * twins, -1, u)
                    if "c" in out:
                        received[pair.center] = _add_product(received.get(pair.center), t, w_edge)
                    if "h" in out or "weights" in out:
                        dw = self._bmm("w", t.transpose(1, 2), c).view(g, -1)
                    if "weights" in out:
                        out["weights"][p].addmm_(h_gk.t(), dw)
                    if "h" in out:
                        out["h"][0][start : start + g].addmm_(dw, weight.t())
                    if "v" in out:
                        sent = _add_product(sent, gamma.transpose(1, 2), s)
                    if "gammas" in out:
                        self.out_gammas[b][inside, pair.rows] = s @ near.mT
                if sent is not None:
                    out["v"][b].index_add_(0, neighbor, sent.flatten(1))
            for i, values in received.items():
                out["c"][i].index_add_(0, center, values.view(g * twins, -1))

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

    def _couple(self, name: str, gamma: Tensor, v: Tensor) -> Tensor:
        """T [s, (a q), u] = sum_b Gamma [s, (a q), b] v [s, b, u]."""
        if gamma.shape[1] > 1:
            return self._bmm(name, gamma, v)
        # torch.bmm is slow with a single row.
        return gamma * v if v.shape[1] == 1 else (gamma.transpose(1, 2) * v).sum(1)

    def _bmm(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        if torch.is_grad_enabled():  # autograd keeps every result
            return torch.bmm(a, b)
        return torch.bmm(a, b, out=self.scratch.empty(name, a, a.shape[0], a.shape[1], b.shape[2]))

    def _mm(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return torch.mm(a, b)
        return torch.mm(a, b, out=self.scratch.empty(name, a, a.shape[0], b.shape[1]))


def _add_product(total: Tensor | None, a: Tensor, b: Tensor) -> Tensor:
    """Add the batched product a b to `total`, if there is one yet."""
    if a.shape[2] == 1:  # torch.bmm is slow with a single row
        return a * b if total is None else total.addcmul_(a, b)
    return torch.bmm(a, b) if total is None else total.baddbmm_(a, b)


def _node_chunks(slots: NodeSlots, numbers: Callable[[int], int]) -> list[tuple[slice, slice, int]]:
    """Centers, slots and degree of chunks with about CHUNK_NUMBERS numbers(degree) a center."""
    chunks = []
    for block in slots.blocks:
        size = max(1, CHUNK_NUMBERS // numbers(block.degree))
        pieces = -(-block.num_centers // size)
        size = -(-block.num_centers // pieces)  # of equal size
        for start in range(0, block.num_centers, size):
            stop = min(start + size, block.num_centers)
            first, degree = block.first_slot, block.degree
            centers = slice(block.start + start, block.start + stop)
            inside = slice(first + start * degree, first + stop * degree)
            chunks.append((centers, inside, degree))
    return chunks


def _split(values: Tensor, shapes: Shapes) -> list[Tensor]:
    """Blocks [n, (2 l + 1) mul] of [n, dim], each contiguous."""
    return [block.contiguous() for block in values.split([m * mul for m, mul in shapes], dim=1)]
