"""Values at both ends of edges, rotated into the edges' frames and back.

By torch's operations (`TorchFrames`), which run on any device and can be differentiated, or by
loops that numba compiles for a CPU (`CompiledFrames`), which gather, rotate and arrange at once.
Imports NumPy, torch and `networks`; numba when loops run for the first time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from networks.convolution.frame_layout import FrameLayout, Side
from networks.convolution.products import Scratch, batched_product, join, split_blocks
from networks.threads import in_threads, threads_for

SMALLEST_FOR_THREADS = 2_000_000
"""Multiplications below which threads cost more than they save."""


@dataclass
class FrameValues:
    """Rows of one side in the frames of some edges.

    Attributes
    ----------
    layout : FrameLayout
        Which rows.
    parts : list of Tensor
        [e, rows of all slots, channels] of each piece.
    memory : Tensor or None
        Flat, of all parts one after the other, if they lie so.
    """

    layout: FrameLayout
    parts: list[Tensor]
    memory: Tensor | None = None


@dataclass(frozen=True)
class Slots:
    """One end of the slots of some consecutive edges.

    Attributes
    ----------
    nodes : Tensor
        [s] int64.
    wigner_d : list of Tensor
        D [s, 2 l + 1, 2 l + 1] of every irrep that occurs, rows sorted by order.
    num_edges : int
        Edges, each with s / `num_edges` slots.
    """

    nodes: Tensor
    wigner_d: list[Tensor]
    num_edges: int

    @property
    def slots_per_edge(self) -> int:
        """1, or 2 for an edge and its reverse."""
        return self.nodes.shape[0] // max(self.num_edges, 1)


class Frames(ABC):
    """Rotates values of nodes into the frames of edges, and sums of them back.

    Parameters
    ----------
    scratch : Scratch
        Memory for intermediate results.
    """

    def __init__(self, scratch: Scratch) -> None:
        self.scratch = scratch

    @abstractmethod
    def load(self, side: Side, values: Tensor) -> Any:
        """Prepare the values of nodes [n, dim] for `rotate_into`."""

    @abstractmethod
    def rotate_into(self, name: str, layout: FrameLayout, slots: Slots, loaded: Any) -> FrameValues:
        """Gather the values of the slots' nodes and rotate them into the frames.

        `name` distinguishes results that are needed at the same time.
        """

    @abstractmethod
    def room(
        self, name: str, layout: FrameLayout, slots: Slots, like: Tensor
    ) -> FrameValues | None:
        """Provide memory for rows that are computed in the frames; None if fresh memory will do."""

    @abstractmethod
    def zeros(self, side: Side, num_nodes: int, like: Tensor) -> Any:
        """Provide sums over slots for `add_back`."""

    @abstractmethod
    def add_back(self, slots: Slots, values: FrameValues, totals: Any) -> None:
        """Rotate rows back from the frames and add them at the slots' nodes."""

    @abstractmethod
    def total(self, totals: Any) -> Tensor:
        """Return the sums [n, dim]."""


class TorchFrames(Frames):
    """Batched matrix products of each block."""

    def load(self, side: Side, values: Tensor) -> list[Tensor]:
        """Cut values into blocks."""
        return split_blocks(values, side.shapes)

    def rotate_into(
        self, name: str, layout: FrameLayout, slots: Slots, loaded: list[Tensor]
    ) -> FrameValues:
        """Rotate block by block, then join blocks by order."""
        side = layout.side
        rotated = []
        for (dim, mul), irrep, block in zip(side.shapes, side.irreps, loaded):
            outside = block.index_select(0, slots.nodes).view(-1, dim, mul)
            rotated.append(batched_product(slots.wigner_d[irrep][:, : layout.num_rows], outside))
        parts = [
            join([rotated[block][:, piece.rows] for block in piece.blocks], 2).reshape(
                slots.num_edges, -1, width
            )
            for piece, width in zip(layout.pieces, layout.widths)
        ]
        return FrameValues(layout, parts)

    def room(self, name: str, layout: FrameLayout, slots: Slots, like: Tensor) -> None:
        """Leave it to the products, which autograd may record."""
        return

    def zeros(self, side: Side, num_nodes: int, like: Tensor) -> list[Tensor]:
        """Zeros [n, (2 l + 1) mul] of each block."""
        return [like.new_zeros(num_nodes, dim * mul) for dim, mul in side.shapes]

    def add_back(self, slots: Slots, values: FrameValues, totals: list[Tensor]) -> None:
        """Rotate block by block."""
        for irrep, inside, total in zip(
            values.layout.side.irreps, rows_by_block(slots, values), totals
        ):
            d = slots.wigner_d[irrep][:, : inside.shape[1]]
            total.index_add_(0, slots.nodes, batched_product(d.mT, inside).flatten(1))

    def total(self, totals: list[Tensor]) -> Tensor:
        """Join the blocks."""
        return torch.cat(totals, dim=1)


