"""One spelling for all that e3nn's notation has for the same irreps.

Imports the standard library only.
"""

from __future__ import annotations

import re

_TERM = re.compile(r"(?:(\d+)\s*x\s*)?(\d+)([eoy])")


def canonical_irreps(text: str) -> str:
    """Spell irreps as the network does: sorted, equal irreps merged, no spaces.

    Parameters
    ----------
    text : str
        e3nn's notation, e.g. ``8x1o + 8x0e``.

    Returns
    -------
    str
        For example ``8x0e+8x1o``. Text that is not in this notation comes back unchanged.
    """
    multiplicities: dict[tuple[int, bool], int] = {}
    for term in text.split("+"):
        found = _TERM.fullmatch(term.strip())
        if found is None:
            return text
        degree = int(found[2])
        even = found[3] == "e" or (found[3] == "y" and degree % 2 == 0)
        key = (degree, even)  # odd parity first, as in e3nn
        multiplicities[key] = multiplicities.get(key, 0) + int(found[1] or 1)
    return "+".join(
        f"{mul}x{degree}{'e' if even else 'o'}"
        for (degree, even), mul in sorted(multiplicities.items())
    )
