"""After `kill -9` at any moment, the same command ends with the files of an unbroken run."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from runtime.checkpoints import read_checkpoint
from tests.faults.pause import PHASES, PRETRAINING
from tests.faults.trains import (
    EPOCHS,
    GATED,
    MEASURED,
    TINY,
    Pause,
    Train,
    TrainServer,
    assert_nothing_is_half_written,
    assert_same_run,
    metrics_of,
    start_process,
)
from tests.patience import LIMIT

Start = Callable[..., Train]


class Campaign:
    """Kill runs in one phase after another, and compare each that ends with an unbroken run."""

    def __init__(
        self,
        start: Start,
        arguments: list[str],
        folder: Path,
        seed: int,
        whole: Path | None = None,
    ) -> None:
        self.start = start
        self.arguments = arguments
        self.folder = folder
        self.chance = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.ended: list[Path] = []
        if whole is None:
            whole = self._runs_dir("whole") / "tiny"
            self.finish(whole.parent)
        self.whole = whole
        self._broken = self._runs_dir("broken0")

    def _runs_dir(self, name: str) -> Path:
        (self.folder / name).mkdir(parents=True)
        return self.folder / name

    def _launch(self, runs_dir: Path, pause: Pause | None = None) -> Train:
        log = runs_dir / f"start{len(list(runs_dir.glob('*.log')))}.log"
        return self.start([*self.arguments, f"--runs_dir={runs_dir}"], log, pause=pause)

    def finish(self, runs_dir: Path) -> None:
        """Start the run again and let it end."""
        train = self._launch(runs_dir)
        assert train.wait() == 0, train.output()

    def kill_in(self, phase: str, epoch: int = 0) -> None:
        """Start the run, or continue it, and kill it in a phase."""
        train, run = self._launch(self._broken, (phase, epoch)), self._broken / "tiny"
        train.wait_until_paused()
        assert train.send() == -9, train.output()
        self.kills[phase] += 1
        assert any(run.rglob(".*.ckpt.*.tmp")) == (phase == "checkpoint")
        assert_nothing_is_half_written(run)

    def _next_run(self) -> None:
        """Compare the run that has ended with the unbroken one, and begin another."""
        run = self._broken / "tiny"
        assert_same_run(run, self.whole)
        self.ended.append(run)
        self._broken = self._runs_dir(f"broken{len(self.ended)}")

    def end(self) -> None:
        """Let the last run end, compare it, and check that no process outlives it."""
        self.finish(self._broken)
        self._next_run()
        deadline = time.monotonic() + LIMIT
        while left := self._processes():
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.1)

    def _processes(self) -> list[str]:
        found = []
        for process in psutil.process_iter(["pid", "cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            if str(self.folder) in line and process.info["pid"] != os.getpid():
                found.append(line)
        return found


def test_three_kills_leave_no_trace_in_the_result(
    server: TrainServer, whole_run: Path, tmp_path: Path
) -> None:
    campaign = Campaign(server.start, TINY, tmp_path, seed=0, whole=whole_run)
    # The comparison is sensitive: the learning rate depends on the errors of earlier epochs.
    rates = [row["lr"] for epoch, row in metrics_of(campaign.whole).items() if epoch >= 0]
    assert rates[-1] < rates[0]
    last = read_checkpoint(campaign.whole / "checkpoints" / "last.ckpt")
    assert last["epoch"] == EPOCHS - 1
    campaign.kill_in("checkpoint", epoch=1)
    campaign.kill_in("utilization", epoch=2)
    campaign.kill_in("test")
    campaign.end()
    assert sum(campaign.kills.values()) == 3


def test_a_kill_leaves_no_trace_in_double_precision(server: TrainServer, tmp_path: Path) -> None:
    arguments = [*MEASURED, "--trainer.precision=64-true", "--model.lr=0.001"]
    campaign = Campaign(server.start, arguments, tmp_path, seed=0)
    campaign.kill_in("checkpoint", epoch=1)
    campaign.end()
    best = campaign.whole / "checkpoints" / "best.ckpt"
    test = server.start(["test", f"--ckpt_path={best}"], tmp_path / "test.log")
    assert test.wait() == 0, test.output()
    mae = metrics_of(campaign.whole)[EPOCHS - 1]["test/mae"]
    assert f"test MAE {mae:.4g} meV" in test.output()
    log = tmp_path / "other.log"
    other = server.start(["test", f"--ckpt_path={best}", "--trainer.precision=32-true"], log)
    assert other.wait() == 2
    assert "trained with trainer.precision 64-true" in other.output()


def test_kills_leave_no_trace_in_a_pretrained_gated_network_with_penalties(
    server: TrainServer, tmp_path: Path
) -> None:
    arguments = [*MEASURED, *GATED, "--model.lr=0.001"]
    campaign = Campaign(server.start, arguments, tmp_path, seed=0)
    campaign.kill_in(PRETRAINING)
    campaign.kill_in("training", epoch=1)
    campaign.end()
    assert metrics_of(campaign.whole)[-1]["pretraining/error"] > 0
    assert "train/power_balance" in metrics_of(campaign.whole)[EPOCHS - 1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_in_every_phase_leave_no_trace_in_the_result(tmp_path: Path) -> None:
    """With real processes, real UMAP, W&B offline and data prepared anew."""

    def start(arguments: list[str], log: Path, pause: Pause | None = None) -> Train:
        return start_process(arguments, log, pause, WANDB_MODE="offline")

    cache = tmp_path / "cache"
    campaign = Campaign(start, [*TINY, f"--data.cache_dir={cache}"], tmp_path / "runs", seed=1)
    for _ in range(3):
        (cache / "qm9-2.cache").unlink()
        campaign.kill_in("preparation")
        epochs = sorted(campaign.chance.randrange(EPOCHS) for _ in PHASES[1:-1])
        phases = campaign.chance.sample(PHASES[1:-1], len(PHASES) - 2)
        for phase, epoch in zip(phases, epochs):
            campaign.kill_in(phase, epoch)
        campaign.kill_in("test")
        campaign.end()
        assert {path.name for path in cache.iterdir()} <= {"qm9-2.cache", "qm9.lock"}
    assert sum(campaign.kills.values()) >= 20
    assert set(campaign.kills) == set(PHASES)
