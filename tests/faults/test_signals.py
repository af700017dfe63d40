"""After SIGTERM or Ctrl-C a run ends within 30 s with the right exit code, and loses nothing."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

from runtime.checkpoints import read_checkpoint
from tests.faults.trains import (
    MEASURED,
    TrainServer,
    assert_nothing_is_half_written,
    assert_same_run,
)

SECONDS = 30
"""Seconds that a cluster leaves between SIGTERM and SIGKILL."""
STOPS = (
    ("training", 1, signal.SIGTERM, 143),
    ("utilization", 2, signal.SIGINT, 130),
)


def test_a_job_that_is_stopped_and_requeued_ends_like_an_unbroken_one(
    server: TrainServer, whole_run: Path, tmp_path: Path
) -> None:
    """In the environment that Slurm gives to a job that it starts again."""
    command, run = [*MEASURED, f"--runs_dir={tmp_path}"], tmp_path / "tiny"
    slurm = {"SLURM_JOB_ID": "77", "WANDB_MODE": "offline"}
    for start, (phase, epoch, signum, expected) in enumerate(STOPS):
        log = tmp_path / f"{start}.log"
        restarts = {**slurm, "SLURM_RESTART_COUNT": str(start)}
        train = server.start(command, log, pause=(phase, epoch), **restarts)
        train.wait_until_paused()
        sent = time.monotonic()
        assert train.send(signum) == expected, train.output()
        assert time.monotonic() - sent < SECONDS
        assert "The same command continues after the last finished epoch" in train.output()
        for noise in ("Traceback", "srun", "Received SIGTERM", "Bypassing SIGTERM"):
            assert noise not in train.output()
        assert json.loads((run / "summary.json").read_text())["status"] == "preempted"
        assert_nothing_is_half_written(run)
        assert not list(run.rglob(".*.tmp"))
        assert read_checkpoint(run / "checkpoints" / "last.ckpt")["epoch"] >= epoch - 1
    train = server.start(command, tmp_path / "end.log", **slurm, SLURM_RESTART_COUNT="2")
    assert train.wait() == 0, train.output()
    assert_same_run(run, whole_run, pictures=False)
    names = [path.name for path in (run / "wandb").glob("offline-run-*")]
    assert len(names) == len(STOPS) + 1
    summary = json.loads((run / "summary.json").read_text())
    assert {name.rpartition("-")[2] for name in names} == {summary["wandb_run_id"]}
    assert summary["resumed"] == len(STOPS)
