"""Colours and markers, told apart without colour vision and on paper.

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
"""Okabe and Ito's, and Paul Tol's muted ones, without those too pale on white."""
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
"""From nothing to much; also readable in grey."""


def color(number: int) -> str:
    """Colour of the set with this number."""
    return COLORS[number % len(COLORS)]


def symbol(number: int) -> str:
    """Marker of the set with this number; differs from the last one of the same colour."""
    return SYMBOLS[(number + number // len(COLORS)) % len(SYMBOLS)]


def dash(number: int) -> str:
    """Line style of the set with this number."""
    return DASHES[number // len(COLORS) % len(DASHES)]


def transparent(number: int, alpha: float) -> str:
    """Give the colour of the set with this number as ``rgba(...)``."""
    text = color(number)
    red, green, blue = (int(text[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
