"""W&B's pictures, animation and table of the latent space.

Imports `records`; W&B where it is used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from latents.metric_keys import logged_metrics
from records.latent_paths import ANIMATION, picture_path
from records.latent_tables import molecule_columns
from records.latents import LatentEpoch

if TYPE_CHECKING:
    import wandb


def log_picture(run: wandb.Run, latent: LatentEpoch, directory: Path) -> None:
    """Log ``latent/umap``; for the best checkpoint also set the summary to its measures.

    Parameters
    ----------
    run : wandb.Run
    latent : LatentEpoch
    directory : Path
        ``<run>/latents``.
    """
    import wandb

    image = wandb.Image(str(picture_path(directory, latent.frame)))
    run.log({"latent/umap": image, "epoch": latent.epoch})
    if latent.is_best:
        run.summary.update(logged_metrics(latent))


def log_results(
    run: wandb.Run, latent: LatentEpoch, table_size: int, structures: Path, directory: Path
) -> None:
    """Log ``latent/molecules`` and, if it was made, ``latent/animation``.

    Parameters
    ----------
    run : wandb.Run
    latent : LatentEpoch
        The final frame.
    table_size : int
        Rows of the table, at most: the first molecules of the set.
    structures : Path
        Directory with the drawings ``0.png``, ``1.png``, … of the molecules.
    directory : Path
        ``<run>/latents``.
    """
    import wandb

    logged: dict[str, Any] = {"epoch": latent.epoch}
    if table_size > 0:
        columns = molecule_columns(latent)
        rows = []
        for row in range(min(table_size, len(latent.error))):
            drawing = structures / f"{row}.png"
            structure = wandb.Image(str(drawing)) if drawing.exists() else None
            values = [float(column[row]) for column in columns.values()]
            idx, smiles = int(latent.molecules.idx[row]), str(latent.molecules.smiles[row])
            rows.append([idx, smiles, structure, *values])
        logged["latent/molecules"] = wandb.Table(["idx", "smiles", "structure", *columns], rows)
    animation = directory / ANIMATION
    if animation.exists():
        logged["latent/animation"] = wandb.Video(str(animation), format="gif")
    run.log(logged)
