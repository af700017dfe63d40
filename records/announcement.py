"""The first line of a program, before the imports that take seconds.

Imports the standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def announce(text: str, arguments: Sequence[str]) -> None:
    """Print a line to standard error, unless the command line asks for help only.

    Parameters
    ----------
    text : str
        What the program is about to do.
    arguments : sequence of str
        Command line without the program.
    """
    asks_for_help = any(
        argument == "-h" or argument.partition("=")[0].endswith(("--help", ".help"))
        for argument in arguments
    )
    # Of several processes that train together, those that the first one has started say nothing.
    if not asks_for_help and os.environ.get("LOCAL_RANK", "0") == "0":
        print(text, file=sys.stderr, flush=True)
