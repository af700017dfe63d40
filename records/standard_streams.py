"""Standard output and error that never end a program, whatever became of them.

A job may start with closed streams, its reader may go away (``| head -1``), its terminal may hang
up, the disk of its log may fill up, its locale may lack a character. None of that says anything of
the work. Imports the standard library only.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

LOST = (errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET)
"""Errors after which nobody will ever read the stream."""


def make_standard_streams_safe() -> None:
    """Let output that cannot be written be lost instead of raising an exception.

    Closed streams become ``/dev/null``, so that no file that is opened later takes their place and
    receives what a library or a child process prints. What an encoding lacks is escaped. Streams
    that somebody has redirected within Python stay as they are.
    """
    _open_closed_descriptors()
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115
    if sys.stdout is sys.__stdout__:
        sys.stdout = _safe(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _safe(sys.stderr, 2)


def _open_closed_descriptors() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free descriptor is taken, which is this one, as those below are open.
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(descriptor, True)


def _safe(stream: TextIO | None, descriptor: int) -> TextIO:
    """Build a stream of the same form that loses what cannot be written."""
    raw = _LossyOutput(descriptor)
    if not isinstance(stream, io.TextIOWrapper):  # closed when Python started
        return io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)
    stream.flush()
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        stream.encoding,
        "backslashreplace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _LossyOutput(io.RawIOBase):
    """Writes to a descriptor; what it does not accept is lost.

    Parameters
    ----------
    descriptor : int
        Of an open file, which stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.name = {1: "<stdout>", 2: "<stderr>"}.get(descriptor, str(descriptor))

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, text: ReadableBuffer) -> int:
        """Write everything, waiting where a descriptor does not block, or lose it.

        Parameters
        ----------
        text : bytes
            Encoded text.
        """
        left = memoryview(text).cast("B")
        size = len(left)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError as error:
                if error.errno in LOST:
                    self._discard_from_now_on()
                break
        return size

    def _discard_from_now_on(self) -> None:
        """Let child processes, and libraries that write on their own, lose their output, too."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._descriptor)
        os.close(null)
