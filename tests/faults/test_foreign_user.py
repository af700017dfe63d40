"""Training under a user without a name, a home, or a place for the caches of libraries."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.caching import UserProvidedCacheLocator

from qm9.cache import FILE_NAME, default_cache_dir
from tests.faults.trains import BARE, REPOSITORY, TINY, metrics_of
from tests.foreign_user import READ_ONLY, foreign_user, open_to_all

SMALL = [
    "--data.train_size=32",
    "--data.val_size=16",
    "--data.test_size=16",
    "--trainer.max_epochs=1",
    "--trainer.enable_progress_bar=false",
]


@pytest.fixture
def substitute(prepared_qm9: object, tmp_path: Path) -> Path:
    """The folder that is used instead of a home, among the temporary files of the user."""
    user = foreign_user()
    uid = 12345 if user else os.getuid()
    folder = open_to_all(tmp_path / "temporary") / f"irrepscope-{uid}"
    for caches in (folder, folder / ".cache"):
        _fill(caches)
    subprocess.run(["chown", "-hR", f"{uid}:{uid if user else os.getgid()}", folder], check=True)
    folder.chmod(0o700)
    return folder


def _fill(caches: Path) -> None:
    """Spare a process the minute in which it prepares QM9 and compiles umap-learn."""
    (caches / "irrepscope").mkdir(parents=True)
    (caches / "irrepscope" / FILE_NAME).symlink_to(default_cache_dir() / FILE_NAME)
    for package in ("umap", "pynndescent"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        name = UserProvidedCacheLocator.get_suitable_cache_subpath(spec.origin)
        shutil.copytree(Path(spec.origin).parent / "__pycache__", caches / "numba" / name)


def train(substitute: Path, *arguments: str, **variables: str) -> Path:
    """Train in an environment that holds next to nothing; return the run."""
    runs = open_to_all(substitute.parent / "runs")
    process = subprocess.run(
        [*foreign_user(), sys.executable, "train.py", *arguments, *SMALL, f"--runs_dir={runs}"],
        cwd=REPOSITORY,
        env={
            "PATH": os.environ["PATH"],
            "TMPDIR": str(substitute.parent),
            "OMP_NUM_THREADS": "1",
            "WANDB_MODE": "offline",
            "WANDB_ERROR_REPORTING": "false",
            "PYTHONDONTWRITEBYTECODE": "1",
            **variables,
        },
        capture_output=True,
        text=True,
    )
    output = process.stdout + process.stderr
    assert process.returncode == 0, output
    assert "Warning" not in output
    lines = [line for line in output.splitlines() if "cannot" in line]
    assert len(lines) == 1, output
    assert lines[0].endswith(f"cannot be written: using folders in {substitute.parent}")
    return runs / "tiny"


def wandb_summary(run: Path) -> dict[str, object]:
    """Read what W&B's own file of an offline run says in the end."""
    (offline,) = (run / "wandb").glob("offline-run-*")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--summary", "--json", offline]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(answer.stdout)["summary"])


def test_a_home_that_is_read_only_costs_no_picture_and_no_table(substitute: Path) -> None:
    run = train(substitute, *TINY, HOME=READ_ONLY)
    pictures = {path.name for path in (run / "latents").glob("*.png")}
    assert pictures == {"epoch_-01.png", "epoch_000.png", "best.png"}
    sent = wandb_summary(run).keys()
    assert {"test/mae", "utilization/heatmap", "utilization/table", "latent/umap"} <= sent
    assert {key for row in metrics_of(run).values() for key in row} - sent <= {"step"}


def test_a_user_without_home_and_name_trains_like_any_other(substitute: Path) -> None:
    run = train(substitute, *BARE)
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    assert "test/mae" in wandb_summary(run)
