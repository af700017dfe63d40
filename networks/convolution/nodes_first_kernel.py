"""Messages as batched matrix products, with the sums over neighbours before the weights.

Everything here is a partial derivative of one multilinear form F: a sum over slots (center i,
neighbour j) and over pairs (a, b) of a center's and a neighbour's block. The index q counts the
edge degrees that couple the two blocks:

    F = sum_ij sum_q sum_kuw sum_ab  Gamma_ij[(a q), b] v_j[b, u] h_ij[k] B[q u k w] c_i[a, w]

Messages that centers receive are dF/dc for given v. Messages that centers send are dF/dv for
given c. The backward pass of either needs the other derivatives of the same F:

    T_ij[(a q), u] = sum_b Gamma_ij[(a q), b] v_j[b, u]
    A_i[a, (q u k)] = sum_j T_ij[(a q), u] h_ij[k]
    Z_i[a, (q u k)] = sum_w c_i[a, w] B[w, (q u k)]
    S_ij[(a q), u] = sum_k h_ij[k] Z_i[a, (q u k)]

    dF/dc = A B^T    dF/dB = c^T A    dF/dh = T Z    dF/dv = Gamma^T S    dF/dGamma = S v^T

T, A, Z and S exist for one chunk of centers at a time, and the backward pass computes them again.
Imports torch and this package only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from networks.convolution.cost_model import Direction
from networks.convolution.neighborhoods import NodeSlots
from networks.convolution.products import (
    BlockShapes,
    Scratch,
    add_mm,
    add_transposed_mm,
    batched_product,
    max_chunk_elements,
    num_row_parts,
    split_blocks,
)


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
    """The blocks that F couples.

    Attributes
    ----------
    pairs : tuple of NodePair
        In the order of their neighbour blocks. Each has a B of its own.
    center_shapes, neighbor_shapes : BlockShapes
        Shapes of all blocks of the centers and of the neighbours.
    """

    pairs: tuple[NodePair, ...]
    center_shapes: BlockShapes
    neighbor_shapes: BlockShapes

    @property
    def neighbors(self) -> list[int]:
        """Neighbour blocks that occur in pairs, ascending. Each has a Gamma of its own."""
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
    direction : {"to_centers", "from_centers"}
        Whether centers receive the messages, dF/dc, or send them, dF/dv.
    values : Tensor
        [n, dim] values of the nodes that send.
    h : Tensor
        [s, k] radial features, zero in padding.
    gammas : sequence of Tensor
        Gamma [s, (a q) of all pairs, b] of each neighbour block that occurs.
    weights : sequence of Tensor
        B [w, (q u k)] of each pair.
    scratch : Scratch
        Memory for intermediate results.

    Returns
    -------
    Tensor
        [n, dim] of the nodes that receive. Can be differentiated any number of times.
    """
    tables = (*gammas, *weights)
    out: Tensor = _SendBetweenNodes.apply(  # type: ignore[no-untyped-call]
        form, slots, direction, scratch, values, h, *tables
    )
    return out


