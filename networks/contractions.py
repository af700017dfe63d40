"""Sums over neighbours as batched matrix products, with their derivatives written out.

Everything here is a partial derivative of one multilinear form, a sum over slots (center i,
neighbour j) and over pairs (a, b) of a center's and a neighbour's block, q counting the edge
degrees that couple the two:

    F = sum_ij sum_q sum_kuw sum_ab  Gamma_ij[(a q), b] v_j[b, u] h_ij[k] B[(q u k), w] c_i[a, w]

With

    T_ij[(a q), u]  = sum_b Gamma_ij[(a q), b] v_j[b, u]        a slot
    A_i[a, (q u k)] = sum_j T_ij[(a q), u] h_ij[k]              a center
    Z_i[a, (q u k)] = sum_w c_i[a, w] B[(q u k), w]             a center
    S_ij[(a q), u]  = sum_k h_ij[k] Z_i[a, (q u k)]             a slot

the derivatives are

    dF/dc = A B    dF/dv = Gamma^T S    dF/dB = A^T c    dF/dh = T Z    dF/dGamma = S v^T

"Aggregate first" sends messages to centers, dF/dc; "transform first" from centers, dF/dv. The
backward pass of either needs the other four. T, A, Z and S live for one block of centers and are
recomputed in the backward pass. Imports torch and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from networks.neighborhoods import Neighborhoods

Side = Literal["center", "neighbor"]


@dataclass(frozen=True)
class Form:
    """Which blocks F couples, and their shapes.

    Attributes
    ----------
    pairs : tuple of (int, int)
        Center block and neighbour block of each pair; each pair has one Gamma and one B.
    center_shapes, neighbor_shapes : tuple of (int, int)
        (2 l + 1, multiplicity) of all blocks. Node values are [n, sum of products], each block
        m-major: its 2 l + 1 components one after the other, each of all channels.
    """

    pairs: tuple[tuple[int, int], ...]
    center_shapes: tuple[tuple[int, int], ...]
    neighbor_shapes: tuple[tuple[int, int], ...]


def send_messages(
    form: Form,
    around: Neighborhoods,
    to: Side,
    values: Tensor,
    h: Tensor,
    gammas: Sequence[Tensor],
    weights: Sequence[Tensor],
) -> Tensor:
    """Messages summed at the centers (aggregate first) or at the neighbours (transform first).

    Parameters
    ----------
    form : Form
        Pairs and shapes.
    around : Neighborhoods
        Slots.
    to : {"center", "neighbor"}
        The side that receives; dF/dc or dF/dv.
    values : Tensor
        [n, dim] values of the side that sends, v or c.
    h : Tensor
        [s, k] radial features, zero in padded slots.
    gammas : sequence of Tensor
        [s, (a q), b] a pair.
    weights : sequence of Tensor
        B [(q u k), w] a pair.

    Returns
    -------
    Tensor
        [n, dim] of the receiving side.
    """
    out: Tensor = _SendMessages.apply(form, around, to, values, h, *gammas, *weights)
    return out


class _SendMessages(torch.autograd.Function):
    """One derivative of F forward, the others backward."""

    @staticmethod
    def forward(
        ctx: Any,
        form: Form,
        around: Neighborhoods,
        to: Side,
        values: Tensor,
        h: Tensor,
        *tables: Tensor,
    ) -> Tensor:
        ctx.form, ctx.around, ctx.to = form, around, to
        ctx.save_for_backward(values, h, *tables)
        v, c = (values, None) if to == "center" else (None, values)
        return _derivatives(form, around, v, c, h, tables, {to})[to][0]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        values, h, *tables = ctx.saved_tensors
        v, c = (values, grad) if ctx.to == "center" else (grad, values)
        sender = "neighbor" if ctx.to == "center" else "center"
        pairs = len(ctx.form.pairs)
        needs = ctx.needs_input_grad[3:]
        wanted = {
            name
            for name, needed in (
                (sender, needs[0]),
                ("h", needs[1]),
                ("gammas", any(needs[2 : 2 + pairs])),
                ("weights", any(needs[2 + pairs :])),
            )
            if needed
        }
        grads = _derivatives(ctx.form, ctx.around, v, c, h, tables, wanted)
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
    around: Neighborhoods,
    v: Tensor | None,
    c: Tensor | None,
    h: Tensor,
    tables: Sequence[Tensor],
    wanted: set[str],
) -> dict[str, list[Tensor]]:
    """The wanted derivatives of F: "center", "neighbor", "h", "gammas", "weights".

    v may be missing where neither T nor A is needed, c where neither Z nor S is.
    """
    gammas, weights = tables[: len(form.pairs)], tables[len(form.pairs) :]
    num_channels = h.shape[1]
    needs_t = bool(wanted & {"center", "h", "weights"})
    needs_a = bool(wanted & {"center", "weights"})
    needs_z = bool(wanted & {"neighbor", "h", "gammas"})
    needs_s = bool(wanted & {"neighbor", "gammas"})
    c_blocks = [] if c is None else _center_blocks(form, around, c)
    out: dict[str, list[Tensor]] = {}
    if "center" in wanted:
        out_blocks = [h.new_zeros(around.centers.shape[0], m, w) for m, w in form.center_shapes]
    if "neighbor" in wanted:
        out["neighbor"] = [h.new_zeros(around.num_nodes, _dim(form.neighbor_shapes))]
    if "h" in wanted:
        out["h"] = [torch.zeros_like(h)]
    if "gammas" in wanted:
        out["gammas"] = [torch.empty_like(g) for g in gammas]
    if "weights" in wanted:
        out["weights"] = [torch.zeros_like(b) for b in weights]
    for block in around.blocks:
        nodes, slots, n, d = block.centers, block.slots, block.num_centers, block.degree
        neighbor = around.neighbor[slots]
        h_ndk = h[slots].view(n, d, num_channels)
        v_blocks = [] if v is None else _split(v.index_select(0, neighbor), form.neighbor_shapes)
        sent = (
            [h.new_zeros(n * d, m, u) for m, u in form.neighbor_shapes]
            if "neighbor" in wanted
            else []
        )
        for p, (i_c, i_v) in enumerate(form.pairs):
            gamma, b = gammas[p][slots], weights[p]
            m_c, w = form.center_shapes[i_c]
            u = form.neighbor_shapes[i_v][1]
            rows = gamma.shape[1] * u
            if needs_t:
                t = torch.bmm(gamma, v_blocks[i_v]).view(n, d, rows)
            if needs_a:
                a = torch.bmm(t.transpose(1, 2), h_ndk).view(n * m_c, -1)
            if needs_z:
                z = (c_blocks[i_c][nodes].view(n * m_c, w) @ b.t()).view(n, rows, num_channels)
            if needs_s:
                s = torch.bmm(h_ndk, z.transpose(1, 2)).view(n * d, -1, u)
            if "center" in wanted:
                out_blocks[i_c][nodes].view(n * m_c, w).addmm_(a, b)
            if "neighbor" in wanted:
                sent[i_v].baddbmm_(gamma.transpose(1, 2), s)
            if "h" in wanted:
                out["h"][0][slots].view(n, d, -1).baddbmm_(t, z)
            if "weights" in wanted:
                out["weights"][p].addmm_(a.t(), c_blocks[i_c][nodes].view(n * m_c, w))
            if "gammas" in wanted:
                torch.bmm(s, v_blocks[i_v].transpose(1, 2), out=out["gammas"][p][slots])
        if "neighbor" in wanted:
            out["neighbor"][0].index_add_(0, neighbor, _join(sent))
    if "center" in wanted:
        joined = _join(out_blocks)
        whole = h.new_zeros(around.num_nodes, joined.shape[1])
        out["center"] = [whole.index_copy_(0, around.centers, joined)]
    return out


def _dim(shapes: Sequence[tuple[int, int]]) -> int:
    return sum(m * mul for m, mul in shapes)


def _split(values: Tensor, shapes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Blocks [n, 2 l + 1, mul] of [n, dim], as views."""
    pieces = values.split([m * mul for m, mul in shapes], dim=1)
    return [piece.unflatten(1, shape) for piece, shape in zip(pieces, shapes)]


def _join(blocks: Sequence[Tensor]) -> Tensor:
    """Inverse of `_split`."""
    return torch.cat([block.flatten(1) for block in blocks], dim=1)


def _center_blocks(form: Form, around: Neighborhoods, c: Tensor) -> list[Tensor]:
    """Contiguous blocks [c, 2 l + 1, mul] of the nodes that are centers."""
    pieces = c.split([m * mul for m, mul in form.center_shapes], dim=1)
    return [
        piece.index_select(0, around.centers).unflatten(1, shape)
        for piece, shape in zip(pieces, form.center_shapes)
    ]
