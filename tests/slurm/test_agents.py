"""W&B agents and local sweeps under a real Slurm: whatever ends a job, its trial goes on.

In each test Slurm ends a job whose training waits in epoch 2. It sends SIGTERM to every process of
the job, W&B's own included.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import GPUS, Cluster
from tests.slurm.jobs import EPOCHS, Place
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


def create_sweep(place: Place, seeds: list[int]) -> str:
    """``wandb sweep``; the sweep's full name."""
    done = subprocess.run(
        [Path(sys.executable).parent / "wandb", "sweep", place.write_sweep(seeds)],
        env=place.environment,
        cwd=place.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr.rpartition("wandb agent ")[2].split()[0]


def requeue(cluster: Cluster, job: str) -> None:
    """What an administrator does, or a node's failure."""
    cluster.scontrol("requeue", job)


def preempt(cluster: Cluster, job: str) -> None:
    """Submit a job of a higher partition that needs the whole node."""
    wrapped = ["--partition=high", f"--gres=gpu:{GPUS}", "--output=/dev/null", "--wrap=true"]
    other = cluster.submit(*wrapped, folder=Path("/tmp"))
    assert cluster.wait_until_ended(other) == ("COMPLETED", 0)


def end_of_time(cluster: Cluster, job: str) -> None:
    """Move the time limit close; give the job more time when it starts again."""
    *_, hours, minutes, _ = map(int, re.split("[:-]", f"0-{cluster.job(job)['RunTime']}"))
    cluster.scontrol("update", f"job={job}", f"TimeLimit={60 * hours + minutes + 3}")
    cluster.wait_for(lambda: cluster.job(job)["Restarts"] == "1", "the job is requeued")
    cluster.scontrol("update", f"job={job}", "TimeLimit=600")


@pytest.mark.parametrize("end", [requeue, preempt, end_of_time])
def test_the_requeued_job_continues_the_same_wandb_run(
    end: Callable[[Cluster, str], None], place: Place
) -> None:
    sweep = create_sweep(place, [0, 1])
    array = place.submit("--array=0", "sweeps/agents.slurm", sweep, "--count", "1")
    job = f"{array}_0"
    place.wait_until_held(job)
    end(place.cluster, job)
    place.wait_until_completed(job)
    (run,) = place.server.runs.values()
    assert (run.state, run.resumed, run.attempts) == ("finished", 1, 2), place.output()
    (metrics,) = place.folder.glob("runs/*/metrics.csv")
    assert_every_cell_arrived_once(run, metrics, EPOCHS)
