"""Which rows of node values edges see in their frames, and where these rows lie in memory.

Imports NumPy and this package only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from networks.convolution.products import BlockShapes

Indices = NDArray[np.uint64]


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
class Piece:
    """Rows of one order of some blocks in the frames, [e, rows of all slots, channels].

    Attributes
    ----------
    m : int
        Order. It has the rows +m and -m, or one row for m = 0.
    blocks : tuple of int
        Whose channels lie side by side.
    """

    m: int
    blocks: tuple[int, ...]

    @property
    def rows(self) -> slice:
        """The rows among those of a block."""
        return slice(max(2 * self.m - 1, 0), 2 * self.m + 1)

    @property
    def num_rows(self) -> int:
        """1 for m = 0, otherwise 2."""
        return 2 if self.m else 1


@dataclass(frozen=True)
class Places:
    """Where the rows of one block lie in memory that holds one piece after the other.

    Row r of slot j of edge e begins at E before[r] + e step[r] + within[j, r], for E edges.

    Attributes
    ----------
    before, step : array
        [rows] uint64.
    within : array
        [slots per edge, rows] uint64.
    """

    before: Indices
    step: Indices
    within: Indices


@dataclass(frozen=True)
class FrameLayout:
    """A side of the edges, and the pieces in which its rows in the frames are wanted.

    Attributes
    ----------
    side : Side
        Blocks.
    pieces : tuple of Piece
        By ascending order. Together they have the rows of all blocks up to the largest order.
    """

    side: Side
    pieces: tuple[Piece, ...]

    @property
    def num_rows(self) -> int:
        """Rows of a block that has all orders."""
        return 2 * self.pieces[-1].m + 1

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Channels of each piece."""
        return tuple(sum(self.side.shapes[b][1] for b in piece.blocks) for piece in self.pieces)

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """First column of each block among the values of nodes."""
        sizes = (dim * mul for dim, mul in self.side.shapes)
        return tuple(accumulate(sizes, initial=0))[:-1]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Elements of each piece for one slot of an edge."""
        return tuple(piece.num_rows * width for piece, width in zip(self.pieces, self.widths))

    @cached_property
    def products(self) -> int:
        """Multiplications that rotate one slot."""
        return sum(dim * min(dim, self.num_rows) * mul for dim, mul in self.side.shapes)

    def places(self, block: int, slots_per_edge: int) -> Places:
        """Say where the rows of a block lie.

        Parameters
        ----------
        block : int
            Position of the block.
        slots_per_edge : int
            1 or 2.
        """
        key = block, slots_per_edge
        if key not in self._known_places:
            self._known_places[key] = self._find_places(block, slots_per_edge)
        return self._known_places[key]

    @cached_property
    def _known_places(self) -> dict[tuple[int, int], Places]:
        return {}

    def _find_places(self, block: int, slots_per_edge: int) -> Places:
        sizes = [slots_per_edge * size for size in self.sizes]
        starts = list(accumulate(sizes, initial=0))
        before, step, within = [], [], []
        for p, piece in enumerate(self.pieces):
            if block not in piece.blocks:
                continue
            left = piece.blocks[: piece.blocks.index(block)]
            column = sum(self.side.shapes[other][1] for other in left)
            for r in range(piece.num_rows):
                before.append(starts[p])
                step.append(sizes[p])
                rows = np.arange(slots_per_edge) * piece.num_rows + r
                within.append(rows * self.widths[p] + column)
        arrays = before, step, np.array(within).T
        return Places(*(np.ascontiguousarray(array, dtype=np.uint64) for array in arrays))
