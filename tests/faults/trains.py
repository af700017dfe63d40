"""Run `train.py` in processes that can be killed, and compare two runs."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
import yaml
from PIL import Image

from records.latent_paths import epochs_in
from records.metrics import read_metrics
from runtime.checkpoints import read_checkpoint
from tests.patience import LIMIT

REPOSITORY = Path(__file__).parents[2]
EPOCHS = 5
TINY = [
    "--run_name=tiny",
    "--model.irreps=4x0e+4x1o",
    "--model.num_layers=2",
    "--model.embedding_dim=8",
    # So small that no epoch improves by the 1e-4 that the schedule asks for: it is always halved.
    "--model.lr=1.0e-6",
    "--model.lr_schedule=plateau",
    "--model.patience=1",
    "--data.train_size=96",
    "--data.val_size=40",
    "--data.test_size=40",
    "--data.eval_batch_size=4",
    f"--trainer.max_epochs={EPOCHS}",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--utilization.num_molecules=20",
    "--utilization.num_bootstrap=50",
    "--latent.num_molecules=40",
    "--latent.n_neighbors=6",
    "--latent.dpi=40",
    "--latent.table_size=2",
]
MEASURED = [*TINY, "--utilization.heatmap=false", "--latent.enabled=false"]
"""`TINY` without pictures."""
GATED = [
    "--model.network=gated",
    "--model.group_lasso=0.1",
    "--model.power_balance=0.1",
    "--pretraining.epochs=2",
]
"""Beside one of the others: a gated network with penalties, pretrained by denoising."""
BARE = [*MEASURED, "--utilization.enabled=false"]
"""Training without measures or pictures."""
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled", "WANDB_ERROR_REPORTING": "false"}
PAUSE_VARIABLE = "IRREPSCOPE_TEST_PAUSE"
"""See `tests.faults.pause`, which imports too much for this module."""
TIMED = ("throughput/molecules_per_s", "test/seconds", "pretraining/seconds")
"""Metrics that differ between two runs of the same command."""


class Train:
    """A running ``train.py``."""

    def __init__(self, pid: int, log: Path, code: Callable[[], int]) -> None:
        self.pid = pid
        self.log = log
        self._code: int | None = None
        self._waiter = threading.Thread(target=self._wait, args=(code,), daemon=True)
        self._waiter.start()

    def _wait(self, code: Callable[[], int]) -> None:
        self._code = code()

    @property
    def running(self) -> bool:
        return self._waiter.is_alive()

    def output(self) -> str:
        """Everything that it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait(self) -> int:
        """Wait for the end; return the exit code, or minus the signal that killed it."""
        self._waiter.join(LIMIT)
        assert self._code is not None, f"still running after {LIMIT} s: {self.output()}"
        return self._code

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Return whether the condition became true before the process ended."""
        deadline = time.monotonic() + LIMIT
        while self.running:
            if condition():
                return True
            assert time.monotonic() < deadline, f"it never came: {self.output()}"
            time.sleep(0.01)
        return False

    def wait_until_paused(self) -> None:
        """Wait until the process is where it was told to pause."""
        process = psutil.Process(self.pid)

        def paused() -> bool:
            with suppress(psutil.NoSuchProcess):
                return process.status() == psutil.STATUS_STOPPED
            return False

        assert self.wait_until(paused), f"it has ended before: {self.output()}"

    def resume(self) -> None:
        """Let a paused process go on; what it was sent in the meantime reaches it now."""
        os.kill(self.pid, signal.SIGCONT)

    def send(self, signum: int = signal.SIGKILL) -> int:
        """Send a signal, at the point of a pause if there is one, and wait for the end."""
        os.kill(self.pid, signum)
        if signum != signal.SIGKILL:
            self.resume()
        return self.wait()


Pause = tuple[str, int]
"""A phase (one of `pause.PHASES`), and an epoch from which on it counts."""


def start_process(
    arguments: list[str], log: Path, pause: Pause | None = None, **environment: str
) -> Train:
    """Start ``python train.py ARGUMENTS`` as a user would."""
    program = ["train.py"] if pause is None else ["-m", "tests.faults.pause"]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, **ENVIRONMENT, **environment, **_variables(pause)},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    return Train(process.pid, log, process.wait)


def _variables(pause: Pause | None) -> dict[str, str]:
    return {} if pause is None else {PAUSE_VARIABLE: f"{pause[0]}:{pause[1]}"}


class TrainServer:
    """Starts `train.py` from a process that has already imported everything, one at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(
        self, arguments: list[str], log: Path, pause: Pause | None = None, **environment: str
    ) -> Train:
        """Do what `start_process` does, but a few seconds faster."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        variables = {**environment, **_variables(pause)}
        job = {"arguments": arguments, "environment": variables, "log": str(log)}
        self._process.stdin.write(f"{json.dumps(job)}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the server of train.py has ended"
        answers = self._process.stdout
        return Train(int(line), log, lambda: int(answers.readline()))


@contextmanager
def train_server() -> Iterator[TrainServer]:
    """Run the server during the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.train_server"],
        cwd=REPOSITORY,
        env={**os.environ, **ENVIRONMENT},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield TrainServer(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(LIMIT)


# ---- what must hold at any time -----------------------------------------------------------------


def assert_nothing_is_half_written(run: Path) -> None:
    """Read every file under its final name."""
    for path in run.rglob("*"):
        if not path.is_file() or path.name.startswith(".") or "wandb" in path.parts:
            continue
        if path.suffix == ".ckpt":
            read_checkpoint(path)
        elif path.suffix == ".npz":
            with np.load(path) as arrays:
                assert all(arrays[name] is not None for name in arrays)
        elif path.suffix in (".png", ".gif"):
            with Image.open(path) as image:
                image.load()
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".yaml":
            assert "model" in yaml.safe_load(path.read_text())
        elif path.suffix == ".csv":
            with path.open(newline="") as file:
                assert len({len(row) for row in csv.reader(file)}) == 1, path
        else:
            assert path.suffix == ".log", f"a run writes no file like {path}"


# ---- what must be the same ----------------------------------------------------------------------


def assert_same_run(run: Path, whole: Path, pictures: bool = True) -> None:
    """Check that a run's files equal those of an unbroken run, bit for bit.

    With ``pictures=False`` the run draws none, while the unbroken one does.
    """
    drawn = () if pictures else ("latents/", "utilization/")
    assert files_of(run) == {name for name in files_of(whole) if not name.startswith(drawn)}
    mine, theirs = metrics_of(run), metrics_of(whole)
    if not pictures:
        theirs = {e: without(row, "latent/") for e, row in theirs.items()}
    for epoch in mine.keys() | theirs.keys():
        one, two = mine.get(epoch, {}), theirs.get(epoch, {})
        different = {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)}
        assert not different, f"epoch {epoch}: {sorted(different)[:9]} ({len(different)} metrics)"
    lines = (run / "metrics.csv").read_text().splitlines()
    epochs = [int(float(line.split(",")[lines[0].split(",").index("epoch")])) for line in lines[1:]]
    assert epochs == list(range(-1, EPOCHS)), "a row is missing or repeated"
    assert (run / "utilization.csv").read_bytes() == (whole / "utilization.csv").read_bytes()
    for name in ("best", "last"):
        mine, theirs = (read_checkpoint(r / "checkpoints" / f"{name}.ckpt") for r in (run, whole))
        for key in ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers"):
            assert identical(mine[key], theirs[key]), f"{name}.ckpt: {key}"
    latents = whole / "latents" if pictures else run / "latents"
    assert epochs_in(run / "latents") == epochs_in(latents)
    for path in sorted(latents.glob("epoch_*.npz")):
        assert (run / "latents" / path.name).read_bytes() == path.read_bytes(), path.name
    assert json.loads((run / "summary.json").read_text())["status"] == "finished"


def files_of(run: Path) -> set[str]:
    """Name a run's files except W&B's own, whose names are random."""
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    return {name for name in files if not name.startswith("wandb/")}


def metrics_of(run: Path) -> dict[int, dict[str, float]]:
    """Read metrics.csv without timings."""
    rows = read_metrics(run / "metrics.csv")
    return {e: {k: v for k, v in row.items() if k not in TIMED} for e, row in rows.items()}


def without(row: dict[str, float], prefix: str) -> dict[str, float]:
    """Leave out keys that start with a prefix."""
    return {key: value for key, value in row.items() if not key.startswith(prefix)}


def identical(one: Any, two: Any) -> bool:
    """Return whether two nested values are equal to the last bit."""
    if isinstance(one, torch.Tensor):
        # Of the bytes, because a NaN (the weight of an element that no molecule has) is equal here.
        same_kind = one.dtype == two.dtype and one.shape == two.shape
        return same_kind and one.numpy().tobytes() == two.numpy().tobytes()
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(identical(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(identical, one, two))
    return bool(one == two)
