"""Rotations into the frames of edges and back, compiled for the CPU by numba at their first use.

Imports NumPy, numba, llvmlite and `networks.vector_loops` only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from networks.vector_loops import ChannelLoops, Vectors, compile_loop

Floats = NDArray[Any]
Integers = NDArray[np.int64]
Indices = NDArray[np.uint64]

# numba turns sums of signed and unsigned integers into floating point numbers.
_ONE, _FOUR = np.uint64(1), np.uint64(4)


class _Rows(ChannelLoops):
    """Writes a few rows b of a rotation: y[b, u] = sum_a g[c + a ca + b cb] x[a, u].

    The arguments are y, x, at, o, so, number of a, g, c, ca, cb, number of channels, number of b.
    """

    def write(self, rows: int, back: bool) -> None:
        """Write the loops over channels and over a.

        Parameters
        ----------
        rows : int
            Number of b.
        back : bool
            Without, y[b] begins at at[b] and x[a] at o + a so. Otherwise x[a] begins at at[a], and
            y[b] at o + b so is added to.
        """
        builder = self.builder
        y, x, at, o, so, terms, g, c, ca, cb, channels, _ = self.values
        number = ir.IntType(64)

        def scattered(k: Any) -> Any:
            return builder.load(builder.gep(at, [k]))

        def regular(k: Any) -> Any:
            return builder.add(o, builder.mul(k, so))

        place_x, place_y = (scattered, regular) if back else (regular, scattered)
        for vectors, u in self.over(channels):
            places = [builder.add(place_y(number(b)), u) for b in range(rows)]
            totals = [cgutils.alloca_once(builder, vectors.type) for _ in places]
            for total, place in zip(totals, places):
                builder.store(vectors.load(y, place) if back else vectors.zero(), total)
            with cgutils.for_range(builder, terms) as loop:
                row = vectors.load(x, builder.add(place_x(loop.index), u))
                first = builder.add(c, builder.mul(loop.index, ca))
                for b, total in enumerate(totals):
                    factor = vectors.fill(g, builder.add(first, builder.mul(number(b), cb)))
                    self._add_product(vectors, total, factor, row)
            for total, place in zip(totals, places):
                vectors.store(y, place, builder.load(total))

    def _add_product(self, vectors: Vectors, total: Any, factor: Any, row: Any) -> None:
        product = vectors.multiply(factor, row)
        self.builder.store(vectors.add(self.builder.load(total), product), total)


def _rows(kinds: tuple[Any, ...], back: bool) -> tuple[Any, Callable[..., Any]] | None:
    """Type and code of rows whose last argument, the number of b, is a literal."""
    if not isinstance(kinds[-1], types.IntegerLiteral):
        return None
    rows = kinds[-1].literal_value

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _Rows(context, builder, signature, values).write(rows, back)
        return context.get_dummy_value()

    return types.void(*kinds), code


def _type_into(_, y, x, at, o, so, na, g, c, ca, cb, channels, nb):  # type: ignore[no-untyped-def]
    return _rows((y, x, at, o, so, na, g, c, ca, cb, channels, nb), back=False)


def _type_back(_, y, x, at, o, so, na, g, c, ca, cb, channels, nb):  # type: ignore[no-untyped-def]
    return _rows((y, x, at, o, so, na, g, c, ca, cb, channels, nb), back=True)


_into: Callable[..., None] = intrinsic(prefer_literal=True)(_type_into)
_back: Callable[..., None] = intrinsic(prefer_literal=True)(_type_back)


@compile_loop
def _find_rows(
    at: Indices, s: int, num_edges: int, before: Indices, step: Indices, within: Indices
) -> None:
    """Look up where the rows of slot s begin, see `networks.convolution.frame_layout.Places`."""
    slots_per_edge, rows = within.shape
    e, j = np.uint64(s // slots_per_edge), s % slots_per_edge
    for r in range(rows):
        at[r] = num_edges * before[r] + e * step[r] + within[j, r]


@compile_loop
def rotate_into(
    start: int,
    stop: int,
    nodes: Integers,
    values: Floats,
    frames: Floats,
    rotations: Floats,
    num_components: int,
    column: int,
    num_channels: int,
    num_edges: int,
    before: Indices,
    step: Indices,
    within: Indices,
) -> None:
    """Rotate one block of the nodes' values into the frames of the slots start <= s < stop.

    Channel u of row r of slot j of edge e goes to
    frames[num_edges before[r] + e step[r] + within[j, r] + u].

    Parameters
    ----------
    start, stop : int
        Slots.
    nodes : array
        [s] node of each slot.
    values : array
        [n, …] node values.
    frames : array
        Flat, of `num_edges` edges.
    rotations : array
        [s, num_components^2] Wigner matrices. Their first rows are used.
    num_components, column, num_channels : int
        The block has 2 l + 1 components with all channels each, from `column` on.
    num_edges : int
        Edges.
    before, step, within : array
        [rows], [rows] and [slots per edge, rows] places in `frames`.
    """
    rows = within.shape[1]
    o, channels = np.uint64(column), np.uint64(num_channels)
    dim, edges = np.uint64(num_components), np.uint64(num_edges)
    at = np.empty(rows, np.uint64)
    for s in range(start, stop):
        g, x = rotations[s], values[nodes[s]]
        _find_rows(at, s, edges, before, step, within)
        r, c = 0, np.uint64(0)
        while rows - r >= 4:
            _into(frames, x, at[r:], o, channels, dim, g, c, _ONE, dim, channels, 4)
            r, c = r + 4, c + _FOUR * dim
        while rows - r >= 1:
            _into(frames, x, at[r:], o, channels, dim, g, c, _ONE, dim, channels, 1)
            r, c = r + 1, c + dim


@compile_loop
def add_back(
    share: int,
    shares: int,
    nodes: Integers,
    frames: Floats,
    totals: Floats,
    rotations: Floats,
    num_components: int,
    column: int,
    num_channels: int,
    num_edges: int,
    before: Indices,
    step: Indices,
    within: Indices,
) -> None:
    """Rotate one block of all slots back and add it to the nodes: one share of its components.

    Parameters
    ----------
    share, shares : int
        Which of how many shares.
    totals : array
        [n, …] sums of the nodes.
    nodes, frames, rotations, num_components, column, num_channels, num_edges, before, step, within
        As in `rotate_into`.
    """
    rows = within.shape[1]
    channels, num_rows = np.uint64(num_channels), np.uint64(rows)
    dim, edges = np.uint64(num_components), np.uint64(num_edges)
    first = np.uint64(num_components * share // shares)
    stop = np.uint64(num_components * (share + 1) // shares)
    at = np.empty(rows, np.uint64)
    for s in range(nodes.shape[0]):
        g, y = rotations[s], totals[nodes[s]]
        _find_rows(at, s, edges, before, step, within)
        b, o = first, np.uint64(column) + first * channels
        while b + _FOUR <= stop:
            _back(y, frames, at, o, channels, num_rows, g, b, dim, _ONE, channels, 4)
            b, o = b + _FOUR, o + _FOUR * channels
        while b + _ONE <= stop:
            _back(y, frames, at, o, channels, num_rows, g, b, dim, _ONE, channels, 1)
            b, o = b + _ONE, o + channels
