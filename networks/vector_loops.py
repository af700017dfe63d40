"""Loops over channels as vector instructions, for functions that numba compiles.

LLVM would not vectorize these loops: it cannot know that the arrays do not overlap. Imports numba
and llvmlite only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils

WIDTHS = (16, 8, 1)
"""Channels computed at a time: as many as possible of the first, then of the next."""
_FLAGS = ("contract", "nsz")
"""Multiplications and additions may be fused. Sums keep their order: results are reproducible."""


def compile_loop(function: Callable[..., None]) -> Callable[..., None]:
    """Compile at the first call; keep the result on disk where numba finds a place for it.

    Parameters
    ----------
    function : callable
        Loops over NumPy arrays. It does not hold Python's lock while it runs.
    """
    try:
        compiled: Callable[..., None] = njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # neither this folder nor the user's cache can be written
        compiled = njit(nogil=True, error_model="numpy")(function)
    return compiled


class Vectors:
    """Writes instructions for vectors of one width.

    Parameters
    ----------
    builder : llvmlite.ir.IRBuilder
        Where to write.
    dtype : numba type
        Of the arrays' elements.
    number : llvmlite.ir.Type
        The same, of LLVM.
    width : int
        Elements of a vector.
    """

    def __init__(self, builder: Any, dtype: Any, number: Any, width: int) -> None:
        self.builder, self.width, self.align = builder, width, dtype.bitwidth // 8
        self.type = number if width == 1 else ir.VectorType(number, width)

    def _at(self, array: Any, index: Any) -> Any:
        pointer = self.builder.gep(array, [index])
        return self.builder.bitcast(pointer, self.type.as_pointer())

    def load(self, array: Any, index: Any) -> Any:
        """Load a vector that begins at `index`."""
        return self.builder.load(self._at(array, index), align=self.align)

    def store(self, array: Any, index: Any, value: Any) -> None:
        """Store a vector from `index` on."""
        self.builder.store(value, self._at(array, index), align=self.align)

    def zero(self) -> Any:
        """Return a vector of zeros."""
        return ir.Constant(self.type, None if self.width > 1 else 0.0)

    def fill(self, array: Any, index: Any) -> Any:
        """Load one number into every element."""
        number = self.builder.load(self.builder.gep(array, [index]), align=self.align)
        if self.width == 1:
            return number
        lane = ir.IntType(32)
        first = self.builder.insert_element(ir.Constant(self.type, ir.Undefined), number, lane(0))
        zeros = ir.Constant(ir.VectorType(lane, self.width), [0] * self.width)
        return self.builder.shuffle_vector(first, first, zeros)

    def add(self, a: Any, b: Any) -> Any:
        """Add two vectors."""
        return self.builder.fadd(a, b, flags=_FLAGS)

    def multiply(self, a: Any, b: Any) -> Any:
        """Multiply two vectors element by element."""
        return self.builder.fmul(a, b, flags=_FLAGS)


class ChannelLoops:
    """Writes loops over channels, as many at a time as possible.

    Parameters
    ----------
    context, builder, signature, values
        From numba, for an intrinsic. Arrays among the arguments become pointers, `self.values`.
        The first argument is an array of the elements' type.
    """

    def __init__(self, context: Any, builder: Any, signature: Any, values: Any) -> None:
        self.builder = builder
        self.dtype = signature.args[0].dtype
        self.number = context.get_data_type(self.dtype)
        self.values = [
            context.make_array(kind)(context, builder, value).data
            if isinstance(kind, types.Array)
            else value
            for kind, value in zip(signature.args, values)
        ]

    def over(self, channels: Any) -> Iterator[tuple[Vectors, Any]]:
        """Write loops over all channels; what is written meanwhile becomes a loop's body.

        Yields
        ------
        tuple
            Vectors of one width, and the first channel of a vector.
        """
        builder, index = self.builder, ir.IntType(64)
        first = index(0)
        for width in WIDTHS:
            size = index(width)
            stop = builder.sub(channels, builder.urem(channels, size))
            with cgutils.for_range_slice(builder, first, stop, size, inc=True) as (u, _):
                yield Vectors(builder, self.dtype, self.number, width), u
            first = stop
