"""A pydantic error as the one line that a user reads: the key, what was given, what is allowed.

Imports pydantic only.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_type": "a mapping",
    "string_type": "text",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "literal_error": "{expected}",
}
"""What pydantic's types of errors say that a value must be; filled in from the error's context."""


def first_problem(error: ValidationError) -> ErrorDetails:
    """Choose the error to report. An unknown key explains missing ones, so it comes first."""
    details = error.errors(include_url=False)
    return next((d for d in details if d["type"] == "extra_forbidden"), details[0])


def keys_with(error: ValidationError, kind: str) -> list[str]:
    """Name the keys that have an error of pydantic's type `kind`, sorted."""
    details = error.errors(include_url=False)
    return sorted(str(d["loc"][-1]) for d in details if d["type"] == kind and d["loc"])


def describe(problem: ErrorDetails) -> str:
    """Say in one line what is wrong with a value.

    Parameters
    ----------
    problem : ErrorDetails
        Neither a missing nor an unknown key.

    Returns
    -------
    str
        ``sigma must be at least 0, got -1``, or the text of a `ValueError` raised by a validator.
    """
    context: dict[str, Any] = problem.get("ctx", {})
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "too_short":
        return f"{key} must be a list with at least one item"
    if problem["type"] == "value_error":
        text = str(context["error"])
        # Errors of a whole model name their keys themselves; those of one value do not.
        return f"{key} {text}, got {_shown(problem)}" if text.startswith("must be") else text
    if problem["type"] in _EXPECTED:
        expected = _EXPECTED[problem["type"]].format(**context)
    else:
        expected = problem["msg"].removeprefix("Input should be ")
    return f"{key} must be {expected}, got {_shown(problem)}"


def _shown(problem: ErrorDetails) -> str:
    return repr(problem["input"])[:80]
