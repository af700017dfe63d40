"""If one of eight processes is killed while it prepares the cache, none of the others fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from filelock import FileLock

from qm9.cache import FILE_NAME, LOCK_NAME, prepare, read_cache
from tests.faults.trains import REPOSITORY
from tests.patience import LIMIT
from tests.qm9.fake_source import copy_source

PROCESSES = 8
PREPARING = "Preparing QM9"


def test_seven_processes_survive_the_death_of_the_one_that_holds_the_lock(tmp_path: Path) -> None:
    source = copy_source(tmp_path / "csv", rows=500)
    cache = tmp_path / "cache"
    arguments = [str(cache), str(source.directory), str(source.num_molecules), str(PROCESSES)]
    logs = [tmp_path / f"cache.{number}.log" for number in range(PROCESSES)]

    def preparing() -> list[int]:
        return [n for n, log in enumerate(logs) if log.exists() and PREPARING in log.read_text()]

    with subprocess.Popen(
        [sys.executable, "-m", "tests.faults.cold_start", *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        children = [int(pid) for pid in program.stdout.readline().split()]
        deadline = time.monotonic() + LIMIT
        while not preparing():
            assert time.monotonic() < deadline, "no process prepares the cache"
            time.sleep(0.001)
        (holder,) = preparing()
        os.kill(children[holder], signal.SIGKILL)
        codes = [int(code) for code in program.stdout.readline().split()]

    texts = [log.read_text() for log in logs]
    assert codes == [-signal.SIGKILL if n == holder else 0 for n in range(PROCESSES)], texts
    assert len(preparing()) == 2, "the killed process, and one after it"
    results = {text.rpartition("molecules ")[2] for n, text in enumerate(texts) if n != holder}
    assert len(results) == 1
    assert not any("Traceback" in text for text in texts)
    assert {path.name for path in cache.iterdir()} <= {FILE_NAME, LOCK_NAME}
    with FileLock(cache / LOCK_NAME, timeout=0):
        made = read_cache(cache / FILE_NAME, source)
    expected = prepare(source, progress=False)
    assert all(torch.equal(tensor, getattr(expected, key)) for key, tensor in vars(made).items())
