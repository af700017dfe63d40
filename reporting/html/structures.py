"""Structures of molecules, drawn by RDKit and reduced to the few bytes that a tooltip needs.

Imports RDKit only when it draws, because that takes a second.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT = 320, 240
"""Size of the view box. Coordinates are rounded to whole units, which nobody can see."""
BOND_WIDTH = 3
FONT_SIZE = 30
_PATH = re.compile(r"<path [^>]*?\bd='([^']*)' style='([^']*)'")
_TEXT = re.compile(r"<text x='([^']*)' y='([^']*)'[^>]*?style='([^']*)'[^>]*>([^<]*)</text>")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def draw_all(smiles: Sequence[str]) -> list[str]:
    """Draw molecules.

    Parameters
    ----------
    smiles : sequence of str

    Returns
    -------
    list of str
        Content of an SVG element with the view box ``0 0 WIDTH HEIGHT``, one per molecule; empty
        if RDKit cannot parse the SMILES.
    """
    from rdkit import rdBase

    with rdBase.BlockLogs():
        return [draw(text) for text in smiles]


def draw(smiles: str) -> str:
    """Draw one molecule.

    Parameters
    ----------
    smiles : str

    Returns
    -------
    str
        Content of an SVG element, typically 600 bytes; empty if RDKit cannot parse the SMILES.
    """
    from rdkit import Chem
    from rdkit.Chem.Draw import rdMolDraw2D

    molecule = Chem.MolFromSmiles(smiles)
    if molecule is None or molecule.GetNumAtoms() == 0:
        return ""
    drawer = rdMolDraw2D.MolDraw2DSVG(WIDTH, HEIGHT, -1, -1, True)
    options: Any = drawer.drawOptions()
    options.clearBackground = False
    options.bondLineWidth = BOND_WIDTH
    options.fixedFontSize = FONT_SIZE
    rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
    drawer.FinishDrawing()
    return compact(drawer.GetDrawingText())


def compact(svg: str) -> str:
    """Reduce an SVG file from RDKit to one path per colour and the letters of the atoms.

    Parameters
    ----------
    svg : str
        As written by `MolDraw2DSVG` without FreeType.

    Returns
    -------
    str
        Elements of the drawing. Stroke width and font come from the page's style sheet.
    """
    strokes: dict[str, str] = {}
    fills: dict[str, str] = {}
    for path, style in _PATH.findall(svg):
        stroke, fill = _color(style, "stroke"), _color(style, "fill")
        paths, color = (fills, fill) if fill else (strokes, stroke)
        paths[color] = paths.get(color, "") + _round(path)
    parts = [f'<path d="{d}" stroke="{color}"/>' for color, d in strokes.items()]
    parts += [f'<path class="f" d="{d}" fill="{color}"/>' for color, d in fills.items()]
    for x, y, style, letter in _TEXT.findall(svg):
        color = _color(style, "fill")
        small = "" if f"font-size:{FONT_SIZE}px" in style else ' class="i"'
        parts.append(
            f'<text x="{_round(x)}" y="{_round(y)}" fill="{color}"{small}>{escape(letter)}</text>'
        )
    return "".join(parts)


def _color(style: str, name: str) -> str:
    """Return the colour of a stroke or fill as ``#rgb`` or ``#rrggbb``; empty if it has none."""
    match = re.search(rf"(?:^|;){name}:#([0-9A-Fa-f]{{6}})", style)
    if match is None:
        return ""
    digits = match[1].lower()
    if digits[::2] == digits[1::2]:
        digits = digits[::2]
    return f"#{digits}"


def _round(text: str) -> str:
    rounded = _NUMBER.sub(lambda match: str(round(float(match[0]))), text)
    return re.sub(r"\s*([MLQCZ ])\s*", r"\1", rounded).strip()
