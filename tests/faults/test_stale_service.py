"""A program below a process whose W&B service has ended starts a service of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import report
import upload
from tests.faults.trains import BARE, TrainServer
from tests.programs import run_program
from tests.wandb_server import WandbServer

LEAVES_ADDRESS = """
import os, wandb
wandb.setup()
print(os.environ["WANDB_SERVICE"])
"""


LOGS_OFFLINE = """
import wandb
run = wandb.init(mode="offline", id="abc", project="demo")
run.log({"epoch": 0, "val/mae": 1.0})
run.finish()
"""


def address_of_a_service_that_has_ended(folder: Path) -> str:
    """Start W&B's own service and let it end with its process."""
    environment = {name: text for name, text in os.environ.items() if name != "WANDB_SERVICE"}
    done = subprocess.run(
        [sys.executable, "-c", LEAVES_ADDRESS],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().splitlines()[-1]


def test_the_address_of_a_service_that_has_ended_is_not_used(
    server: TrainServer, tmp_path: Path
) -> None:
    stale = address_of_a_service_that_has_ended(tmp_path)
    command = [*BARE, f"--runs_dir={tmp_path}", "--trainer.max_epochs=1"]
    environment = {"WANDB_MODE": "offline", "WANDB_SERVICE": stale}
    train = server.start(command, tmp_path / "start.log", **environment)
    assert train.wait() == 0, train.output()
    run = tmp_path / "tiny"
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"
    assert len(list((run / "wandb").glob("offline-run-*/run-*.wandb"))) == 1
    for noise in ("Traceback", "weights_only", "GPU available", "TPU available"):
        assert noise not in train.output(), train.output()


def test_neither_report_nor_upload_uses_it(tmp_path: Path) -> None:
    stale = address_of_a_service_that_has_ended(tmp_path)
    with WandbServer() as wandb_server, wandb_server.client(tmp_path):
        code, output = run_program(report.main, ["--wandb", "tester/demo"], WANDB_SERVICE=stale)
        assert (code, "tester/demo has no runs" in output) == (2, True), output
    with WandbServer() as wandb_server, wandb_server.client(tmp_path):
        subprocess.run([sys.executable, "-c", LOGS_OFFLINE], cwd=tmp_path, check=True)
        code, output = run_program(upload.main, [str(tmp_path)], WANDB_SERVICE=stale)
        assert (code, "uploaded (1 rows)" in output) == (0, True), output
        assert wandb_server.runs["abc"].metric("val/mae") == [1.0]
