"""Stage one fault of W&B's server at one moment of a run, and check what must hold afterwards."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from pathlib import Path

import psutil
from lightning.pytorch import Callback, LightningModule, Trainer

from records.metrics import read_metrics
from tests.patience import LIMIT
from tests.wandb_cells import assert_every_cell_arrived_once
from tests.wandb_records import RunRecord
from tests.wandb_server import WandbServer, refused_connections

REPOSITORY = Path(__file__).parents[2]
MOMENTS = ("start", "middle", "finish")
FAULTS = ("refuse", "hang", "drop", "status", "slow", "key")
"""Nothing listens; the server never answers; it resets connections; it answers 503; each answer
takes 2 s; it does not accept the API key."""
WRONG_KEY = "f" * 40


class Stage:
    """The server, and one fault that begins and ends."""

    def __init__(self, server: WandbServer, fault: str, moment: str) -> None:
        self.server = server
        self.fault = fault
        self.moment = moment
        self.epochs_during: list[int] = []
        self._lifted = contextlib.ExitStack()
        self._before = 0
        self._staged = False

    def begin(self) -> None:
        """Start the fault."""
        self._staged = True
        self._before = self._count()
        if self.fault == "key":
            self.server.api_key, key = WRONG_KEY, self.server.api_key
            self._lifted.callback(setattr, self.server, "api_key", key)
        else:
            self._lifted.enter_context(self.server.fault(self.fault, seconds=2.0))

    def end(self) -> None:
        """End the fault."""
        self._staged = False
        self._lifted.close()

    @property
    def staged(self) -> bool:
        return self._staged

    def _count(self) -> int:
        if self.fault == "key":
            # The client asks other questions again, as if nothing had been. It gives up only where
            # rows are turned away.
            return self.server.rejected_rows
        if self.fault == "refuse":
            return refused_connections()
        return sum(fault.hits for fault in self.server.faults)

    def wait_for_a_hit(self) -> None:
        """Wait until the client has met the fault."""
        deadline = time.monotonic() + LIMIT
        while self._count() == self._before:
            assert time.monotonic() < deadline, f"nothing met the fault {self.fault}"
            time.sleep(0.05)


class StageFault(Callback):
    """Stages the fault of `StageFault.stage` in the middle or at the end of ``train.py``."""

    stage: Stage

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stage.moment == "start":
            self.stage.end()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stage.moment == "middle" and trainer.current_epoch == 1:
            self.stage.begin()
        if self.stage.moment == "middle" and trainer.current_epoch == 3:
            self.stage.wait_for_a_hit()
            self.stage.end()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stage.staged:
            self.stage.epochs_during.append(trainer.current_epoch)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stage.moment == "finish":
            self.stage.begin()


def services() -> list[psutil.Process]:
    """Find this process's service processes of W&B."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "wandb-core" in child.name()]


def warnings_in(output: str) -> list[str]:
    """Find the lines about W&B, except the one that says that it is online."""
    lines = [line.strip() for line in output.splitlines()]
    return [line for line in lines if re.search(r"W&B|wandb", line) and line != "W&B is online."]


def upload(warning: str, server: WandbServer, folder: Path) -> str:
    """Run the command that a warning gives, word for word; return what it prints."""
    (command,) = re.findall(r"`(python [^`]*upload.py [^`]*)`", warning)
    done = subprocess.run(
        command,
        shell=True,
        cwd=REPOSITORY,
        env=server.environment(folder),
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stderr) == (0, "upload.py: asking W&B what it has\n")
    return done.stdout


def assert_all_rows_arrived(run: RunRecord, metrics: Path, epochs: int) -> None:
    """Compare the server's history with metrics.csv, row by row and number by number."""
    assert sorted(read_metrics(metrics)) == list(range(-1, epochs))
    assert_every_cell_arrived_once(run, metrics, epochs)
