"""The pictures, the animation and the table of the latent space for W&B.

Imports `records` only.
"""

from __future__ import annotations

from pathlib import Path

from records.latent_paths import ANIMATION, picture_path
from records.latent_tables import molecule_columns
from records.latents import LatentEpoch
from records.wandb_media import Animation, Drawing, Media, Picture, Table


def picture_of(latent: LatentEpoch, directory: Path) -> dict[str, Media]:
    """Build ``latent/umap``.

    Parameters
    ----------
    latent : LatentEpoch
        A frame.
    directory : Path
        ``<run>/latents``.
    """
    return {"latent/umap": Picture(picture_path(directory, latent.frame))}


def results_of(
    latent: LatentEpoch, table_size: int, structures: Path, directory: Path
) -> dict[str, Media]:
    """Build ``latent/molecules`` and, if it was made, ``latent/animation``.

    Parameters
    ----------
    latent : LatentEpoch
        The final frame.
    table_size : int
        Rows of the table, at most: the first molecules of the set.
    structures : Path
        Directory with the drawings ``0.png``, ``1.png``, … of the molecules.
    directory : Path
        ``<run>/latents``.
    """
    results: dict[str, Media] = {}
    if table_size > 0:
        columns = molecule_columns(latent)
        rows = []
        for row in range(min(table_size, len(latent.error))):
            drawing = structures / f"{row}.png"
            structure = Drawing(drawing.read_bytes()) if drawing.exists() else None
            values = [float(column[row]) for column in columns.values()]
            idx, smiles = int(latent.molecules.idx[row]), str(latent.molecules.smiles[row])
            rows.append([idx, smiles, structure, *values])
        results["latent/molecules"] = Table(["idx", "smiles", "structure", *columns], rows)
    animation = directory / ANIMATION
    if animation.exists():
        results["latent/animation"] = Animation(animation)
    return results
