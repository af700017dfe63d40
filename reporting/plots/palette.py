"""Colours, markers and dashes that stay distinguishable without colour vision and in print.

Imports nothing.
"""

from __future__ import annotations

COLORS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#aa4499",
    "#b8860b",
    "#56b4e9",
    "#332288",
    "#882255",
    "#44aa99",
    "#666666",
)
"""Colours of Okabe and Ito, and muted ones of Paul Tol, without those too pale on white."""
SYMBOLS = (
    "circle",
    "square",
    "diamond",
    "triangle-up",
    "triangle-down",
    "cross",
    "x",
    "star",
    "pentagon",
    "hexagon",
)
DASHES = ("solid", "dash", "dot", "dashdot")
SEQUENTIAL = ("#f7fbff", "#d3e4f3", "#9fcae1", "#5aa2cf", "#2171b5", "#083572")
"""Colours from the smallest to the largest value; their order is visible in grey, too."""


def sequential(position: float) -> str:
    """Return the colour at a position of the scale between the colours of `SEQUENTIAL`.

    Parameters
    ----------
    position : float
        From 0 to 1.

    Returns
    -------
    str
        ``#rrggbb``, interpolated linearly as a plot does it.
    """
    last = len(SEQUENTIAL) - 1
    step = min(int(position * last), last - 1)
    share = position * last - step
    ends = (SEQUENTIAL[step], SEQUENTIAL[step + 1])
    pairs = [[int(end[start : start + 2], 16) for end in ends] for start in (1, 3, 5)]
    return "#" + "".join(f"{round(low + share * (high - low)):02x}" for low, high in pairs)


def color(number: int) -> str:
    """Return the colour of the set with this number."""
    return COLORS[number % len(COLORS)]


def symbol(number: int) -> str:
    """Return the marker of the set with this number. Sets of the same colour have other markers."""
    return SYMBOLS[(number + number // len(COLORS)) % len(SYMBOLS)]


def dash(number: int) -> str:
    """Return the line style of the set with this number."""
    return DASHES[number // len(COLORS) % len(DASHES)]


def transparent(number: int, alpha: float) -> str:
    """Return the colour of the set with this number as ``rgba(...)``."""
    text = color(number)
    red, green, blue = (int(text[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
