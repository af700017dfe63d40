"""W&B's files, written by the real client, read and repaired wherever they are cut."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from records.wandb_files import (
    SET_ASIDE,
    cells_in_offline_files,
    cells_on_server,
    read_wandb_file,
    repair_offline_files,
)
from tests.wandb_server import WandbServer

LOG = """
import sys, wandb
settings = wandb.Settings(console="off", silent=True, x_disable_stats=True)
run = wandb.init(mode=sys.argv[1], dir=sys.argv[2], id="abc", project="p", resume="allow",
                 settings=settings)
for epoch in range(int(sys.argv[3]), int(sys.argv[4])):
    # As much as to make records that go over the limits of LevelDB's blocks.
    run.log({"epoch": epoch, "val/mae": 1.0 / (1 + epoch), "text": "x" * 15_000})
    run.log({"epoch": epoch, "late": 2.0})
run.finish()
"""


def log_epochs(folder: Path, first: int, end: int, mode: str = "offline", **environ: str) -> None:
    """Log epochs with the real client, in a process of its own."""
    environment = {**os.environ, "WANDB_ERROR_REPORTING": "false", **environ}
    command = [sys.executable, "-c", LOG, mode, str(folder), str(first), str(end)]
    subprocess.run(command, env=environment, check=True)


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``wandb`` folder of a run that has logged four epochs offline."""
    folder = tmp_path_factory.mktemp("logged")
    log_epochs(folder, 0, 4)
    return folder / "wandb"


def wandb_file(folder: Path) -> Path:
    (path,) = folder.glob("offline-run-*/run-abc.wandb")
    return path


def test_what_is_read_is_what_wandb_itself_reads(logged: Path) -> None:
    path = wandb_file(logged)
    assert path.stat().st_size > 32 * 1024, "no record goes over the limit of a block"
    program = Path(sys.executable).parent / "wandb"
    shown = subprocess.run(
        [program, "leet", "inspect", "--json", path.parent],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    records = [json.loads(line) for line in shown.splitlines()]
    theirs = [record["history"]["item"] for record in records if record["type"] == "history"]
    file = read_wandb_file(path)
    assert [(row.step, row.epoch, row.keys) for row in file.rows] == [
        (item["_step"], item["epoch"], frozenset(key for key in item if key[0] != "_"))
        for item in theirs
    ]
    assert (file.names_run, file.cut_off, file.damaged) == (True, False, False)


def test_a_file_cut_anywhere_is_cut_back_to_its_last_whole_record(
    logged: Path, tmp_path: Path
) -> None:
    whole = wandb_file(logged).read_bytes()
    rows = read_wandb_file(wandb_file(logged)).rows
    folder = tmp_path / "wandb" / "offline-run-1-abc"
    folder.mkdir(parents=True)
    path = folder / "run-abc.wandb"
    lengths = set()
    for size in [*range(0, 2000, 7), *range(2000, len(whole), 89), len(whole)]:
        path.write_bytes(whole[:size])
        moved = repair_offline_files(tmp_path / "wandb")
        if moved:
            assert moved == [tmp_path / "wandb" / SET_ASIDE / folder.name]
            assert size < 1000, "the record that names the run is one of the first"
            moved[0].rename(folder)
            continue
        file = read_wandb_file(path)
        assert (file.cut_off, file.damaged, file.names_run) == (False, False, True)
        assert file.rows == rows[: len(file.rows)]
        assert whole.startswith(path.read_bytes())
        lengths.add(len(file.rows))
    assert lengths == set(range(len(rows) + 1))


def test_a_file_with_another_byte_is_set_aside(logged: Path, tmp_path: Path) -> None:
    shutil.copytree(logged, tmp_path / "wandb", symlinks=True)
    path = wandb_file(tmp_path / "wandb")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    (moved,) = repair_offline_files(tmp_path / "wandb")
    assert (moved / "run-abc.wandb").read_bytes() == bytes(content)
    assert cells_in_offline_files(tmp_path / "wandb", "abc") == {}


def test_offline_files_tell_what_was_logged_for_each_epoch(logged: Path) -> None:
    assert repair_offline_files(logged) == []
    keys = {"epoch", "val/mae", "text", "late"}
    assert cells_in_offline_files(logged, "abc") == dict.fromkeys(range(4), keys)


def test_only_rows_that_the_server_has_received_count(tmp_path: Path) -> None:
    with WandbServer() as server:
        environment = server.environment(tmp_path)
        log_epochs(tmp_path, 0, 2, "online", **environment)
        run = server.runs["abc"]
        # The fourth row has not arrived when the next process begins.
        del run.lines["wandb-history.jsonl"][3]
        run.receive("wandb-summary.json", 0, [json.dumps({**run.summary, "_step": 2})])
        log_epochs(tmp_path, 2, 3, "online", **environment)
        assert [row["_step"] for row in run.history] == [0, 1, 2, 3, 4]
    keys = {"epoch", "val/mae", "text", "late"}
    expected = {0: keys, 1: keys - {"late"}, 2: keys}
    assert cells_on_server(tmp_path / "wandb", "abc", 5) == expected
    assert cells_on_server(tmp_path / "wandb", "abc", 2) == {0: keys}
    assert cells_on_server(tmp_path / "wandb", "abc", 6) is None
