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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from networks.neighborhoods import EdgeSlots, NodeSlots

Direction = Literal["down", "up"]
Shapes = tuple[tuple[int, int], ...]
CHUNK_NUMBERS = 1 << 20
"""Numbers in the largest intermediate result of a chunk (4 MB in float32: in cache)."""


@dataclass(frozen=True)
class Form:
    """Which blocks F couples, and their shapes.

    Attributes
    ----------
    pairs : tuple of (int, int)
        Center block and neighbour block of each pair; each pair has one Gamma and one B.
    center_shapes, neighbor_shapes : tuple of (int, int)
        (2 l + 1, multiplicity) of all blocks. Node values are [n, dim], each block m-major: its
        2 l + 1 components one after the other, each of all channels.
    """

    pairs: tuple[tuple[int, int], ...]
    center_shapes: Shapes
    neighbor_shapes: Shapes


def send_messages(
    form: Form,
    slots: NodeSlots | EdgeSlots,
    direction: Direction,
    values: Tensor,
    h: Tensor,
    gammas: Sequence[Tensor],
    weights: Sequence[Tensor],
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
        [s, a q, b] a pair.
    weights : sequence of Tensor
        B a pair: [w, q u k] for `NodeSlots`, [k, q u w] for `EdgeSlots`.

    Returns
    -------
    Tensor
        [n, dim] of the nodes that receive. Can be differentiated any number of times.
    """
    out: Tensor = _SendMessages.apply(form, slots, direction, values, h, *gammas, *weights)
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
        values: Tensor,
        h: Tensor,
        *tables: Tensor,
    ) -> Tensor:
        ctx.form, ctx.slots, ctx.direction = form, slots, direction
        ctx.save_for_backward(values, h, *tables)
        if direction == "down":
            return _derivatives(form, slots, values, None, h, tables, {"c"})["c"][0]
        return _derivatives(form, slots, None, values, h, tables, {"v"})["v"][0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, h, *tables = ctx.saved_tensors
        sender, v, c = ("v", values, grad) if ctx.direction == "down" else ("c", grad, values)
        pairs = len(ctx.form.pairs)
        needs = ctx.needs_input_grad[3:]
        needed = {
            sender: needs[0],
            "h": needs[1],
            "gammas": any(needs[2 : 2 + pairs]),
            "weights": any(needs[2 + pairs :]),
        }
        wanted = {name for name in needed if needed[name]}
        grads = _derivatives(ctx.form, ctx.slots, v, c, h, tables, wanted)
        none = [None] * pairs
        return (
            *(None, None, None),
            *grads.get(sender, [None]),
            *grads.get("h", [None]),
            *grads.get("gammas", none),
            *grads.get("weights", none),
        )


def _derivatives(
    form: Form,
    slots: NodeSlots | EdgeSlots,
    v: Tensor | None,
    c: Tensor | None,
    h: Tensor,
    tables: Sequence[Tensor],
    wanted: set[str],
) -> dict[str, list[Tensor]]:
    """Compute the wanted ones of dF/dv, dF/dc, dF/dh, dF/dGamma and dF/dB.

    v may be missing where T is not needed, c where neither Z, W nor S are.
    """
    gammas, weights = tables[: len(form.pairs)], tables[len(form.pairs) :]
    num_nodes = slots.num_nodes
    out: dict[str, list[Tensor]] = {}
    if "v" in wanted:
        out["v"] = [h.new_zeros(num_nodes, m * mul) for m, mul in form.neighbor_shapes]
    if "c" in wanted:
        out["c"] = [h.new_zeros(num_nodes, m * mul) for m, mul in form.center_shapes]
    if "h" in wanted:
        out["h"] = [torch.zeros_like(h)]
    if "gammas" in wanted:
        out["gammas"] = [torch.empty_like(gamma) for gamma in gammas]
    if "weights" in wanted:
        out["weights"] = [torch.zeros_like(weight) for weight in weights]
    v_blocks = None if v is None else _split(v, form.neighbor_shapes)
    c_blocks = None if c is None else _split(c, form.center_shapes)
    if h.shape[0] == 0:
        pass  # no edges, no messages
    elif isinstance(slots, NodeSlots):
        _at_nodes(form, slots, v_blocks, c_blocks, h, gammas, weights, out)
    else:
        _at_edges(form, slots, v_blocks, c_blocks, h, gammas, weights, out)
    for side in {"v", "c"} & wanted:
        out[side] = [torch.cat(out[side], dim=1)]
    return out


def _at_nodes(
    form: Form,
    slots: NodeSlots,
    v: list[Tensor] | None,
    c: list[Tensor] | None,
    h: Tensor,
    gammas: Sequence[Tensor],
    weights: Sequence[Tensor],
    out: dict[str, list[Tensor]],
) -> None:
    """Add to `out` in the order "nodes"."""
    num_k = h.shape[1]
    rows = [form.center_shapes[i_c][0] for i_c, _ in form.pairs]
    chunks = _node_chunks(slots, max(m * b.shape[1] for m, b in zip(rows, weights)))
    if c is not None:
        c = [block.index_select(0, slots.centers) for block in c]
    received: dict[int, Tensor] = {}
    if "c" in out:
        for i_c, _ in form.pairs:
            m, mul = form.center_shapes[i_c]
            received[i_c] = h.new_zeros(slots.centers.shape[0] * m, mul)
    for centers, in_slots, degree in chunks:
        n = centers.stop - centers.start
        neighbor = slots.neighbor[in_slots]
        h_ndk = h[in_slots].view(n, degree, num_k)
        near = {}
        if v is not None:
            near = {
                b: v[b].index_select(0, neighbor).unflatten(1, form.neighbor_shapes[b])
                for b in {i_v for _, i_v in form.pairs}
            }
        sent: dict[int, Tensor] = {}
        for p, (i_c, i_v) in enumerate(form.pairs):
            gamma, weight, m = gammas[p][in_slots], weights[p], rows[p]
            own = slice(centers.start * m, centers.stop * m)
            if v is not None:
                t = _couple(gamma, near[i_v]).view(n, degree, -1)
            if "c" in out or "weights" in out:
                a = torch.bmm(t.transpose(1, 2), h_ndk).view(n * m, -1)
            if c is not None:
                c_p = c[i_c].view(-1, weight.shape[0])[own]
                z = (c_p @ weight).view(n, -1, num_k)
            if "v" in out or "gammas" in out:
                s = torch.bmm(h_ndk, z.transpose(1, 2)).view(n * degree, gamma.shape[1], -1)
            if "c" in out:
                received[i_c][own].addmm_(a, weight.t())
            if "weights" in out:
                out["weights"][p].addmm_(c_p.t(), a)
            if "h" in out:
                out["h"][0][in_slots].view(n, degree, num_k).baddbmm_(t, z)
            if "v" in out:
                sent[i_v] = _uncouple(gamma, s, sent.get(i_v))
            if "gammas" in out:
                out["gammas"][p][in_slots] = torch.bmm(s, near[i_v].transpose(1, 2))
        for i_v, message in sent.items():
            out["v"][i_v].index_add_(0, neighbor, message.flatten(1))
    for i_c, message in received.items():
        out["c"][i_c].index_copy_(0, slots.centers, message.view(slots.centers.shape[0], -1))


def _at_edges(
    form: Form,
    slots: EdgeSlots,
    v: list[Tensor] | None,
    c: list[Tensor] | None,
    h: Tensor,
    gammas: Sequence[Tensor],
    weights: Sequence[Tensor],
    out: dict[str, list[Tensor]],
) -> None:
    """Add to `out` in the order "edges"; g counts edges with their reverse."""
    size = max(1, CHUNK_NUMBERS // max(weight.shape[1] for weight in weights))
    for start in range(0, h.shape[0], size):
        h_gk = h[start : start + size]
        g, twins = h_gk.shape[0], slots.twins
        in_slots = slice(start * twins, (start + g) * twins)
        center, neighbor = slots.center[in_slots], slots.neighbor[in_slots]
        near, own = {}, {}
        if v is not None:
            near = {
                b: v[b].index_select(0, neighbor).unflatten(1, form.neighbor_shapes[b])
                for b in {i_v for _, i_v in form.pairs}
            }
        if c is not None:
            own = {
                a: c[a].index_select(0, center).view(g, -1, form.center_shapes[a][1])
                for a in {i_c for i_c, _ in form.pairs}
            }
        sent: dict[int, Tensor] = {}
        received: dict[int, Tensor] = {}
        for p, (i_c, i_v) in enumerate(form.pairs):
            gamma, weight = gammas[p][in_slots], weights[p]
            m, w = form.center_shapes[i_c]
            if v is not None:
                t = _couple(gamma, near[i_v]).view(g, twins * m, -1)
            if "v" in out or "c" in out or "gammas" in out:
                w_edge = (h_gk @ weight).view(g, -1, w)
            if "v" in out or "gammas" in out:
                s = torch.bmm(own[i_c], w_edge.transpose(1, 2)).view(g * twins, gamma.shape[1], -1)
            if "h" in out or "weights" in out:
                dw = torch.bmm(t.transpose(1, 2), own[i_c]).view(g, -1)
            if "c" in out:
                received[i_c] = (
                    torch.bmm(t, w_edge)
                    if i_c not in received
                    else received[i_c].baddbmm_(t, w_edge)
                )
            if "weights" in out:
                out["weights"][p].addmm_(h_gk.t(), dw)
            if "h" in out:
                out["h"][0][start : start + g].addmm_(dw, weight.t())
            if "v" in out:
                sent[i_v] = _uncouple(gamma, s, sent.get(i_v))
            if "gammas" in out:
                out["gammas"][p][in_slots] = torch.bmm(s, near[i_v].transpose(1, 2))
        for i_v, message in sent.items():
            out["v"][i_v].index_add_(0, neighbor, message.flatten(1))
        for i_c, message in received.items():
            out["c"][i_c].index_add_(0, center, message.view(g * twins, -1))


def _couple(gamma: Tensor, v: Tensor) -> Tensor:
    """T [s, (a q), u] = sum_b Gamma [s, (a q), b] v [s, b, u]."""
    if gamma.shape[1] == 1:  # torch.bmm is slow with a single row
        return (gamma.transpose(1, 2) * v).sum(1) if v.shape[1] > 1 else gamma * v
    return torch.bmm(gamma, v)


def _uncouple(gamma: Tensor, s: Tensor, total: Tensor | None) -> Tensor:
    """Add sum_(a q) Gamma [s, (a q), b] S [s, (a q), u] to total [s, b, u]."""
    if gamma.shape[1] == 1:
        return (
            gamma.transpose(1, 2) * s if total is None else total.addcmul_(gamma.transpose(1, 2), s)
        )
    return (
        torch.bmm(gamma.transpose(1, 2), s)
        if total is None
        else total.baddbmm_(gamma.transpose(1, 2), s)
    )


def _node_chunks(slots: NodeSlots, numbers: int) -> list[tuple[slice, slice, int]]:
    """Centers and slots of chunks in which `numbers` a center stay below CHUNK_NUMBERS."""
    size = max(1, CHUNK_NUMBERS // numbers)
    chunks = []
    for block in slots.blocks:
        for start in range(0, block.num_centers, size):
            stop = min(start + size, block.num_centers)
            first, degree = block.first_slot, block.degree
            chunks.append(
                (
                    slice(block.start + start, block.start + stop),
                    slice(first + start * degree, first + stop * degree),
                    degree,
                )
            )
    return chunks


def _split(values: Tensor, shapes: Shapes) -> list[Tensor]:
    """Blocks [n, (2 l + 1) mul] of [n, dim], each contiguous."""
    return [block.contiguous() for block in values.split([m * mul for m, mul in shapes], dim=1)]
