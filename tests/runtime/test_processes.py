"""A training of one process writes its files, whatever launchers have put into its environment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.utilities import rank_zero_only

from records.launchers import RANK_VARIABLES
from runtime.processes import SrunEnvironment, cluster_environment, is_rank_zero, unchanged_rank
from tests.faults.trains import BARE, start_process


@pytest.fixture(autouse=True)
def rank_one(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What every launcher that there is says to its second process."""
    for name in RANK_VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("SLURM_NTASKS", "2")
    with unchanged_rank():
        rank_zero_only.rank = 1  # type: ignore[attr-defined]
        yield


def test_a_process_by_itself_is_rank_zero() -> None:
    environment = cluster_environment(1)
    assert is_rank_zero()
    assert isinstance(environment, LightningEnvironment)
    assert (environment.local_rank(), environment.node_rank()) == (0, 0)
    assert not environment.creates_processes_externally
    assert not SLURMEnvironment.detect()


def test_two_processes_of_srun_get_their_ranks_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    environment = cluster_environment(2)
    assert isinstance(environment, SrunEnvironment)
    assert not environment.auto_requeue
    assert (environment.global_rank(), environment.world_size()) == (1, 2)
    assert not SLURMEnvironment.detect(), "Lightning would look for checkpoints of its own"


def test_two_processes_of_torchrun_are_left_to_lightning() -> None:
    assert cluster_environment(2) is None
    assert not is_rank_zero()


def test_two_devices_in_a_job_of_one_task_are_started_by_lightning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in RANK_VARIABLES:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_PROCID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    environment = cluster_environment(2)
    assert isinstance(environment, LightningEnvironment)
    assert not environment.creates_processes_externally


def test_train_py_writes_its_run_under_every_launcher(prepared_qm9: object, tmp_path: Path) -> None:
    """The variables are set from the first line on, as Lightning reads some when imported."""
    arguments = [*BARE, f"--runs_dir={tmp_path}", "--trainer.max_epochs=1"]
    train = start_process(arguments, tmp_path / "log", WANDB_MODE="offline")
    assert train.wait() == 0, train.output()
    run = tmp_path / "tiny"
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    for name in ("metrics.csv", "config.yaml", "checkpoints/last.ckpt"):
        assert (run / name).is_file(), name
    assert list(run.glob("wandb/offline-run-*"))
