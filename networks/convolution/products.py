"""Products of many small matrices, memory for their results, and the cut into blocks.

Imports torch only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

Shapes = tuple[tuple[int, int], ...]
CHUNK_NUMBERS = {"cpu": 1 << 21, "cuda": 1 << 23}
"""Numbers in the largest intermediate result of a chunk (8 and 32 MB in float32: they stay in the
last cache of a CPU core and of a large GPU)."""


SMALL, LONGEST = 400, 12
"""torch.bmm multiplies items of fewer than 400 multiplications one number at a time on a CPU;
sums of up to 12 terms go faster one term after the other, over all items at once."""

MIN_ROWS = 128
"""Fewest rows of a matrix that are worth a thread of their own."""


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
        Contiguous memory for the products; not together with `total`, nor under autograd.

    Returns
    -------
    Tensor
        [s, i, k].
    """
    rows, terms, columns = a.shape[1], a.shape[2], b.shape[2]
    small = a.device.type == "cpu" and rows * terms * columns < SMALL
    if terms == 1 or (small and terms <= LONGEST):
        done = 0
        if total is None:
            total, done = torch.mul(a[:, :, :1], b[:, :1], out=out), 1
        for j in range(done, terms):
            total.addcmul_(a[:, :, j : j + 1], b[:, j : j + 1])
        return total
    if total is not None:
        return total.baddbmm_(a, b)
    return torch.bmm(a, b, out=out)


def parts_of(num_rows: int, device: torch.device) -> int:
    """Into how many parts to cut the rows of tall matrices, so that each thread keeps its own.

    Threads that share every product, each a part of its columns, have to fetch from one another
    what the next product needs; where their cores share no cache, that takes longer than the
    products.

    Parameters
    ----------
    num_rows : int
        Rows.
    device : torch.device
        Where.

    Returns
    -------
    int
        The number of threads on a CPU, if that leaves enough rows to each; otherwise 1.
    """
    threads = torch.get_num_threads() if device.type == "cpu" else 1
    return threads if num_rows >= MIN_ROWS * threads else 1


def chunk_numbers(device: torch.device) -> int:
    """Numbers that the largest intermediate result of a chunk may have.

    Parameters
    ----------
    device : torch.device
        Where.

    Returns
    -------
    int
    """
    return CHUNK_NUMBERS["cpu" if device.type == "cpu" else "cuda"]


def add_mm(total: Tensor, a: Tensor, b: Tensor, parts: int) -> None:
    """Add a product of matrices, cut by rows.

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
    """Add a^T b, the rows summed over in parts.

    Parameters
    ----------
    total : Tensor
        [parts, j, k], one sum for each part, changed in place.
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
    """Memory for the intermediate results of one chunk, used again by the next one.

    Fresh memory costs a page fault every 4 kB, which is as slow as filling it. Where autograd
    records (a backward pass with create_graph) it keeps every result, and they get fresh memory.

    Attributes
    ----------
    memory : dict
        Flat tensors by name; replaced by larger ones when needed.
    views : dict
        Those of all shapes asked for so far.
    """

    memory: dict[str, Tensor] = field(default_factory=dict)
    views: dict[tuple[str, tuple[int, ...]], Tensor] = field(default_factory=dict)

    def mm(self, name: str, a: Tensor, b: Tensor, parts: int = 1) -> Tensor:
        """Product of matrices; overwrites the last one of that name.

        Parameters
        ----------
        name : str
            What it is for.
        a, b : Tensor
            [i, j] and [j, k].
        parts : int
            Cut the rows of `a` into so many (`parts_of`).

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
        """Products of matrices; overwrites the last ones of that name.

        Parameters
        ----------
        name : str
            What they are for.
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

    def _empty(self, name: str, like: Tensor, *shape: int) -> Tensor:
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


def join(parts: Sequence[Tensor], dim: int) -> Tensor:
    """Concatenate, without a copy where there is only one.

    Parameters
    ----------
    parts : sequence of Tensor
        At least one.
    dim : int
        Along which dimension.

    Returns
    -------
    Tensor
    """
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=dim)


def split_blocks(values: Tensor, shapes: Shapes) -> list[Tensor]:
    """Cut node values into blocks.

    Parameters
    ----------
    values : Tensor
        [n, dim].
    shapes : tuple of (int, int)
        (2 l + 1, multiplicity) of each block.

    Returns
    -------
    list of Tensor
        [n, (2 l + 1) mul], each contiguous.
    """
    return [block.contiguous() for block in values.split([m * mul for m, mul in shapes], dim=1)]
