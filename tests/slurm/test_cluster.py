"""The cluster of these tests does what they rely on."""

from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm


def script(folder: Path, *lines: str) -> str:
    """Write a job script."""
    path = folder / "job.sh"
    path.write_text("\n".join(["#!/bin/bash", *lines, ""]))
    return str(path)


def test_a_job_runs_in_its_folder_with_its_exit_code(cluster: Cluster, tmp_path: Path) -> None:
    job = cluster.submit(
        script(tmp_path, "#SBATCH --gres=gpu:1 --mem=32G", "echo $SLURM_JOB_ID $PWD", "exit 3"),
        folder=tmp_path,
    )
    assert cluster.wait_until_ended(job) == ("FAILED", 3)
    assert (tmp_path / f"slurm-{job}.out").read_text() == f"{job} {tmp_path}\n"


def test_a_requeued_job_has_every_process_terminated_and_starts_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    """A child of its own session and the script itself get SIGTERM, and nothing kills them."""
    child = "trap 'echo child' TERM; touch started; while [[ ! -e end ]]; do sleep 0.1; done"
    job = cluster.submit(
        "--requeue",
        "--open-mode=append",
        script(
            tmp_path,
            "[[ $SLURM_RESTART_COUNT ]] && exit 0",
            "trap 'echo script; touch end' TERM",
            f'setsid bash -c "{child}" &',
            "pid=$!",
            "while kill -0 $pid 2>/dev/null; do wait $pid; done",
        ),
        folder=tmp_path,
    )
    cluster.wait_for((tmp_path / "started").exists, "the child runs")
    cluster.scontrol("requeue", job)
    assert cluster.wait_until_ended(job) == ("COMPLETED", 0)
    assert cluster.job(job)["Restarts"] == "1"
    lines = (tmp_path / f"slurm-{job}.out").read_text().splitlines()
    assert {"child", "script"} <= set(lines)
    assert not any("Killed" in line for line in lines)
