"""Irreps strings, parsed without e3nn, which would import torch.

Imports the standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

Multiplicities = dict[str, int]
"""Number of channels by irrep (``1o``), in order of the degree, even parity before odd."""
_TERM = re.compile(r"\s*(?:(\d+)\s*x\s*)?(\d+)([eo])\s*")


def parse_irreps(text: str) -> Multiplicities:
    """Parse an irreps string.

    Parameters
    ----------
    text : str
        For example ``16x0e+16x1o``. Terms may repeat and come in any order.

    Returns
    -------
    dict of str to int
        Multiplicities above zero, by irrep.

    Raises
    ------
    ValueError
        If the text is not an irreps string.
    """
    found: dict[tuple[int, str], int] = {}
    for term in text.split("+"):
        match = _TERM.fullmatch(term)
        if match is None:
            raise ValueError(f"irreps {text!r} cannot be parsed: write them like 16x0e+16x1o")
        key = (int(match[2]), match[3])
        found[key] = found.get(key, 0) + int(match[1] or 1)
    return {f"{degree}{parity}": mul for (degree, parity), mul in sorted(found.items()) if mul}


def format_irreps(multiplicities: Multiplicities) -> str:
    """Write multiplicities as an irreps string.

    Parameters
    ----------
    multiplicities : dict of str to int
        As returned by `parse_irreps`.

    Returns
    -------
    str
        For example ``16x0e+16x1o``.
    """
    return "+".join(f"{mul}x{irrep}" for irrep, mul in multiplicities.items())


def canonical_irreps(text: str) -> str:
    """Rewrite an irreps string so that equal irreps have equal strings.

    Parameters
    ----------
    text : str
        As `parse_irreps` accepts it.

    Raises
    ------
    ValueError
        If the text is not an irreps string.
    """
    return format_irreps(parse_irreps(text))


def degree_of(irrep: str) -> int:
    """Return the degree l of an irrep such as ``1o``."""
    return int(irrep[:-1])


def without_irrep(irreps: str, irrep: str) -> str:
    """Remove one irrep from an irreps string.

    Parameters
    ----------
    irreps : str
        Canonical irreps.
    irrep : str
        The irrep to remove, for example ``1o``.

    Returns
    -------
    str
        Canonical irreps; empty if nothing is left.
    """
    return format_irreps({key: mul for key, mul in parse_irreps(irreps).items() if key != irrep})


def shortest_labels(sets: Iterable[str]) -> dict[str, str]:
    """Find the shortest labels that tell sets of irreps apart.

    Parameters
    ----------
    sets : iterable of str
        Canonical irreps of each set.

    Returns
    -------
    dict of str to str
        Label of each set: ``0e+1o`` for ``16x0e+16x1o`` if every irrep of every set has the same
        number of channels, otherwise the irreps themselves.
    """
    parsed = {irreps: parse_irreps(irreps) for irreps in sets}
    channels = {mul for multiplicities in parsed.values() for mul in multiplicities.values()}
    if len(channels) > 1:
        return {irreps: irreps for irreps in parsed}
    return {irreps: "+".join(multiplicities) for irreps, multiplicities in parsed.items()}
