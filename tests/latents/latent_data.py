"""What the tests of `LatentUMAP` share: molecules with SMILES, trainers, and a quick worker."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import psutil
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from callbacks.latent_umap import LatentUMAP
from lightning_modules.regressor import EquivariantRegressor
from tests.callbacks.synthetic import SyntheticMolecules

SMILES = ["CC", "C#C", "CCO", "C1CC1", "CC(O)C#N", "c1ccccc1", "not a molecule", "CC(C)(C)C"]
QUICK_WORKER = (sys.executable, str(Path(__file__).with_name("quick_worker.py")))
BLOCKS = ("all", "0e", "1o")


class NamedMolecules(SyntheticMolecules):
    """Synthetic molecules with SMILES, batches in the same order in every run."""

    def __init__(self) -> None:
        super().__init__(train=32, val=40)

    def smiles(self, index: int) -> str:
        return SMILES[index % len(SMILES)]

    def train_dataloader(self) -> Any:
        return DataLoader(self._batches("train"), batch_size=None)  # type: ignore[arg-type]


def small_model(seed: int = 0, **options: Any) -> EquivariantRegressor:
    torch.manual_seed(seed)
    settings = {"irreps": "4x0e+3x1o", "num_layers": 2, "embedding_dim": 4, **options}
    return EquivariantRegressor(**settings)


def small_latents(**options: Any) -> LatentUMAP:
    return LatentUMAP(**{"n_neighbors": 6, "num_molecules": 32, "dpi": 50, **options})


def trainer(root: Path, callbacks: list[Any], epochs: int = 2, **options: Any) -> Trainer:
    defaults = {
        "accelerator": "cpu",
        "max_epochs": epochs,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "log_every_n_steps": 1,
    }
    return Trainer(default_root_dir=root, callbacks=callbacks, **{**defaults, **options})


def workers() -> list[int]:
    """Worker processes of this process that are still running."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            line = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if "latents.worker" in line or "quick_worker" in line:
            found.append(child.pid)
    return found
