"""Run directories that several tests share."""

import base64
import gzip
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reporting.compare.groups import Group, group_runs
from reporting.read.runs import find_runs, read_run
from tests.patience import LIMIT
from tests.reporting.synthetic_runs import smiles, write_run
from tests.wandb_records import RunRecord
from tests.wandb_server import WandbServer

TINY = (
    "--project=demo",
    "--model.num_layers=3",
    "--data.train_size=32",
    "--data.val_size=40",
    "--data.test_size=20",
    "--trainer.max_epochs=1",
    "--latent.num_molecules=20",
    "--utilization.num_molecules=20",
    "--utilization.num_bootstrap=50",
)
ROOT = Path(__file__).parent.parent.parent

SETS = ("16x0e", "16x0e+16x1o", "16x0e+16x2e", "16x0e+16x1o+16x2e")


@pytest.fixture(scope="session")
def sweep_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sets with three seeds each, an unfinished and a failed run."""
    folder = tmp_path_factory.mktemp("runs")
    for irreps in SETS:
        for seed in range(3):
            write_run(folder / "sweep", irreps, seed, molecules=smiles(60))
    write_run(folder / "sweep", "16x0e+16x1o", 7, status="running")
    write_run(folder / "sweep", "16x0e+16x2e", 8, status="failed", error="loss is NaN at step 9")
    return folder


@pytest.fixture(scope="session")
def sweep_group(sweep_dir: Path) -> Group:
    """The only group in `sweep_dir`."""
    (group,) = group_runs([read_run(path) for path in find_runs([sweep_dir])])
    return group


@pytest.fixture(scope="session")
def measured_group(tmp_path_factory: pytest.TempPathFactory) -> Group:
    """Four sets with three seeds each that draw splits, with everything that is measured."""
    folder = tmp_path_factory.mktemp("measured")
    for irreps in SETS:
        for seed in range(3):
            nested = irreps == SETS[-1]
            write_run(folder, irreps, seed, split_seed=seed, measures=True, nested=nested)
    return one_group(folder)


def one_group(folder: Path) -> Group:
    """Read a folder whose runs are all comparable."""
    (group,) = group_runs([read_run(path) for path in find_runs([folder])])
    return group


def data_of(page: Path) -> dict[str, Any]:
    """Unpack the figures and molecules of a page."""
    found = re.search(r'<script type="text/plain" id="data">(.*?)</script>', page.read_text())
    assert found is not None
    unpacked: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return unpacked


@dataclass
class Trained:
    """Two runs that were really trained, and what they sent to W&B."""

    runs_dir: Path
    records: dict[str, RunRecord]

    def history_keys(self) -> set[str]:
        """Every key that any of the runs logged."""
        return {key for run in self.records.values() for row in run.history for key in row}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train 4x0e and 4x0e+4x1o for one epoch on 32 molecules, online on a loopback W&B server."""
    folder = tmp_path_factory.mktemp("trained")
    with WandbServer() as server:
        environment = server.environment(folder, OMP_NUM_THREADS="1")
        # UMAP takes most of the time, so only one of them uses it.
        chosen = (["--model.irreps=4x0e", "--latent.enabled=false"], ["--model.irreps=4x0e+4x1o"])
        started = [
            subprocess.Popen(
                [sys.executable, "train.py", *TINY, *options, f"--runs_dir={folder / 'runs'}"],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for options in chosen
        ]
        outputs = [process.communicate(timeout=LIMIT)[0] for process in started]
        for process, output in zip(started, outputs, strict=True):
            assert process.returncode == 0, output
        return Trained(folder / "runs", server.runs)
