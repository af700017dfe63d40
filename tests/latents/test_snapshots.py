"""Snapshots of networks that predict vectors hold norms, and errors of the vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latents.coloring import coloring
from latents.snapshots import Snapshots
from records.latents import (
    LatentEpoch,
    Settings,
    Snapshot,
    read_snapshot,
    write_snapshot,
)
from tests.analysis.molecules import random_molecules
from tests.networks.variants import small_network

COUNT, FACTOR = 12, 1000.0


def settings(**more: Any) -> Settings:
    return Settings("dipole", "D", "mD", FACTOR, "3x0e+2x1o", 1, rank=1, **more)


def snapshots_and_target() -> tuple[Snapshots, Tensor, Any]:
    batch = random_molecules(COUNT, dtype=torch.float64)
    batch.y = torch.randn(COUNT, 3, generator=torch.Generator().manual_seed(1)).double()
    return Snapshots(torch.arange(COUNT), ["C"] * COUNT, [batch]), batch.y, batch


def taken() -> tuple[Snapshot, Tensor, Tensor]:
    network = small_network("convnet, fast", "3x0e+2x1o", num_layers=2, irreps_readout="1o")
    snapshots, y, batch = snapshots_and_target()
    snapshot = snapshots.take(network, lambda p, _: p * FACTOR, 0, 3, 7, reporting_factor=FACTOR)
    with torch.no_grad():
        return snapshot, network(batch), y


def test_predictions_are_norms_and_errors_are_norms_of_deviations() -> None:
    snapshot, prediction, y = taken()
    np.testing.assert_allclose(snapshot.prediction, prediction.norm(dim=1) * FACTOR)
    assert snapshot.error is not None
    np.testing.assert_allclose(snapshot.error, (prediction - y).norm(dim=1) * FACTOR)
    molecules = snapshots_and_target()[0].molecules(settings())
    np.testing.assert_allclose(molecules.target, y.norm(dim=1) * FACTOR)


def test_errors_are_kept_and_files_without_them_are_read(tmp_path: Path) -> None:
    snapshot, _, _ = taken()
    write_snapshot(tmp_path, snapshot)
    np.testing.assert_array_equal(read_snapshot(tmp_path, 3).error, snapshot.error)
    write_snapshot(tmp_path, Snapshot(3, 7, snapshot.blocks, snapshot.prediction))
    assert read_snapshot(tmp_path, 3).error is None


def test_colours_are_named_after_the_norm() -> None:
    snapshot, _, _ = taken()
    labels = []
    for color_by in ("target", "composition_free", "error"):
        molecules = snapshots_and_target()[0].molecules(settings(color_by=color_by))
        zero = np.zeros(COUNT)
        latent = LatentEpoch(
            3, 7, molecules, snapshot.prediction, snapshot.prediction, zero, zero, {}, {}, {}, {}
        )
        labels.append(coloring(latent, latent).label)
    assert labels == [
        "norm of dipole (mD)",
        "norm of dipole without composition (mD)",
        "norm of the error of dipole (mD)",
    ]
