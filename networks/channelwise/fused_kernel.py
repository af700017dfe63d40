"""Loops over edges that form no message: compiled for the CPU by numba, at their first use.

Imports NumPy and numba only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[Any]
Integers = NDArray[np.int64]
Indices = NDArray[np.uint64]

# Fused multiply-adds are allowed; sums keep their order, so results are reproducible. All indices
# within a row are unsigned: numba checks signed ones for being negative, and then the loops over
# channels are not vectorized.
_compile = njit(cache=True, nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")


@_compile
def _add(
    y: Floats,
    to: np.uint64,
    factor: Floats,
    at: np.uint64,
    g: Floats,
    c: np.uint64,
    step_c: np.uint64,
    x: Floats,
    i: np.uint64,
    step: np.uint64,
    terms: np.uint64,
    channels: np.uint64,
) -> None:
    """Add factor[at + u] sum_b g[c + b step_c] x[i + b step + u] to y[to + u].

    The usual numbers of terms, 2 l + 1 up to l = 2, are summed before they are added.
    """
    if terms == 3:
        g0, g1, g2 = g[c], g[c + step_c], g[c + step_c + step_c]
        i1 = i + step
        i2 = i1 + step
        for u in range(channels):
            y[to + u] += factor[at + u] * (g0 * x[i + u] + g1 * x[i1 + u] + g2 * x[i2 + u])
    elif terms == 5:
        c2 = c + step_c + step_c
        g0, g1, g2, g3, g4 = g[c], g[c + step_c], g[c2], g[c2 + step_c], g[c2 + step_c + step_c]
        i1 = i + step
        i2 = i1 + step
        i3 = i2 + step
        i4 = i3 + step
        for u in range(channels):
            total = g0 * x[i + u] + g1 * x[i1 + u] + g2 * x[i2 + u]
            y[to + u] += factor[at + u] * (total + g3 * x[i3 + u] + g4 * x[i4 + u])
    else:
        for _ in range(terms):
            g0 = g[c]
            for u in range(channels):
                y[to + u] += factor[at + u] * (g0 * x[i + u])
            c += step_c
            i += step


@_compile
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
                i, si, nb, to, so, na, c, ca, cb, k, channels = paths[p]
                for _ in range(na):
                    _add(y, to, w, k, g, c, cb, xs, i, si, nb, channels)
                    to += so
                    c += ca


@_compile
def weigh(
    first: int,
    stop: int,
    edges_of_row: Integers,
    source: Integers,
    target: Integers,
    gamma: Floats,
    x: Floats,
    d_out: Floats,
    d_weights: Floats,
    paths: Indices,
) -> None:
    """Compute the derivatives by the radial weights, for the rows first <= r < stop.

    d_w[r, k + u] = sum over edges of r, a, b of d_out[t, o + a so + u] gamma[…] x[s, i + b si + u]

    Parameters
    ----------
    first, stop : int
        Rows.
    edges_of_row : array
        [r, 1 or 2] edges that share a row of weights.
    source, target : array
        [e] nodes.
    gamma, x : array
        As in `send`.
    d_out : array
        [n, …] derivatives by what the targets receive.
    d_weights : array
        [r, …] result; zero before.
    paths : array
        As in `send`.
    """
    for r in range(first, stop):
        y = d_weights[r]
        for e in edges_of_row[r]:
            xs, d, g = x[source[e]], d_out[target[e]], gamma[e]
            for p in range(paths.shape[0]):
                i, si, nb, o, so, na, c, ca, cb, k, channels = paths[p]
                for _ in range(na):
                    _add(y, k, d, o, g, c, cb, xs, i, si, nb, channels)
                    o += so
                    c += ca
