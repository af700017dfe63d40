"""W&B's table of molecules and animation of the latent space.

Imports W&B where it logs, and `latent_files`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from records.latents import LatentEpoch, table_columns


def log_molecules(
    run: Any, latent: LatentEpoch, table_size: int, structures: Path, animation: Path | None
) -> None:
    """Log ``latent/molecules`` and ``latent/animation``.

    Parameters
    ----------
    run : wandb.Run
    latent : LatentEpoch
        The last epoch.
    table_size : int
        Number of molecules in the table, the first ones of the (random) set.
    structures : Path
        Directory with the pictures ``0.png``, ``1.png``, … of their structures.
    animation : Path or None
        GIF.
    """
    import wandb

    logged: dict[str, Any] = {"epoch": latent.epoch}
    if table_size > 0:
        numbers = table_columns(latent)
        rows = []
        for row in range(min(table_size, len(latent.error))):
            picture = structures / f"{row}.png"
            structure = wandb.Image(str(picture)) if picture.exists() else None
            values = [float(column[row]) for column in numbers.values()]
            idx, smiles = int(latent.molecules.idx[row]), str(latent.molecules.smiles[row])
            rows.append([idx, smiles, structure, *values])
        logged["latent/molecules"] = wandb.Table(["idx", "smiles", "structure", *numbers], rows)
    if animation is not None and animation.exists():
        logged["latent/animation"] = wandb.Video(str(animation), format="gif")
    run.log(logged)
