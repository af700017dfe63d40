"""Loops over edges that form no message: compiled for the CPU by numba, at their first use.

Imports NumPy, numba, llvmlite and `networks.vector_loops` only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from networks.vector_loops import ChannelLoops, Vectors, compile_loop

Floats = NDArray[Any]
Integers = NDArray[np.int64]
Indices = NDArray[np.uint64]


# numba turns sums of signed and unsigned integers into floating point numbers.
_ONE, _THREE, _FIVE = np.uint64(1), np.uint64(3), np.uint64(5)


class _Block(ChannelLoops):
    """Writes y[i + b si + u] += w[k + u] sum_a g[c + a ca + b cb] x[o + a so + u] for a few a.

    The arguments are y, i, si, number of b, w, k, g, c, ca, cb, x, o, so, number of channels,
    number of a; then, for derivatives, d_w and z.
    """

    def write(self, terms: int) -> None:
        """Write the loops over all channels.

        Parameters
        ----------
        terms : int
            Number of a.
        """
        for vectors, u in self.over(self.values[13]):
            self._write_vector(vectors, u, terms)

    def _write_vector(self, vectors: Vectors, u: Any, terms: int) -> None:
        builder, add = self.builder, self.builder.add
        y, i, si, count, w, k, g, c, ca, cb, x, o, so = self.values[:13]
        derivatives = self.values[15:]
        weight = vectors.load(w, add(k, u))
        rows = [vectors.load(x, at) for at in self._steps(add(o, u), so, terms)]
        if derivatives:
            d_w, z = derivatives
            total = cgutils.alloca_once_value(builder, vectors.load(d_w, add(k, u)))
        with cgutils.for_range(builder, count) as loop:
            start = add(c, builder.mul(loop.index, cb))
            factors = [vectors.fill(g, at) for at in self._steps(start, ca, terms)]
            products = [vectors.multiply(f, row) for f, row in zip(factors, rows)]
            message = products[0]
            for product in products[1:]:
                message = vectors.add(message, product)
            at = add(add(i, builder.mul(loop.index, si)), u)
            vectors.store(
                y, at, vectors.add(vectors.load(y, at), vectors.multiply(weight, message))
            )
            if derivatives:
                change = vectors.multiply(message, vectors.load(z, at))
                builder.store(vectors.add(builder.load(total), change), total)
        if derivatives:
            vectors.store(d_w, add(k, u), builder.load(total))

    def _steps(self, start: Any, step: Any, terms: int) -> Iterator[Any]:
        for _ in range(terms):
            yield start
            start = self.builder.add(start, step)


def _block(*kinds: Any) -> tuple[Any, Callable[..., Any]] | None:
    """Type and code of a block whose argument 14, the number of a, is a literal."""
    if not isinstance(kinds[14], types.IntegerLiteral):
        return None
    terms = kinds[14].literal_value

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _Block(context, builder, signature, values).write(terms)
        return context.get_dummy_value()

    return types.void(*kinds), code


def _type_add(_, y, i, si, nb, w, k, g, c, ca, cb, x, o, so, channels, na):  # type: ignore[no-untyped-def]
    return _block(y, i, si, nb, w, k, g, c, ca, cb, x, o, so, channels, na)


def _type_add_back(_, y, i, si, nb, w, k, g, c, ca, cb, x, o, so, channels, na, d_w, z):  # type: ignore[no-untyped-def]
    return _block(y, i, si, nb, w, k, g, c, ca, cb, x, o, so, channels, na, d_w, z)


_add: Callable[..., None] = intrinsic(prefer_literal=True)(_type_add)
"""Add what a few rows of x contribute; see `_Block`."""
_add_back: Callable[..., None] = intrinsic(prefer_literal=True)(_type_add_back)
"""Do the same, and add to d_w[k + u] the sum over b of what w[k + u] multiplies, times z."""


@compile_loop
def send(
    first: int,
    stop: int,
    start_of: Integers,
    sender: Integers,
    row: Integers,
    edge: Integers,
    gamma: Floats,
    weights: Floats,
    x: Floats,
    out: Floats,
    paths: Indices,
) -> None:
    """Add every message to its receiver, for the receivers first <= v < stop.

    out[v, o + a so + u] += w[row, k + u] sum_b gamma[edge, c + a ca + b cb] x[s, i + b si + u]

    Parameters
    ----------
    first, stop : int
        Receivers.
    start_of : array
        [n + 1] the first entry of each receiver in `sender`, `row` and `edge`.
    sender, row, edge : array
        [e] node that sends, row of `weights` and row of `gamma`.
    gamma : array
        [e, …] coupling matrices.
    weights : array
        [r, …] radial weights.
    x, out : array
        [n, …] values of the senders and of the receivers.
    paths : array
        [p, 11] for each path i, si, number of b, o, so, number of a, c, ca, cb, k and the number of
        channels u.
    """
    for v in range(first, stop):
        y = out[v]
        for entry in range(start_of[v], start_of[v + 1]):
            xs, w, g = x[sender[entry]], weights[row[entry]], gamma[edge[entry]]
            for p in range(paths.shape[0]):
                i, si, nb, o, so, na, c, ca, cb, k, channels = paths[p]
                while nb >= _FIVE:
                    _add(y, o, so, na, w, k, g, c, cb, ca, xs, i, si, channels, 5)
                    i, c, nb = i + _FIVE * si, c + _FIVE * cb, nb - _FIVE
                while nb >= _THREE:
                    _add(y, o, so, na, w, k, g, c, cb, ca, xs, i, si, channels, 3)
                    i, c, nb = i + _THREE * si, c + _THREE * cb, nb - _THREE
                while nb >= _ONE:
                    _add(y, o, so, na, w, k, g, c, cb, ca, xs, i, si, channels, 1)
                    i, c, nb = i + si, c + cb, nb - _ONE


@compile_loop
def send_back(
    first: int,
    stop: int,
    start_of: Integers,
    receiver: Integers,
    row: Integers,
    edge: Integers,
    gamma: Floats,
    weights: Floats,
    x: Floats,
    d_out: Floats,
    d_x: Floats,
    d_weights: Floats,
    paths: Indices,
) -> None:
    """Add the derivatives by x and by the weights of what the senders first <= v < stop send.

    d_x[v, i + b si + u] += w[row, k + u] t[b, u] and d_w[row, k + u] += sum_b x[v, i + b si + u]
    t[b, u], where t[b, u] = sum_a gamma[edge, c + a ca + b cb] d_out[receiver, o + a so + u].

    Parameters
    ----------
    first, stop : int
        Senders.
    start_of : array
        [n + 1] the first entry of each sender in `receiver`, `row` and `edge`.
    receiver, row, edge : array
        [e] node that receives, row of `weights` and row of `gamma`.
    gamma, weights, x, paths : array
        As in `send`.
    d_out : array
        [n, …] derivatives by what the nodes receive.
    d_x, d_weights : array
        Results, shaped as `x` and `weights`; zero before.
    """
    for v in range(first, stop):
        z, y = x[v], d_x[v]
        for entry in range(start_of[v], start_of[v + 1]):
            d, g = d_out[receiver[entry]], gamma[edge[entry]]
            w, d_w = weights[row[entry]], d_weights[row[entry]]
            for p in range(paths.shape[0]):
                i, si, nb, o, so, na, c, ca, cb, k, channels = paths[p]
                while na >= _FIVE:
                    _add_back(y, i, si, nb, w, k, g, c, ca, cb, d, o, so, channels, 5, d_w, z)
                    o, c, na = o + _FIVE * so, c + _FIVE * ca, na - _FIVE
                while na >= _THREE:
                    _add_back(y, i, si, nb, w, k, g, c, ca, cb, d, o, so, channels, 3, d_w, z)
                    o, c, na = o + _THREE * so, c + _THREE * ca, na - _THREE
                while na >= _ONE:
                    _add_back(y, i, si, nb, w, k, g, c, ca, cb, d, o, so, channels, 1, d_w, z)
                    o, c, na = o + so, c + ca, na - _ONE
