"""SIGTERM, SIGUSR1 and Ctrl-C as one exception that ends a run cleanly at any moment.

Imports the standard library only.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequestedError(BaseException):
    """The process was asked to stop.

    It is a `BaseException`, so that no handler of ordinary errors catches it.

    Parameters
    ----------
    signum : int
        Number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, which shells and W&B's agents expect."""
        return 128 + self.signum


class StopSignals:
    """Turn the first SIGTERM, SIGUSR1 or SIGINT into a `StopRequestedError`, and ignore later ones.

    SIGUSR1, which clusters send ahead of a time limit, counts as SIGTERM.

    Attributes
    ----------
    by_server : bool
        Whether W&B's server asked for the stop. Such a run must not be requeued.
    """

    def __init__(self) -> None:
        self.by_server = False
        self._deferring = False
        self._received: int | None = None
        self._longest_wait: float | None = None

    def install(self) -> None:
        """Handle these signals from now on. Must be called in the main thread."""
        for signum in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(signum, self._handle)

    def stop_by_server(self) -> None:
        """Stop the run from any thread, because W&B says so (early termination, or a click)."""
        self.by_server = True
        os.kill(os.getpid(), signal.SIGINT)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._received is not None:
            return
        self._received = signal.SIGTERM if signum == signal.SIGUSR1 else signum
        if not self._deferring:
            raise StopRequestedError(self._received)
        if self._longest_wait is not None:
            signal.signal(signal.SIGALRM, self._give_up_waiting)
            signal.setitimer(signal.ITIMER_REAL, self._longest_wait)

    def _give_up_waiting(self, signum: int, frame: FrameType | None) -> None:
        if self._deferring and self._received is not None:
            raise StopRequestedError(self._received)

    @contextmanager
    def deferred(self, longest_wait: float | None = None) -> Iterator[None]:
        """Let a block finish before a stop: a checkpoint and the row of metrics that belongs to it.

        Parameters
        ----------
        longest_wait : float, optional
            Seconds after which a stop interrupts the block all the same.

        Raises
        ------
        StopRequestedError
            After the block, if a signal arrived during it; in it, after `longest_wait`.
        """
        before = self._received
        self._deferring, self._longest_wait = True, longest_wait
        try:
            yield
        finally:
            self._deferring = False
            if longest_wait is not None:
                signal.setitimer(signal.ITIMER_REAL, 0.0)
        if before is None and self._received is not None:
            raise StopRequestedError(self._received)
