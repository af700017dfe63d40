"""What W&B gets of a run: a few keys, and the files that a report needs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from records.run_files import REPORTED_FILES
from records.wandb_files import read_wandb_file

ROOT = Path(__file__).parent.parent.parent
MOST_KEYS = 80
OPTIONS = (
    "--model.irreps=1x0e+1x1o+1x2e+1x3o+1x4e+1x5o+1x6e",
    "--model.num_layers=5",
    "--model.radial_hidden=4",
    "--data.train_size=8",
    "--data.val_size=40",
    "--data.test_size=8",
    "--data.batch_size=8",
    "--trainer.max_epochs=1",
    "--latent.num_molecules=20",
    "--utilization.num_molecules=8",
    "--utilization.num_bootstrap=10",
    "--utilization.heatmap=false",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Train l = 0 to 6 with five layers for one epoch, offline; also return what was printed."""
    folder = tmp_path_factory.mktemp("keys")
    done = subprocess.run(
        [sys.executable, "train.py", *OPTIONS, f"--runs_dir={folder}"],
        cwd=ROOT,
        env={**os.environ, "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = (entry for entry in folder.iterdir() if entry.is_dir())
    return path, done.stdout + done.stderr


def offline_folder(path: Path) -> Path:
    (folder,) = (path / "wandb").glob("offline-run-*")
    return folder


def test_a_run_of_seven_degrees_and_five_layers_has_at_most_80_keys(run):
    path, _ = run
    (file,) = offline_folder(path).glob("*.wandb")
    logged = set().union(*(row.keys for row in read_wandb_file(file).rows))
    added_at_the_end = set(json.loads((path / "summary.json").read_text()))
    results = {key for key in added_at_the_end if "/" in key}
    keys = {key for key in logged | results if not key.startswith("_")}
    assert {"val/mae", "test/mae", "latent/umap", "utilization/table"} <= keys
    assert sum(key.startswith("utilization/network/") for key in keys) >= 7
    assert len(keys) <= MOST_KEYS, sorted(keys)


def test_files_that_a_report_needs_are_linked_for_wandb_without_a_word(run):
    path, printed = run
    expected = {name for name in REPORTED_FILES if (path / name).is_file()}
    assert expected >= {"summary.json", "metrics.csv", "utilization_best.csv"}
    files = offline_folder(path) / "files"
    for name in expected:
        assert (files / name).samefile(path / name), name
        assert not (files / name).readlink().is_absolute(), name
    assert "Symlinked" not in printed
