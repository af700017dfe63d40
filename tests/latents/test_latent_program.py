"""`LatentUMAP` in train.py on real QM9: SIGTERM, the same command again, every picture there."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rdkit.Chem import MolFromSmiles

from callbacks.throughput import Throughput
from latents import client as umap_client
from records.latent_paths import BEST, epoch_path, epochs_in, final_frame, pending_frames
from records.latents import read_epoch
from records.metrics import read_metrics
from tests.latents.latent_data import QUICK_WORKER, workers
from tests.programs import run_train

TINY = [
    "--run_name=tiny",
    "--model.irreps=4x0e+4x1o",
    "--model.num_layers=3",
    "--model.embedding_dim=8",
    "--data.train_size=64",
    "--data.val_size=40",
    "--data.test_size=20",
    "--trainer.max_epochs=3",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--utilization.enabled=false",
    "--latent.num_molecules=40",
    "--latent.color_by=error",
    "--latent.dpi=50",
    "--latent.table_size=4",
]


@pytest.mark.usefixtures("prepared_qm9")
def test_a_preempted_run_ends_without_orphan_and_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(umap_client, "WORKER", QUICK_WORKER)
    command = [*TINY, f"--runs_dir={tmp_path}"]

    def stop(self: Throughput, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Throughput, "on_train_epoch_start", stop)
        code, output = run_train(command)
    assert code == 143, output
    assert workers() == []
    code, output = run_train(command)
    assert code == 0, output
    assert workers() == []
    latents = tmp_path / "tiny" / "latents"
    assert epochs_in(latents) == epochs_in(latents, suffix=".png") == [-1, 0, 1, 2]
    assert pending_frames(latents) == []
    assert final_frame(latents) == BEST
    rows = read_metrics(tmp_path / "tiny" / "metrics.csv")
    for epoch in (-1, 0, 1, 2):
        latent = read_epoch(epoch_path(latents, epoch))
        key = "knn_r2_composition_free"
        assert rows[epoch][f"latent/1o/{key}"] == latent.metrics["1o"][key].value
        assert latent.error.mean() > 0
    assert np.isfinite(latent.spatial_score).all()
    assert all(MolFromSmiles(str(smiles)) is not None for smiles in latent.molecules.smiles)
