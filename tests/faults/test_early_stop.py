"""SIGTERM before W&B's run has started, or while it starts: the trial is requeued all the same."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.wandb_handover import hand_trial_back
from tests.faults.trains import BARE, start_process
from tests.wandb_records import RunRecord
from tests.wandb_server import WandbServer

AGENT = {"WANDB_SWEEP_ID": "sweep", "WANDB_RUN_ID": "trial", "WANDB_PROJECT": "p"}


@pytest.fixture
def server() -> Iterator[WandbServer]:
    """A server with a trial that it has given to an agent."""
    with WandbServer() as running:
        running.runs["trial"] = RunRecord("trial", running.entity, "p", sweep="sweep")
        yield running
        assert running.unknown == []


def handles_sigterm(pid: int) -> bool:
    """Whether a process has a handler of SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text()
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) & 1 << (signal.SIGTERM - 1))


def test_a_stop_during_the_imports_gives_the_trial_back(
    server: WandbServer, tmp_path: Path
) -> None:
    environment = {**server.settings(tmp_path), **AGENT, "WANDB_MODE": "online"}
    train = start_process([*BARE, f"--runs_dir={tmp_path}"], tmp_path / "log", **environment)
    assert train.wait_until(lambda: handles_sigterm(train.pid))
    assert train.send(signal.SIGTERM) == 143, train.output()
    run = server.runs["trial"]
    assert (run.state, run.exit_code, run.history) == ("preempted", 143, [])


@pytest.mark.parametrize("answers", [True, False], ids=["answers later", "never answers"])
def test_a_stop_while_wandb_starts(
    answers: bool, server: WandbServer, prepared_qm9: object, tmp_path: Path
) -> None:
    """With a server that answers later the run is marked; with one that hangs the process ends."""
    environment = {**server.settings(tmp_path), **AGENT, "WANDB_MODE": "online"}
    with server.fault("hang", "UpsertBucket") as fault:
        train = start_process([*BARE, f"--runs_dir={tmp_path}"], tmp_path / "log", **environment)
        assert train.wait_until(lambda: fault.hits > 0)
        if not answers:
            assert train.send(signal.SIGTERM) == 143, train.output()
            return
        os.kill(train.pid, signal.SIGTERM)
    assert train.wait() == 143, train.output()
    run = server.runs["trial"]
    assert (run.state, run.exit_code, run.history) == ("preempted", 143, [])


def test_nothing_is_given_back_outside_an_agent(server: WandbServer, tmp_path: Path) -> None:
    with server.client(tmp_path, WANDB_RUN_ID="trial"):
        hand_trial_back(143)
    with server.client(tmp_path, **AGENT, WANDB_MODE="offline"):
        hand_trial_back(143)
    assert server.runs["trial"].state == "pending"
    with server.client(tmp_path, **AGENT):
        hand_trial_back(143)
    assert server.runs["trial"].state == "preempted"
