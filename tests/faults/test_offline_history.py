"""A run is stopped again and again, online and offline: one command uploads every row once."""

from __future__ import annotations

import contextlib
import random
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from records.upload_command import upload_command
from tests.faults.trains import BARE, EPOCHS, MEASURED, TrainServer
from tests.faults.wandb_stage import upload
from tests.wandb_cells import assert_every_cell_arrived_once
from tests.wandb_server import WandbServer

PROCESS_KILLED, JOB_KILLED, JOB_TERMINATED = "process killed", "job killed", "job terminated"
ENDS = (PROCESS_KILLED, JOB_KILLED, JOB_TERMINATED)
"""``kill -9`` of train.py, of its service process too, and what a cluster does: SIGTERM to both."""
OFFLINE, ONLINE, HANGING = "offline", "online", "online, then W&B hangs"
WAIT = "--wandb_finish_timeout=2"


@dataclass(frozen=True)
class Stop:
    """One start of a run, and how it is stopped."""

    phase: str
    epoch: int
    end: str
    mode: str = OFFLINE


def stop(pid: int, end: str) -> None:
    """End a process as a machine or a cluster does."""
    signum = signal.SIGTERM if end == JOB_TERMINATED else signal.SIGKILL
    process = psutil.Process(pid)
    services = [] if end == PROCESS_KILLED else process.children(recursive=True)
    for one in [*services, process]:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(signum)
    with suppress(psutil.NoSuchProcess):
        process.resume()


def check_history(
    command: list[str], server: TrainServer, folder: Path, stops: list[Stop], last: str
) -> None:
    """Train through stops, and a last time to the end; then upload and compare."""
    command, run = [*command, WAIT, f"--runs_dir={folder}"], folder / "tiny"
    with WandbServer() as wandb_server:
        environment = wandb_server.settings(folder)
        starts = [*stops, Stop("test", 0, "", last)]
        for number, planned in enumerate(starts):
            mode = "offline" if planned.mode == OFFLINE else "online"
            train = server.start(
                command,
                folder / f"{number}.log",
                pause=(planned.phase, planned.epoch),
                **{**environment, "WANDB_MODE": mode},
            )
            train.wait_until_paused()
            hangs = planned.mode == HANGING
            with wandb_server.fault("hang") if hangs else contextlib.nullcontext():
                if planned.end:
                    stop(train.pid, planned.end)
                else:
                    train.resume()
                expected = {"": 0, JOB_TERMINATED: 143}.get(planned.end, -9)
                assert train.wait() == expected, train.output()
        said = train.output() if last != ONLINE else f"`{upload_command(run)}`"
        assert f"`{upload_command(run)}`" in said
        for _ in range(2):
            answer = upload(said, wandb_server, folder)
            (record,) = wandb_server.runs.values()
            assert_every_cell_arrived_once(record, run / "metrics.csv", EPOCHS)
            assert (record.state, record.exit_code) == ("finished", 0)
        assert answer == f"{run.resolve()}: W&B has everything\n"
        assert wandb_server.unknown == []


def test_one_upload_shows_every_row_once(server: TrainServer, tmp_path: Path) -> None:
    """Among the stops one before the first row is written, one in each way, and online ones."""
    stops = [
        Stop("training", 0, JOB_KILLED),
        Stop("training", 1, JOB_TERMINATED),
        Stop("utilization", 2, PROCESS_KILLED),
        Stop("training", 3, JOB_TERMINATED, HANGING),
        Stop("training", 4, JOB_KILLED, ONLINE),
    ]
    check_history(MEASURED, server, tmp_path, stops, last=HANGING)


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 10))]
)
def test_one_upload_shows_every_row_once_after_random_stops(
    seed: int, server: TrainServer, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    modes = (OFFLINE, ONLINE, HANGING)
    stops = [
        Stop(
            draw.choice(("training", "validation", "checkpoint")),
            epoch,
            draw.choice(ENDS),
            draw.choice(modes),
        )
        for epoch in sorted(draw.sample(range(EPOCHS), k=draw.randint(1, 3)))
    ]
    check_history(BARE, server, tmp_path, stops, last=draw.choice(modes))
