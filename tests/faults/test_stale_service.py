"""A training below a process whose W&B service has ended starts a service of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.faults.trains import BARE, TrainServer

LEAVES_ADDRESS = """
import os, wandb
wandb.setup()
print(os.environ["WANDB_SERVICE"])
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
