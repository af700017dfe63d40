"""The worker process: answers, deaths, ends; nothing outlives the training process."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from latents import client as umap_client
from latents.client import PROJECT, UmapClient, describe_death, worker_environment
from records.latent_paths import epoch_path, epochs_in
from records.latents import (
    Molecules,
    Settings,
    Snapshot,
    read_epoch,
    write_molecules,
    write_snapshot,
)
from tests.latents.latent_data import QUICK_WORKER
from tests.patience import LIMIT

G = 20


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(umap_client, "WORKER", QUICK_WORKER)
    settings = Settings("U0", "eV", "meV", 1000.0, "2x0e", 0, n_neighbors=5, dpi=40)
    counts = np.arange(2 * G).reshape(G, 2) % 7
    molecules = Molecules(
        np.arange(G), np.array(["CC"] * G), np.arange(G) * 1.0, np.array([1, 6]), counts, settings
    )
    write_molecules(tmp_path, molecules)
    return tmp_path


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def client(directory: Path, warnings: list[str]) -> Iterator[UmapClient]:
    client = UmapClient(directory, warnings.append)
    yield client
    client.close(0.0)


def hand_over(client: UmapClient, epoch: int) -> None:
    features = np.random.default_rng(epoch + 1).normal(size=(G, 2)).astype(np.float32)
    write_snapshot(client.directory, Snapshot(epoch, epoch, {"0e": features}, np.zeros(G)))
    client.submit({"do": "frame", "frame": epoch})


def gone(pid: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while psutil.pid_exists(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not psutil.pid_exists(pid)


def test_jobs_are_answered_in_order(client: UmapClient, warnings: list[str]) -> None:
    client.begin()
    for epoch in (-1, 0, 1, 2):
        hand_over(client, epoch)
    answers = client.wait(LIMIT)
    assert [answer["frame"] for answer in answers] == [-1, 0, 1, 2]
    assert client.outstanding == 0
    assert warnings == []
    client.close()
    assert gone(client.pid, 0)


def test_a_killed_worker_is_replaced_and_nothing_is_lost(
    client: UmapClient, warnings: list[str]
) -> None:
    client.begin()
    hand_over(client, -1)
    assert [answer["frame"] for answer in client.wait(LIMIT)] == [-1]
    first = client.pid
    os.kill(first, signal.SIGKILL)
    for epoch in (0, 1):
        hand_over(client, epoch)
    answers = client.wait(LIMIT)
    assert [(answer["frame"], answer["problems"]) for answer in answers] == [(0, {}), (1, {})]
    assert warnings == ["the UMAP worker ended: killed by SIGKILL. It is started again"]
    assert gone(first, 0)
    assert client.pid != first


def test_an_epoch_that_kills_twice_is_given_up(
    directory: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUICK_WORKER_DIES", "pending_000.npz")
    client = UmapClient(directory, warnings.append)
    client.begin()
    for epoch in (0, 1):
        hand_over(client, epoch)
    answers = client.wait(LIMIT)
    client.close()
    reasons = [answer["problems"] for answer in answers]
    assert reasons == [dict.fromkeys(("all", "0e"), "the worker was killed by SIGKILL twice"), {}]
    assert np.isnan(read_epoch(epoch_path(directory, 0)).layouts["all"]).all()
    assert len(warnings) == 2


def test_a_worker_that_cannot_start_is_given_up_with_its_reason(
    directory: Path, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (sys.executable, "-c", "raise ImportError('No module named umap')")
    monkeypatch.setattr(umap_client, "WORKER", command)
    client = UmapClient(directory, warnings.append)
    client.begin()
    hand_over(client, 0)
    assert client.wait(LIMIT) == []
    assert "exit code 1, ImportError: No module named umap" in str(client.failure)
    assert len(warnings) == 1
    assert client.outstanding == 2
    client.close()


def test_submitting_never_waits_for_a_worker_that_hangs(client: UmapClient) -> None:
    os.kill(client.pid, signal.SIGSTOP)
    for epoch in range(5000):  # far more than a pipe holds
        client.submit({"do": "frame", "frame": epoch})
    assert client.answers() == []
    assert client.outstanding == 5000


def test_closing_kills_a_worker_that_hangs(client: UmapClient) -> None:
    os.kill(client.pid, signal.SIGSTOP)
    client.close(0.1)
    assert gone(client.pid, 0)


def test_ctrl_c_does_not_reach_the_worker(client: UmapClient) -> None:
    assert os.getpgid(client.pid) != os.getpgid(0)
    client.begin()
    hand_over(client, 0)
    client.wait(LIMIT)
    os.kill(client.pid, signal.SIGINT)
    hand_over(client, 1)
    assert [answer["frame"] for answer in client.wait(LIMIT)] == [1]


@pytest.mark.parametrize("forks", [False, True], ids=["alone", "with a forked child"])
def test_worker_ends_when_its_parent_is_killed(directory: Path, forks: bool) -> None:
    # A forked child of the parent holds the pipe open, as a data loader's worker does.
    program = f"""
import os, sys, time
sys.path.insert(0, {str(PROJECT)!r})
from pathlib import Path
from latents import client as umap_client
umap_client.WORKER = {QUICK_WORKER!r}
client = umap_client.UmapClient(Path({str(directory)!r}), print)
client.begin()
client.wait({LIMIT})
child = os.fork() if {forks} else 0
if not {forks} or child:
    print(client.pid, child, flush=True)
time.sleep({LIMIT})
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker, child = map(int, parent.stdout.readline().split())
        assert psutil.pid_exists(worker)
        parent.kill()
        assert gone(worker, within=LIMIT)
        if child:
            os.kill(child, signal.SIGKILL)


def test_a_forked_child_leaves_the_worker_to_its_parent(client: UmapClient) -> None:
    # At its end a forked child runs the finalizers that it has inherited.
    umap_client._kill_at_exit(os.getpid() + 1, client._process, client._reader)
    client.begin()
    assert client.wait(LIMIT) == []
    assert client.failure is None


def test_worker_uses_one_thread_and_no_gpu() -> None:
    environment = worker_environment()
    assert environment["OMP_NUM_THREADS"] == environment["NUMBA_NUM_THREADS"] == "1"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""


def test_causes_of_death_are_named(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("Traceback\nMemoryError: no room\n")
    assert describe_death(-15, log) == "killed by SIGTERM"
    assert describe_death(-40, log) == "killed by signal 40"
    assert describe_death(1, log) == f"exit code 1, MemoryError: no room (see {log})"


def test_epochs_are_found_by_their_own_files(tmp_path: Path) -> None:
    for name in ("epoch_-01.npz", "epoch_003.png", "epoch_1000.npz", "epoch_x.npz"):
        (tmp_path / name).touch()
    assert epochs_in(tmp_path) == [-1, 1000]
