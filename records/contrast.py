"""Text that can be read on a colour, by the contrast ratio of the WCAG.

Imports nothing. It stands here because pictures of runs and the report share it.
"""

from __future__ import annotations

BLACK, WHITE = "#000000", "#ffffff"


def relative_luminance(color: str) -> float:
    """Return the relative luminance of a colour, from 0 (black) to 1 (white).

    Parameters
    ----------
    color : str
        ``#rrggbb``.

    Returns
    -------
    float
        As defined in WCAG 2.2, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance.
    """
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours, from 1 (equal) to 21 (black and white).

    Parameters
    ----------
    one, other : str
        ``#rrggbb``.
    """
    low, high = sorted(relative_luminance(color) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


def readable_on(color: str) -> str:
    """Return black or white, whichever contrasts more; the ratio is at least 4.58.

    Parameters
    ----------
    color : str
        ``#rrggbb`` of the background.
    """
    return max((BLACK, WHITE), key=lambda text: contrast(text, color))
