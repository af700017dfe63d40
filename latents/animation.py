"""The animated GIF of all epochs' pictures.

Imports NumPy, Matplotlib's colour maps, Pillow and `records`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

from latents.coloring import COLORMAP
from records.files import replacing

MAX_WIDTH = 1400
"""Pixels; larger pictures are shrunk."""
FRAME_MILLISECONDS, LAST_FRAME_MILLISECONDS, LONGEST_ANIMATION = 500, 3000, 20_000
SHORTEST_FRAME = 40


def animate(pictures: Sequence[Path], path: Path) -> None:
    """Join pictures into an animated GIF.

    Each frame is shown for half a second, or shorter so that all but the last take 20 s at most
    (but no shorter than 40 ms); the last frame is shown for 3 s.

    Parameters
    ----------
    pictures : sequence of Path
        PNG files of one size, in order. At least one.
    path : Path
        The GIF.
    """
    palette = _palette()
    frames = (
        _frame(picture).quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures
    )
    each = max(SHORTEST_FRAME, min(FRAME_MILLISECONDS, LONGEST_ANIMATION // len(pictures)))
    durations = [each] * (len(pictures) - 1) + [LAST_FRAME_MILLISECONDS]
    with replacing(path) as temporary:
        next(frames).save(
            temporary,
            format="GIF",
            save_all=True,
            append_images=frames,
            duration=durations,
            loop=0,
            optimize=False,
        )


def _palette() -> Image.Image:
    """Make the colours of all frames: white, greys, and the colour map at full and half strength.

    A palette taken from one picture would tint the background and make it flicker.
    """
    full = colormaps[COLORMAP](np.linspace(0, 1, 104))[:, :3]
    # No grey close to white: Pillow matches colours coarsely and would take it for white.
    greys = np.repeat(np.append(np.linspace(0, 0.9, 47), 1.0)[:, None], 3, axis=1)
    colors = np.concatenate([greys, full, (1 + full) / 2])
    palette = Image.new("P", (1, 1))
    palette.putpalette((255 * colors).round().astype(np.uint8).tobytes())
    return palette


def _frame(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        frame = picture.convert("RGB")
    if frame.width > MAX_WIDTH:
        height = round(frame.height * MAX_WIDTH / frame.width)
        frame = frame.resize((MAX_WIDTH, height), Image.Resampling.LANCZOS)
    return frame