def rows_by_block(slots: Slots, values: FrameValues) -> list[Tensor]:
    """Sort rows in the frames by block.

    Parameters
    ----------
    slots : Slots
        Of the rows.
    values : FrameValues
        By order.

    Returns
    -------
    list of Tensor
        [s, rows, mul] of each block, all orders one after the other.
    """
    shapes = values.layout.side.shapes
    rows: list[list[Tensor]] = [[] for _ in shapes]
    for piece, part in zip(values.layout.pieces, values.parts):
        by_slot = part.view(slots.nodes.shape[0], -1, part.shape[2])
        widths = [shapes[block][1] for block in piece.blocks]
        for block, of_block in zip(piece.blocks, by_slot.split(widths, dim=2)):
            rows[block].append(of_block)
    return [join(parts, 1) for parts in rows]


class CompiledFrames(Frames):
    """Loops over slots that gather, rotate and arrange at once."""

    def load(self, side: Side, values: Tensor) -> NDArray[Any]:
        """See the values as an array."""
        array: NDArray[Any] = values.detach().contiguous().numpy()
        return array

    def rotate_into(
        self, name: str, layout: FrameLayout, slots: Slots, loaded: NDArray[Any]
    ) -> FrameValues:
        """Rotate block by block, into all pieces."""
        from networks.convolution.frame_kernel import rotate_into

        values = self.room(name, layout, slots, slots.wigner_d[0])
        blocks = list(_by_block(values, slots))
        nodes, frames, num_slots = slots.nodes.numpy(), _array(values), slots.nodes.shape[0]

        def part(start: int, stop: int) -> None:
            for block in blocks:
                rotate_into(start, stop, nodes, loaded, frames, *block)

        threads = threads_for(num_slots * layout.products, SMALLEST_FOR_THREADS)
        in_threads(part, [k * num_slots // threads for k in range(threads + 1)])
        return values

    def room(self, name: str, layout: FrameLayout, slots: Slots, like: Tensor) -> FrameValues:
        """Provide memory that the next chunk of edges overwrites."""
        sizes = [slots.nodes.shape[0] * size for size in layout.sizes]
        memory = self.scratch.flat(name, like, sum(sizes))
        parts = [
            part.view(slots.num_edges, -1, width)
            for part, width in zip(memory.split(sizes), layout.widths)
        ]
        return FrameValues(layout, parts, memory)

    def zeros(self, side: Side, num_nodes: int, like: Tensor) -> Tensor:
        """Zeros [n, dim]."""
        return like.new_zeros(num_nodes, sum(dim * mul for dim, mul in side.shapes))

    def add_back(self, slots: Slots, values: FrameValues, totals: Tensor) -> None:
        """Rotate block by block. Each thread adds to components of its own."""
        from networks.convolution.frame_kernel import add_back

        blocks = list(_by_block(values, slots))
        nodes, frames, sums = slots.nodes.numpy(), _array(values), totals.numpy()
        threads = threads_for(len(nodes) * values.layout.products, SMALLEST_FOR_THREADS)

        def part(thread: int, _: int) -> None:
            for block in blocks:
                add_back(thread, threads, nodes, frames, sums, *block)

        in_threads(part, list(range(threads + 1)))

    def total(self, totals: Tensor) -> Tensor:
        """Return them as they are."""
        return totals


def _array(values: FrameValues) -> NDArray[Any]:
    if values.memory is None:
        raise ValueError("these rows do not lie one after the other: compute them into `room`")
    array: NDArray[Any] = values.memory.numpy()
    return array


def _by_block(values: FrameValues, slots: Slots) -> Iterator[tuple[Any, ...]]:
    """Arguments of `networks.convolution.frame_kernel` that belong to one block each."""
    layout = values.layout
    for block, (dim, mul) in enumerate(layout.side.shapes):
        rotations = slots.wigner_d[layout.side.irreps[block]].view(-1, dim * dim).numpy()
        places = layout.places(block, slots.slots_per_edge)
        yield (
            *(rotations, dim, layout.columns[block], mul),
            *(slots.num_edges, places.before, places.step, places.within),
        )


def frames_for(scratch: Scratch, values: Tensor, h: Tensor, differentiable: bool = False) -> Frames:
    """Choose how to rotate.

    Parameters
    ----------
    scratch : Scratch
        Memory for intermediate results.
    values, h : Tensor
        Values of nodes and radial features.
    differentiable : bool
        Whether derivatives by the Wigner matrices are wanted as well.
    """
    compilable = values.dtype == h.dtype and values.dtype in (torch.float32, torch.float64)
    if values.device.type != "cpu" or not compilable:
        return TorchFrames(scratch)
    # While autograd records (a backward pass with create_graph), loops would go unnoticed.
    if differentiable or torch.is_grad_enabled():
        return TorchFrames(scratch)
    return CompiledFrames(scratch)
