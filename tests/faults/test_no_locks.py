"""File systems without locks, as some of clusters are: every flock of these processes fails."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.faults.trains import REPOSITORY
from tests.patience import LIMIT
from tests.qm9.fake_source import copy_source

UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)
HOLD = """
import sys, time
from pathlib import Path
from runtime.run_directory import RunDirectory
directory = RunDirectory(Path(sys.argv[1]), "a")
try:
    directory.acquire()
except ValueError as error:
    sys.exit(str(error))
print("held", flush=True)
sys.stdin.readline()
directory.release()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library to load before all others, whose flock fails."""
    target = tmp_path_factory.mktemp("library") / "no_flock.so"
    source = Path(__file__).with_name("no_flock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", target, source], check=True)
    return target


@pytest.fixture(params=UNSUPPORTED, ids=errno.errorcode.get)
def without_flock(request: pytest.FixtureRequest, library: Path) -> dict[str, str]:
    """The environment of a process on such a file system."""
    number = str(request.param)
    return {**os.environ, "LD_PRELOAD": str(library), "NO_FLOCK": number}


def hold(folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    """Start a process that takes the run `a` and keeps it until it reads a line."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_one_process_at_a_time_has_a_run(without_flock: dict[str, str], tmp_path: Path) -> None:
    """The run of a killed process can be taken over on its machine."""
    with hold(tmp_path, without_flock) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n", first.communicate()
        second = hold(tmp_path, without_flock)
        _, refusal = second.communicate(timeout=LIMIT)
        assert second.returncode == 1
        assert f"is being trained by another process: wait for process {first.pid} on" in refusal
        first.send_signal(signal.SIGKILL)
    third = hold(tmp_path, without_flock)
    assert third.communicate("\n", timeout=LIMIT) == ("held\n", "")
    assert [path.name for path in (tmp_path / "a").iterdir()] == [".lock"]


def test_a_run_of_another_machine_is_named(without_flock: dict[str, str], tmp_path: Path) -> None:
    """Nobody can tell from here whether its process is gone; nobody waits for it either."""
    marker = tmp_path / "a" / ".lock.marker"
    marker.parent.mkdir()
    marker.write_text("12\nnode7\n")
    process = hold(tmp_path, without_flock)
    _, refusal = process.communicate(timeout=LIMIT)
    assert process.returncode == 1
    assert f"wait for process 12 on node7, or remove {marker} if it is gone" in refusal
    assert len(refusal.splitlines()) == 1


def test_a_sweep_is_refused_before_any_work(without_flock: dict[str, str], tmp_path: Path) -> None:
    sweep = {
        "name": "demo",
        "program": "program.py",
        "method": "grid",
        "metric": {"name": "val/mae", "goal": "minimize"},
        "parameters": {"lr": {"value": 0.1}},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep))
    (tmp_path / "program.py").write_text("")
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "sweep.py"), "sweep.yaml"],
        cwd=tmp_path,
        env=without_flock,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert "file system of runs/demo cannot lock files" in line
    assert "choose another --runs_dir, or use wandb agent" in line
    assert not (tmp_path / "runs" / "demo").exists()


def test_every_process_prepares_the_data_itself(library: Path, tmp_path: Path) -> None:
    source = copy_source(tmp_path / "csv", rows=50)
    cache = tmp_path / "cache"
    arguments = [str(cache), str(source.directory), str(source.num_molecules), "2"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.cold_start", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "LD_PRELOAD": str(library), "NO_FLOCK": str(errno.ENOSYS)},
        capture_output=True,
        text=True,
        check=True,
        timeout=LIMIT,
    )
    assert done.stdout.splitlines()[1] == "0 0"
    logs = [Path(f"{cache}.{number}.log").read_text() for number in range(2)]
    assert len({log.rpartition("molecules ")[2] for log in logs}) == 1
