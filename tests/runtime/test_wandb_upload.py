"""`upload.py` with the real client and the loopback server: what W&B lacks arrives, once."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import upload
from records.locks import take_lock
from records.run_files import LOCK
from tests.programs import run_program
from tests.wandb_records import RunRecord
from tests.wandb_server import WandbServer

LOG = """
import sys, wandb
from PIL import Image
mode, folder, first, end, exit_code = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
run = wandb.init(mode=mode, dir=folder, id="abc", project="p", resume="allow", settings=settings)
for epoch in range(first, end):
    run.log({"epoch": epoch, "val/mae": 1.0 / (2 + epoch), "text": "x" * 15_000})
    for batch in range(2):
        run.log({"epoch": epoch, "train/loss": epoch + batch / 2})
    run.log({"epoch": epoch, "picture": wandb.Image(Image.new("L", (4, 4), 40 * epoch))})
run.finish(exit_code)
"""
"""Several rows per epoch with the same key, which `train.py` does not have, and large ones."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WandbServer]:
    with WandbServer() as running, running.client(tmp_path / "home"):
        yield running
        assert running.unknown == []


def log(mode: str, folder: Path, first: int, end: int, exit_code: int = 0) -> None:
    """Log epochs in a process of its own."""
    numbers = map(str, (first, end, exit_code))
    subprocess.run([sys.executable, "-c", LOG, mode, str(folder), *numbers], check=True)


def upload_runs(folder: Path) -> str:
    code, output = run_program(upload.main, [str(folder)], WANDB_MODE="offline")
    assert code == 0, output
    return output


def assert_complete(run: RunRecord, epochs: int) -> None:
    """Check that each row is there once, in steps that grow, with its picture."""
    expected = [1.0 / (2 + epoch) for epoch in range(epochs)]
    assert sorted(run.metric("val/mae"), reverse=True) == pytest.approx(expected)
    assert sorted(run.metric("train/loss")) == [number / 2 for number in range(2 * epochs)]
    assert len(run.metric("picture")) == epochs
    assert {picture["path"] for picture in run.metric("picture")} == set(run.images)
    steps = [row["_step"] for row in run.history]
    assert steps == sorted(set(steps))
    assert (run.state, run.exit_code) == ("finished", 0)


def test_rows_and_pictures_that_the_server_lacks_arrive_once(
    server: WandbServer, tmp_path: Path
) -> None:
    """Of two offline parts and an online one between them, from which the server lost rows."""
    folder = tmp_path / "runs" / "a"
    folder.mkdir(parents=True)
    log("offline", folder, 0, 2, exit_code=1)
    log("online", folder, 2, 4, exit_code=1)
    log("offline", folder, 4, 5)
    run = server.runs["abc"]
    rows = run.lines["wandb-history.jsonl"]
    kept = [line for number, line in rows.items() if number not in (1, 2, 7)]
    run.lines["wandb-history.jsonl"] = dict(enumerate(kept))
    run.files = {name: text for name, text in run.files.items() if "media" not in name}
    assert upload_runs(tmp_path / "runs") == f"{folder}: uploaded (15 rows)\n"
    assert_complete(run, 5)
    assert upload_runs(folder) == f"{folder}: W&B has everything\n"
    for marker in folder.rglob("*.synced"):
        marker.unlink()  # as if the upload had been killed at its very end
    assert upload_runs(folder) == f"{folder}: W&B has everything\n"
    assert_complete(run, 5)


def test_what_cannot_be_uploaded_is_said_in_one_line(
    server: WandbServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusal(code: int) -> str:
        found, output = run_program(upload.main, [str(tmp_path / "a")])
        (line,) = output.splitlines()
        assert found == code
        assert line.startswith("error: ")
        return line

    assert "holds no files of W&B" in refusal(2)
    (tmp_path / "a").mkdir()
    log("offline", tmp_path / "a", 0, 1)
    lock = take_lock(tmp_path / "a" / LOCK)
    assert "is in use (wait for it)" in refusal(1)
    lock.release()
    with server.fault("status", "RunHistory", status=403):
        server.runs["abc"] = RunRecord("abc", server.entity, "p", state="crashed", attempts=1)
        server.runs["abc"].receive("wandb-history.jsonl", 0, ['{"_step": 0}'])
        assert "does not tell what it has" in refusal(1)
    node = RunRecord.node
    with monkeypatch.context() as patch:
        patch.setattr(RunRecord, "node", lambda run, url="": node(run, url) | {"historyKeys": None})
        assert "its index of 1 rows is not ready" in refusal(1)
    with server.fault("refuse"):
        assert "cannot be reached from here" in refusal(1)
    with server.client(tmp_path / "another home", WANDB_API_KEY=""):
        assert "`wandb login`" in refusal(1)