class _SendBetweenNodes(torch.autograd.Function):
    """One derivative of F in the forward pass, the others in the backward pass.

    With create_graph, autograd records the backward pass like any other code. Second derivatives
    are therefore exact too, but take the memory of all intermediate results.
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
        derivatives = _Derivatives(form, slots, h, tables, scratch)
        if direction == "to_centers":
            return derivatives.compute({"c"}, v=values)["c"][0]
        return derivatives.compute({"v"}, c=values)["v"][0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(grad.device.type, enabled=False):
            return _backward(ctx, grad)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, h, *tables = ctx.saved_tensors
    sender = "v" if ctx.direction == "to_centers" else "c"
    v, c = (values, grad) if sender == "v" else (grad, values)
    num_gammas = len(ctx.form.neighbors)
    needs_values, needs_h, *needs_tables = ctx.needs_input_grad[4:]
    needs = {
        sender: needs_values,
        "h": needs_h,
        "gammas": any(needs_tables[:num_gammas]),
        "weights": any(needs_tables[num_gammas:]),
    }
    derivatives = _Derivatives(ctx.form, ctx.slots, h, tables, ctx.scratch)
    out = derivatives.compute({name for name, needed in needs.items() if needed}, v, c)
    return (
        *(None, None, None, None),
        *out.get(sender, [None]),
        *out.get("h", [None]),
        *out.get("gammas", [None] * num_gammas),
        *out.get("weights", [None] * len(ctx.form.pairs)),
    )


@dataclass(frozen=True)
class _Chunk:
    """Consecutive centers with the same number of slots each.

    `neighbor` [s] and `h` [centers, slots per center, k] are those of the chunk's slots; `d_h` is
    the part of dF/dh that belongs to `h`, if it is wanted. `parts` is the number of parts into
    which rows of centers are cut.
    """

    centers: slice
    slots: slice
    neighbor: Tensor
    h: Tensor
    d_h: Tensor | None
    parts: int

    @property
    def num_centers(self) -> int:
        return int(self.centers.stop - self.centers.start)

    def rows(self, num_components: int) -> slice:
        """Rows of the chunk's centers in a table with one row for each center's component."""
        return slice(self.centers.start * num_components, self.centers.stop * num_components)


class _Derivatives:
    """Computes the derivatives of F by v, c, h, Gamma and B, chunk by chunk."""

    def __init__(
        self,
        form: NodeForm,
        slots: NodeSlots,
        h: Tensor,
        tables: Sequence[Tensor],
        scratch: Scratch,
    ) -> None:
        self.form, self.slots, self.h, self.scratch = form, slots, h, scratch
        self.gammas = dict(zip(form.neighbors, tables))
        self.weights = tables[len(self.gammas) :]
        self.pairs: dict[int, list[tuple[int, NodePair]]] = {block: [] for block in self.gammas}
        for p, pair in enumerate(form.pairs):
            self.pairs[pair.neighbor].append((p, pair))
        self.num_parts = num_row_parts(h.shape[0], h.device)

    def compute(
        self, wanted: set[str], v: Tensor | None = None, c: Tensor | None = None
    ) -> dict[str, list[Tensor]]:
        """Compute those of "v", "c", "h", "gammas" and "weights" that are wanted.

        v [n, dim] may be missing where T is not needed, c [n, dim] where Z, S and dF/dB are not.
        """
        self.wanted = wanted
        self.v = None if v is None else split_blocks(v, self.form.neighbor_shapes)
        self.c = None
        if c is not None:
            blocks = split_blocks(c, self.form.center_shapes)
            self.c = [
                block.index_select(0, self.slots.centers).view(-1, mul)
                for block, (_, mul) in zip(blocks, self.form.center_shapes)
            ]
        self.out = self._zeros()
        if self.h.shape[0] > 0:
            for chunk in self._chunks():
                for block in self.gammas:
                    self._add_neighbor_block(chunk, block)
        return self._finished()

    def _zeros(self) -> dict[str, list[Tensor]]:
        """Make the sums to which chunks add: "c" [centers m, w], "weights" one for each part."""
        num_centers, num_nodes = self.slots.centers.shape[0], self.slots.num_nodes
        zeros = self.h.new_zeros
        out: dict[str, list[Tensor]] = {}
        if "c" in self.wanted:
            out["c"] = [zeros(num_centers * m, mul) for m, mul in self.form.center_shapes]
        if "v" in self.wanted:
            out["v"] = [zeros(num_nodes, m * mul) for m, mul in self.form.neighbor_shapes]
        if "h" in self.wanted:
            out["h"] = [torch.zeros_like(self.h)]
        if "gammas" in self.wanted:
            out["gammas"] = [torch.zeros_like(gamma) for gamma in self.gammas.values()]
        if "weights" in self.wanted:
            out["weights"] = [zeros(self.num_parts, *weight.shape) for weight in self.weights]
        self.d_gammas = dict(zip(self.gammas, out.get("gammas", [])))
        return out

    def _finished(self) -> dict[str, list[Tensor]]:
        """Bring the sums into the shapes of v, c, h, Gamma and B."""
        out = self.out
        if "c" in out:
            blocks = []
            for total, (m, mul) in zip(out["c"], self.form.center_shapes):
                nodes = total.new_zeros(self.slots.num_nodes, m * mul)
                blocks.append(nodes.index_copy_(0, self.slots.centers, total.view(-1, m * mul)))
            out["c"] = [torch.cat(blocks, dim=1)]
        if "v" in out:
            out["v"] = [torch.cat(out["v"], dim=1)]
        if "weights" in out:
            out["weights"] = [parts.sum(0) for parts in out["weights"]]
        return out

    def _add_neighbor_block(self, chunk: _Chunk, block: int) -> None:
        """Add what all pairs of one neighbour block contribute."""
        gamma = self.gammas[block][chunk.slots]
        near = t = t_pair = c = d_near = None
        if self.v is not None:
            near = self.v[block].index_select(0, chunk.neighbor)
            near = near.view(-1, *self.form.neighbor_shapes[block])
            t = self.scratch.bmm("t", gamma, near).view(*chunk.h.shape[:2], -1)
        mul = self.form.neighbor_shapes[block][1]
        for p, pair in self.pairs[block]:
            if self.c is not None:
                c = self.c[pair.center][chunk.rows(self.form.center_shapes[pair.center][0])]
            if t is not None:
                t_pair = t[:, :, pair.rows.start * mul : pair.rows.stop * mul]
                self._add_from_neighbors(chunk, p, t_pair, c)
            if c is None or not {"h", "v", "gammas"} & self.wanted:
                continue
            z = self.scratch.mm("z", c, self.weights[p], chunk.parts)
            z = z.view(chunk.num_centers, -1, self.h.shape[1])
            if chunk.d_h is not None and t_pair is not None:
                chunk.d_h.baddbmm_(t_pair, z)
            if not {"v", "gammas"} & self.wanted:
                continue
            s = self.scratch.bmm("s", chunk.h, z.transpose(1, 2)).view(len(gamma), -1, mul)
            if "v" in self.wanted:
                d_near = batched_product(gamma[:, pair.rows].transpose(1, 2), s, d_near)
            if "gammas" in self.wanted and near is not None:
                self.d_gammas[block][chunk.slots, pair.rows] = batched_product(s, near.mT)
        if d_near is not None:
            self.out["v"][block].index_add_(0, chunk.neighbor, d_near.flatten(1))

    def _add_from_neighbors(self, chunk: _Chunk, p: int, t: Tensor, c: Tensor | None) -> None:
        """Add dF/dc = A B^T and dF/dB = c^T A of pair p, given T [centers, slots, (a q u)]."""
        if not {"c", "weights"} & self.wanted:
            return
        block = self.form.pairs[p].center
        m = self.form.center_shapes[block][0]
        a = self.scratch.bmm("a", t.transpose(1, 2), chunk.h).view(chunk.num_centers * m, -1)
        if "c" in self.wanted:
            add_mm(self.out["c"][block][chunk.rows(m)], a, self.weights[p].t(), chunk.parts)
        if "weights" in self.wanted and c is not None:
            add_transposed_mm(self.out["weights"][p][: chunk.parts], c, a)

    def _chunks(self) -> Iterator[_Chunk]:
        """Cut the centers so that no intermediate result of a chunk is too large for the cache."""
        max_elements = max_chunk_elements(self.h.device)
        for block in self.slots.blocks:
            degree = block.slots_per_center
            size = max(1, max_elements // self._elements_per_center(degree))
            num_chunks = -(-block.num_centers // size)
            size = -(-block.num_centers // num_chunks)  # equal sizes
            size += -size % self.num_parts
            for start in range(0, block.num_centers, size):
                stop = min(start + size, block.num_centers)
                slots = slice(block.first_slot + start * degree, block.first_slot + stop * degree)
                shape = (stop - start, degree, self.h.shape[1])
                yield _Chunk(
                    centers=slice(block.start + start, block.start + stop),
                    slots=slots,
                    neighbor=self.slots.neighbor[slots],
                    h=self.h[slots].view(shape),
                    d_h=self.out["h"][0][slots].view(shape) if "h" in self.wanted else None,
                    parts=self.num_parts if (stop - start) % self.num_parts == 0 else 1,
                )

    def _elements_per_center(self, slots_per_center: int) -> int:
        """Size for one center of the larger of T of a neighbour block and A of a pair."""
        a = max(
            self.form.center_shapes[pair.center][0] * weight.shape[1]
            for pair, weight in zip(self.form.pairs, self.weights)
        )
        t = max(
            slots_per_center * gamma.shape[1] * self.form.neighbor_shapes[block][1]
            for block, gamma in self.gammas.items()
        )
        return max(a, t)
