"""Tables inside a document: each stands between a comment with its command and an end mark.

Imports the standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_BLOCK = re.compile(
    r"(?P<start><!-- python -m benchmarks\.study (?P<name>\w+) -->\n)"
    r"(?P<table>.*?)(?P<end><!-- end -->)",
    re.DOTALL,
)


def updated(text: str, tables: Mapping[str, str]) -> str:
    """Put tables into a document.

    Parameters
    ----------
    text : str
        Markdown with blocks from ``<!-- python -m benchmarks.study NAME -->`` to ``<!-- end -->``.
    tables : mapping of str to str
        By name.

    Returns
    -------
    str
        The document with the content of every block replaced.

    Raises
    ------
    ValueError
        If the document has a block without a table.
    """

    def replace(block: re.Match[str]) -> str:
        name = block["name"]
        if name not in tables:
            raise ValueError(f"there is no table {name!r}: choose one of {', '.join(tables)}")
        return f"{block['start']}\n{tables[name]}\n\n{block['end']}"

    return _BLOCK.sub(replace, text)
