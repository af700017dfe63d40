"""Trainings that Slurm starts and signals in other ways than an agent's job script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster
from tests.slurm.jobs import ARGUMENTS, EPOCHS, Place
from tests.wandb_cells import assert_every_cell_arrived_once
from tests.wandb_server import WandbServer, wandb_server  # noqa: F401  a fixture

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]


@pytest.fixture
def place(
    cluster: Cluster,
    wandb_server: WandbServer,  # noqa: F811
    tmp_path: Path,
    prepared_qm9: object,
) -> Iterator[Place]:
    yield Place(cluster, wandb_server, tmp_path)
    assert wandb_server.unknown == []


def test_sigusr1_to_every_process_stops_a_local_sweep_and_the_next_job_continues_it(
    place: Place,
) -> None:
    """``scancel --signal``: the run is the same one in W&B, and no checkpoint is Lightning's."""
    command = ["sweeps/agents.slurm", str(place.write_sweep([0])), f"--runs_dir={place.folder}"]
    command += ["--no-report"]
    job = place.submit("--array=0", *command)
    place.wait_until_held(f"{job}_0")
    place.cluster.scancel("--signal=USR1", "--full", f"{job}_0")
    assert place.cluster.wait_until_ended(f"{job}_0") == ("FAILED", 143), place.output()
    (run,) = place.server.runs.values()
    assert (run.state, run.exit_code) == ("preempted", 143), place.output()
    again = place.submit("--array=0", *command)
    place.wait_until_completed(f"{again}_0")
    (run,) = place.server.runs.values()
    assert (run.state, run.attempts) == ("finished", 2), place.output()
    (metrics,) = place.folder.glob("tiny/*/metrics.csv")
    assert_every_cell_arrived_once(run, metrics, EPOCHS)
    assert not list(place.folder.rglob("hpc_ckpt_*"))


def test_several_trainings_of_one_job_each_write_their_run(place: Place) -> None:
    """``srun`` tells them that they are rank 0 and rank 1 of two."""
    place.held.touch()
    script = place.folder / "job.sh"
    train = f"python train.py --runs_dir={place.folder} --seed_everything=$SLURM_PROCID"
    arguments = " ".join(ARGUMENTS)
    script.write_text(f"#!/bin/bash\nsrun --ntasks=2 bash -c '{train} {arguments}'\n")
    job = place.submit("--ntasks=2", str(script))
    place.wait_until_completed(job)
    runs = sorted(place.folder.glob("*/summary.json"))
    summaries = [json.loads(path.read_text()) for path in runs]
    assert [(s["status"], s["seed"]) for s in summaries] == [("finished", 0), ("finished", 1)]
    for path, summary in zip(runs, summaries):
        record = place.server.runs[summary["wandb_run_id"]]
        assert record.state == "finished"
        assert_every_cell_arrived_once(record, path.with_name("metrics.csv"), EPOCHS)
