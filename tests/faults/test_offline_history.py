"""An offline run that was stopped again and again: one ``wandb sync`` shows every row once."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.faults.trains import EPOCHS, MEASURED, TrainServer, phase_reached
from tests.wandb_cells import assert_every_cell_arrived_once
from tests.wandb_server import WandbServer

PROCESS_KILLED, JOB_KILLED, JOB_TERMINATED = "process killed", "job killed", "job terminated"
ENDS = (PROCESS_KILLED, JOB_KILLED, JOB_TERMINATED)
"""``kill -9`` of train.py, of its service process too, and what a cluster does: SIGTERM to both."""
LIMIT = 300.0


def stop(pid: int, end: str) -> None:
    """End a process as a machine or a cluster does."""
    signum = signal.SIGTERM if end == JOB_TERMINATED else signal.SIGKILL
    process = psutil.Process(pid)
    services = [] if end == PROCESS_KILLED else process.children(recursive=True)
    for one in [*services, process]:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signum)


def sync(output: str, server: WandbServer, folder: Path) -> str:
    """Do what a run says, word for word; W&B's answer."""
    command = re.findall(r"`(wandb sync [^`]*)`", output)[-1]
    done = subprocess.run(
        f"{sys.executable} -m {command}",
        shell=True,
        cwd=folder,
        env=server.environment(folder),
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT,
    )
    assert "ERROR" not in done.stderr, done.stderr
    return done.stderr


def check_history(server: TrainServer, folder: Path, stops: list[tuple[str, int, str]]) -> None:
    """Train offline through stops given as (phase, epoch, end), upload, compare."""
    command, run = [*MEASURED, f"--runs_dir={folder}"], folder / "tiny"
    for number, (phase, epoch, end) in enumerate(stops):
        train = server.start(command, folder / f"{number}.log", WANDB_MODE="offline")
        assert train.wait_until(lambda p=phase, t=train, e=epoch: phase_reached(p, t, run, e))
        stop(train.pid, end)
        assert train.wait() == (143 if end == JOB_TERMINATED else -9), train.output()
    train = server.start(command, folder / "end.log", WANDB_MODE="offline")
    assert train.wait() == 0, train.output()
    with WandbServer() as wandb_server:
        assert "Finished syncing" in sync(train.output(), wandb_server, folder)
        (record,) = wandb_server.runs.values()
        assert_every_cell_arrived_once(record, run / "metrics.csv", EPOCHS)
        assert (record.state, record.exit_code) == ("finished", 0)
        rows = record.history
        assert "No runs to sync" in sync(train.output(), wandb_server, folder)
        assert record.history == rows


def test_one_upload_shows_every_row_once(server: TrainServer, tmp_path: Path) -> None:
    """Among them a stop before the first row is written, and one in each way."""
    stops = [
        ("training", 0, JOB_KILLED),
        ("training", 1, JOB_TERMINATED),
        ("utilization", 2, PROCESS_KILLED),
        ("training", 4, JOB_KILLED),
    ]
    check_history(server, tmp_path, stops)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_one_upload_shows_every_row_once_after_random_stops(
    seed: int, server: TrainServer, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    phases = ("training", "validation", "utilization", "checkpoint")
    epochs = sorted(draw.choices(range(EPOCHS), k=draw.randint(1, 5)))
    stops = [(draw.choice(phases), epoch, draw.choice(ENDS)) for epoch in epochs]
    check_history(server, tmp_path, stops)
