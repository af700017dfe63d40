"""Two processes of train.py compute what one does, and write each file once."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import psutil
import pytest
from ase.io import write

from records.metrics import read_metrics
from runtime.checkpoints import read_checkpoint
from tests.faults.trains import (
    GATED,
    LIMIT,
    TIMED,
    TINY,
    TrainServer,
    files_of,
    metrics_of,
    start_process,
)
from tests.structures.made import copper

COMMAND = [
    *TINY,
    "--trainer.max_epochs=2",
    "--trainer.enable_progress_bar=false",
    # Weights that change, but so slowly that differences of rounding do not grow.
    "--model.lr=0.001",
    # Two processes cannot get equal numbers of whole batches from 50 molecules, nor equal halves
    # of 35 or 15.
    "--data.train_size=50",
    "--data.val_size=35",
    "--data.test_size=15",
    "--latent.enabled=false",
]
TWO = ["--trainer.devices=2", "--trainer.strategy=ddp"]

ROUNDING = "equivariance/rotation_error"
"""This metric is itself an error of rounding."""


FORCES = ["--data.path=copper.extxyz", "--data.target=energy", "--model.force_weight=1"]


@pytest.fixture(scope="module", params=[[], GATED, FORCES], ids=["convnet", "gated", "forces"])
def runs(
    request: pytest.FixtureRequest, server: TrainServer, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """Directories of the same run, trained with one process and with two."""
    folder = tmp_path_factory.mktemp("ddp")
    options = list(request.param)
    if options == FORCES:
        file = folder / "copper.extxyz"
        write(file, copper(100), format="extxyz")
        options[0] = f"--data.path={file}"
    command = [*COMMAND, *options]
    one = server.start([*command, f"--runs_dir={folder / 'one'}"], folder / "one.log")
    assert one.wait() == 0, one.output()
    arguments = [*command, *TWO, f"--runs_dir={folder / 'two'}"]
    two = start_process(arguments, folder / "two.log", WANDB_MODE="offline")
    assert two.wait() == 0, two.output()
    assert "warn" not in two.output().lower(), two.output()
    return folder / "one" / "tiny", folder / "two" / "tiny"


def test_all_metrics_are_those_of_one_process(runs: tuple[Path, Path]) -> None:
    one, two = (read_metrics(run / "metrics.csv") for run in runs)
    assert one.keys() == two.keys() == {-1, 0, 1}
    for epoch, row in one.items():
        assert row.keys() == two[epoch].keys()
        for key in row.keys() - {*TIMED, ROUNDING}:
            # Differences of errors in meV, of which 1e-3 is the last digit in float32.
            absolute = 2e-3 if key.startswith("utilization/network/") else 0.0
            close = pytest.approx(row[key], rel=1e-5, abs=absolute)
            assert two[epoch][key] == close, (epoch, key)
        assert two[epoch][ROUNDING] == pytest.approx(row[ROUNDING], rel=0.1)


def test_weights_are_those_of_one_process(runs: tuple[Path, Path]) -> None:
    one, two = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in runs)
    assert one["global_step"] == two["global_step"] == 4
    for name, weight in one["state_dict"].items():
        np.testing.assert_allclose(two["state_dict"][name], weight, rtol=1e-4, atol=1e-6)


def test_each_file_is_written_once(runs: tuple[Path, Path]) -> None:
    one, two = runs
    assert files_of(two) == files_of(one)
    assert len(list((two / "wandb").glob("offline-run-*"))) == 1
    with (two / "utilization.csv").open() as file:
        rows = [(r["epoch"], r["layer"], r["irrep"]) for r in csv.DictReader(file)]
    assert len(rows) == len(set(rows))
    lines = (two / "metrics.csv").read_text().splitlines()
    assert len(lines) == 1 + 3
    summary = json.loads((two / "summary.json").read_text())
    assert summary["status"] == "finished"
    assert summary["molecules"] == {"train": 50, "val": 35, "test": 15}
    assert (two.parent.parent / "two.log").read_text().count("Starting run") == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_with_one_of_two_processes_killed_ends_like_an_unbroken_one(tmp_path: Path) -> None:
    command = [*COMMAND, *TWO, "--trainer.max_epochs=4"]
    whole = start_process([*command, f"--runs_dir={tmp_path / 'whole'}"], tmp_path / "whole.log")
    assert whole.wait() == 0, whole.output()
    broken = [*command, f"--runs_dir={tmp_path / 'broken'}"]
    run = tmp_path / "broken" / "tiny"
    last = run / "checkpoints" / "last.ckpt"

    def written() -> int:
        return last.stat().st_mtime_ns if last.exists() else 0

    for start, victim in enumerate(("first", "second")):
        before = written()
        train = start_process(broken, tmp_path / f"{start}.log")
        assert train.wait_until(lambda b=before: written() != b)
        processes = [psutil.Process(train.pid)]
        processes += [p for p in processes[0].children() if "train.py" in " ".join(p.cmdline())]
        assert len(processes) == 2
        processes[victim == "second"].kill()
        assert train.wait() != 0
        _, left = psutil.wait_procs(processes, timeout=LIMIT)
        assert not left, "the other process waits forever"
    train = start_process(broken, tmp_path / "end.log")
    assert train.wait() == 0, train.output()
    assert metrics_of(run) == metrics_of(tmp_path / "whole" / "tiny")
    assert files_of(run) == files_of(tmp_path / "whole" / "tiny")
