"""Products of many small matrices, reusable memory for their results, and chunk sizes.

Imports torch and e3nn only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from e3nn import o3
from torch import Tensor

BlockShapes = tuple[tuple[int, int], ...]
"""(2 l + 1, multiplicity) of each block of node values.

Node values are [n, dim]. Every block is m-major: its 2 l + 1 components one after the other, each
with all channels.
"""

CHUNK_ELEMENTS = {"cpu": 1 << 21, "cuda": 1 << 23}
"""Elements of the largest intermediate result of a chunk. In float32 that is 8 MB and 32 MB, which
fits the last-level cache of a CPU core and of a large GPU."""

SMALL_PRODUCT = 400
"""On a CPU, torch.bmm is slow for matrices whose product takes fewer multiplications than this."""

MAX_UNROLLED_TERMS = 12
"""Such products are computed term by term over the whole batch if they have at most so many."""

MIN_ROWS = 128
"""Fewest rows of a matrix that justify a thread of their own."""


def batched_product(
    a: Tensor, b: Tensor, total: Tensor | None = None, out: Tensor | None = None
) -> Tensor:
    """Multiply many small matrices, whatever their size at a good speed.

    Parameters
    ----------
    a, b : Tensor
        [s, i, j] and [s, j, k].
    total : Tensor, optional
        [s, i, k] to which the products are added, in place.
    out : Tensor, optional
        Contiguous memory for the products. Cannot be combined with `total` or autograd.

    Returns
    -------
    Tensor
        [s, i, k].
    """
    rows, terms, columns = a.shape[1], a.shape[2], b.shape[2]
    is_small = a.device.type == "cpu" and rows * terms * columns < SMALL_PRODUCT
    if terms == 1 or (is_small and terms <= MAX_UNROLLED_TERMS):
        first = 0
        if total is None:
            total, first = torch.mul(a[:, :, :1], b[:, :1], out=out), 1
        for j in range(first, terms):
            total.addcmul_(a[:, :, j : j + 1], b[:, j : j + 1])
        return total
    if total is not None:
        return total.baddbmm_(a, b)
    return torch.bmm(a, b, out=out)


def num_row_parts(num_rows: int, device: torch.device) -> int:
    """Into how many parts to cut the rows of a tall matrix, so that each thread keeps its own.

    Left to itself, the library gives each thread some columns of every product. The threads then
    fetch from one another what the next product needs, and where their cores share no cache that
    takes longer than the products.

    Parameters
    ----------
    num_rows : int
        Rows of the matrix.
    device : torch.device
        Device of the matrix.

    Returns
    -------
    int
        The number of threads on a CPU, if each gets at least `MIN_ROWS` rows; otherwise 1.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    return threads if num_rows >= MIN_ROWS * threads else 1


def max_chunk_elements(device: torch.device) -> int:
    """Look up how many elements the largest intermediate result of a chunk may have.

    Parameters
    ----------
    device : torch.device
        Device of the computation.
    """
    return CHUNK_ELEMENTS["cpu" if device.type == "cpu" else "cuda"]


def add_mm(total: Tensor, a: Tensor, b: Tensor, parts: int) -> None:
    """Add the matrix product a b to `total`, cut by rows.

    Parameters
    ----------
    total : Tensor
        [i, k], changed in place.
    a, b : Tensor
        [i, j] and [j, k].
    parts : int
        Number of parts; divides i.
    """
    if parts == 1:
        total.addmm_(a, b)
    else:
        a_parts = a.view(parts, -1, a.shape[1])
        total.view(parts, -1, b.shape[1]).baddbmm_(a_parts, b.expand(parts, -1, -1))


