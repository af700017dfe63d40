"""What `prune.py` and `probe.py` share: their command lines' errors, stops and exit codes.

Imports the standard library, `records` and this package only: these programs say their first word
before torch is imported.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from records.user_folders import prepare_user_folders
from runtime.errors import FAILED, USAGE_ERROR
from runtime.quiet import quiet_libraries
from runtime.signals import StopRequestedError, StopSignals
from runtime.threads import leave_a_core


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are `ValueError`s of one line."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage.

        Raises
        ------
        ValueError
            Always; says which option is wrong.
        """
        raise ValueError(f"{' '.join(message.split())}; see python {self.prog} --help")


def run_examination(
    parse: Callable[[Sequence[str] | None], argparse.Namespace],
    examine: Callable[[argparse.Namespace], None],
    arguments: Sequence[str] | None,
    stopped: str,
) -> int:
    """Parse a command line and do what it asks for.

    Parameters
    ----------
    parse : callable
        Command line to options.
    examine : callable
        Does the work. What takes seconds to import is imported by it.
    arguments : sequence of str, optional
        Without the program; those of the process by default.
    stopped : str
        Line that is printed if a signal ends the work.

    Returns
    -------
    int
        0 if done, 1 for a failure, 2 for unusable input, 128 + signal when stopped.
    """
    quiet_libraries()
    leave_a_core()
    signals = StopSignals()
    signals.install()
    try:
        given = parse(arguments)
        if note := prepare_user_folders():
            print(note, file=sys.stderr)
        examine(given)
    except StopRequestedError as stop:
        print(stopped, file=sys.stderr)
        return stop.exit_code
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return USAGE_ERROR if isinstance(error, ValueError) else FAILED
    return 0
