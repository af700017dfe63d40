"""Errors that the user can act on, and how the program ends with one.

Imports the standard library only.
"""

from __future__ import annotations

import sys
from typing import NoReturn

USAGE_ERROR = 2
"""Exit code for unusable input, as command-line programs have it."""
FAILED = 1
"""Exit code of a run that failed."""


class UsageError(Exception):
    """Something that the user gave cannot be used; the message says what it is and what to do."""


def one_line(error: BaseException) -> str:
    """Put an error's message on one line.

    Parameters
    ----------
    error : BaseException
        Any error.

    Returns
    -------
    str
        Its message, or the name of its type if it has none.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror and not error.filename:
        text = error.strerror  # without the error number that Python puts before it
    return " ".join(text.split()) or type(error).__name__


def fail(message: str) -> NoReturn:
    """Print an error and end the program with `USAGE_ERROR`.

    Parameters
    ----------
    message : str
        One line.
    """
    print(f"error: {message}", file=sys.stderr)
    sys.exit(USAGE_ERROR)