def add_transposed_mm(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a^T b to `total`, with one partial sum for each part of the rows.

    Parameters
    ----------
    total : Tensor
        [parts, j, k] partial sums, changed in place.
    a, b : Tensor
        [i, j] and [i, k].
    """
    parts = total.shape[0]
    if parts == 1:
        total[0].addmm_(a.t(), b)
    else:
        total.baddbmm_(a.view(parts, -1, a.shape[1]).mT, b.view(parts, -1, b.shape[1]))


@dataclass
class Scratch:
    """Memory for the intermediate results of one chunk, which the next chunk overwrites.

    Fresh memory costs a page fault every 4 kB, which takes as long as filling it. While autograd
    records (a backward pass with create_graph), every result gets fresh memory, because autograd
    keeps it.

    Attributes
    ----------
    memory : dict
        Flat tensors by name; replaced by larger ones when needed.
    views : dict
        Views of these by name and shape.
    """

    memory: dict[str, Tensor] = field(default_factory=dict)
    views: dict[tuple[str, tuple[int, ...]], Tensor] = field(default_factory=dict)

    def mm(self, name: str, a: Tensor, b: Tensor, parts: int = 1) -> Tensor:
        """Multiply two matrices; overwrites the previous result of that name.

        Parameters
        ----------
        name : str
            Name of the result.
        a, b : Tensor
            [i, j] and [j, k].
        parts : int
            Number of parts into which the rows of `a` are cut (`num_row_parts`).

        Returns
        -------
        Tensor
            [i, k].
        """
        if parts > 1:
            a_parts = a.view(parts, -1, a.shape[1])
            return self.bmm(name, a_parts, b.expand(parts, -1, -1)).flatten(0, 1)
        if torch.is_grad_enabled():
            return torch.mm(a, b)
        return torch.mm(a, b, out=self._empty(name, a, a.shape[0], b.shape[1]))

    def bmm(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """Multiply many small matrices; overwrites the previous result of that name.

        Parameters
        ----------
        name : str
            Name of the result.
        a, b : Tensor
            [s, i, j] and [s, j, k].

        Returns
        -------
        Tensor
            [s, i, k].
        """
        if torch.is_grad_enabled():
            return batched_product(a, b)
        shape = (a.shape[0], a.shape[1], b.shape[2])
        return batched_product(a, b, out=self._empty(name, a, *shape))

    def flat(self, name: str, like: Tensor, numel: int) -> Tensor:
        """Provide memory; overwrites the previous result of that name.

        Parameters
        ----------
        name : str
            Name of the result.
        like : Tensor
            Dtype and device.
        numel : int
            Number of elements.

        Returns
        -------
        Tensor
            [numel], not initialized.
        """
        return self._empty(name, like, numel)

    def _empty(self, name: str, like: Tensor, *shape: int) -> Tensor:
        view = self.views.get((name, shape))
        if view is None:
            numel = math.prod(shape)
            flat = self.memory.get(name)
            if flat is None or flat.numel() < numel:
                with torch.inference_mode(False):
                    flat = torch.empty(numel, dtype=like.dtype, device=like.device)
                self.memory[name] = flat
            view = self.views[name, shape] = flat[:numel].view(shape)
        return view


def join(parts: Sequence[Tensor], dim: int) -> Tensor:
    """Concatenate tensors, without a copy if there is only one.

    Parameters
    ----------
    parts : sequence of Tensor
        At least one.
    dim : int
        Dimension along which to concatenate.
    """
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=dim)


def block_shapes(irreps: o3.Irreps) -> BlockShapes:
    """Look up the shape of every block.

    Parameters
    ----------
    irreps : o3.Irreps
        Irreps of node values.
    """
    return tuple((ir.dim, mul) for mul, ir in irreps)


def split_blocks(values: Tensor, shapes: BlockShapes) -> list[Tensor]:
    """Cut node values into blocks.

    Parameters
    ----------
    values : Tensor
        [n, dim].
    shapes : BlockShapes
        Shape of each block.

    Returns
    -------
    list of Tensor
        [n, (2 l + 1) mul] for each block, contiguous.
    """
    return [block.contiguous() for block in values.split([m * mul for m, mul in shapes], dim=1)]
