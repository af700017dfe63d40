"""Irreps strings as keys and labels, without importing e3nn (which imports torch).

Imports the standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Multiplicities = dict[str, int]
"""Irrep name (``1o``) to the number of its channels, by rising degree, even parity first."""
_TERM = re.compile(r"\s*(?:(\d+)\s*x\s*)?(\d+)([eo])\s*")


def parse(text: str) -> Multiplicities:
    """Read an irreps string.

    Parameters
    ----------
    text : str
        e.g. ``16x0e+16x1o``; terms may repeat and stand in any order.

    Returns
    -------
    dict of str to int
        Multiplicity of each irrep that has one.

    Raises
    ------
    ValueError
        If the string is no irreps string.
    """
    found: dict[tuple[int, str], int] = {}
    for term in text.split("+"):
        match = _TERM.fullmatch(term)
        if match is None:
            raise ValueError(f"irreps {text!r} cannot be parsed: write them like 16x0e+16x1o")
        key = (int(match[2]), match[3])
        found[key] = found.get(key, 0) + int(match[1] or 1)
    return {f"{degree}{parity}": mul for (degree, parity), mul in sorted(found.items()) if mul}


def spell(multiplicities: Multiplicities) -> str:
    """Write multiplicities as an irreps string.

    Parameters
    ----------
    multiplicities : dict of str to int
        From `parse`.

    Returns
    -------
    str
        ``16x0e+16x1o``.
    """
    return "+".join(f"{mul}x{name}" for name, mul in multiplicities.items())


def degree(name: str) -> int:
    """Degree of an irrep.

    Parameters
    ----------
    name : str
        e.g. ``1o``.

    Returns
    -------
    int
    """
    return int(name[:-1])


def without(irreps: str, name: str) -> str:
    """Leave one irrep out.

    Parameters
    ----------
    irreps : str
        Canonical irreps.
    name : str
        Irrep, e.g. ``1o``.

    Returns
    -------
    str
        Canonical irreps; empty if nothing is left.
    """
    return spell({key: mul for key, mul in parse(irreps).items() if key != name})


def labels(irreps: Iterable[str]) -> dict[str, str]:
    """Shortest labels that tell sets of irreps apart.

    Parameters
    ----------
    irreps : iterable of str
        Canonical irreps.

    Returns
    -------
    dict of str to str
        ``16x0e+16x1o`` to ``0e+1o`` if every irrep of every set has the same number of channels,
        otherwise to itself.
    """
    parsed = {text: parse(text) for text in irreps}
    channels = {mul for multiplicities in parsed.values() for mul in multiplicities.values()}
    if len(channels) > 1:
        return {text: text for text in parsed}
    return {text: "+".join(multiplicities) for text, multiplicities in parsed.items()}
