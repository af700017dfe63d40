"""Fixtures of the fault tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.trains import BARE, TINY, TrainServer, train_server


@pytest.fixture(scope="session")
def server(prepared_qm9: object) -> Iterator[TrainServer]:
    """A server that starts `train.py` without 5 s of imports."""
    with train_server() as running:
        yield running


@pytest.fixture(scope="session")
def whole_run(server: TrainServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of `TINY`, in which nothing went wrong."""
    runs_dir = tmp_path_factory.mktemp("whole")
    train = server.start([*TINY, f"--runs_dir={runs_dir}"], runs_dir / "start.log")
    assert train.wait() == 0, train.output()
    return runs_dir / "tiny"


@pytest.fixture(scope="session")
def killed_run(server: TrainServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory with the run of `BARE`, killed in its third epoch. Copy it before use."""
    runs_dir = tmp_path_factory.mktemp("killed")
    command, log = [*BARE, f"--runs_dir={runs_dir}"], runs_dir / "start.log"
    train = server.start(command, log, pause=("training", 2))
    train.wait_until_paused()
    assert train.send() == -9
    return runs_dir
