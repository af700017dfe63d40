"""prune.py on a real run: rounds, resumption, checkpoints that train.py accepts, and bad input."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import prune
from records.pruning import FRONT, read_front, sentence
from records.summary import read_summary, write_summary
from runtime.checkpoints import read_checkpoint
from tests.programs import run_program, run_train

OPTIONS = [
    "--model.irreps=4x0e+4x1o+2x2e",
    "--model.num_layers=3",
    "--model.embedding_dim=8",
    "--data.train_size=96",
    "--data.val_size=40",
    "--data.test_size=50",
    "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--utilization.enabled=false",
    "--latent.enabled=false",
]
QUICK = ["--fine-tune=1", "--max-increase=0.2", "--num-molecules=50", "--device=cpu"]


@pytest.fixture(scope="module")
def trained(prepared_qm9: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        extra = [f"--runs_dir={runs}", f"--run_name=s{seed}", f"--seed_everything={seed}"]
        code, output = run_train([*OPTIONS, *extra], WANDB_MODE="disabled")
        assert code == 0, output
    return runs


@pytest.fixture(scope="module")
def pruned(trained: Path) -> tuple[Path, str]:
    code, output = run_program(prune.main, [str(trained / "s0"), *QUICK])
    assert code == 0, output
    return trained / "s0" / "pruned" / "missed", output


def test_the_front_is_written_said_and_logged(pruned: tuple[Path, str]) -> None:
    folder, output = pruned
    front = read_front(folder / FRONT)
    assert front is not None
    assert sentence(front) in output
    assert (folder / "front.png").stat().st_size > 10_000
    assert list((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    operations = [point.operations for point in front.points if point.phase != "channels"]
    assert operations == sorted(operations, reverse=True)
    assert front.points[0].increase == 0.0


def test_errors_are_those_that_train_py_measures(pruned: tuple[Path, str]) -> None:
    folder, _ = pruned
    front = read_front(folder / FRONT)
    assert front is not None
    for point in (front.points[0], front.points[-1]):
        path = folder / point.checkpoint
        code, output = run_train(["test", f"--ckpt_path={path}", "--trainer.accelerator=cpu"])
        assert code == 0, output
        assert f"test MAE {point.mae:.4g} meV" in output
    assert read_checkpoint(folder / front.points[-1].checkpoint)["pruned_from"]["run"] == "s0"


def test_a_pruned_network_is_trained_on(pruned: tuple[Path, str], tmp_path: Path) -> None:
    folder, _ = pruned
    path = sorted(folder.glob("point_*.ckpt"))[-1]
    arguments = ["fit", f"--init_from={path}", f"--runs_dir={tmp_path}", "--run_name=on"]
    quick = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", *OPTIONS[-2:]]
    # With a rate this small, one epoch leaves the network as it was: where it began is seen.
    code, output = run_train([*arguments, *quick, "--model.lr=1.0e-9"], WANDB_MODE="disabled")
    assert code == 0, output
    before, after = (
        read_checkpoint(file)["state_dict"]
        for file in (path, tmp_path / "on" / "checkpoints" / "last.ckpt")
    )
    for name, value in before.items():
        if name.startswith("network."):
            torch.testing.assert_close(after[name], value, rtol=1e-5, atol=1e-6)
    code, output = run_train([*arguments, *quick, "--model.num_layers=5"])
    assert code == 2
    assert "model.num_layers 3 -> 5" in output


def test_a_killed_pruning_goes_on_to_the_same_end(
    pruned: tuple[Path, str], trained: Path, tmp_path: Path
) -> None:
    whole, _ = pruned
    command = [sys.executable, "prune.py", str(trained / "s0"), *QUICK, f"--output={tmp_path}"]
    state = tmp_path / "state.json"
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("round 2 "):  # said once round 2 is on disk
                process.send_signal(signal.SIGKILL)
    known = json.loads(state.read_text())["points"]
    assert 3 <= len(known) <= 4
    code, output = run_program(prune.main, [*command[2:]])
    assert code == 0, output
    assert f"{len(known) - 1} rounds done before" in output
    one, other = (json.loads((folder / "state.json").read_text()) for folder in (whole, tmp_path))
    assert one["points"] == other["points"]
    for path in sorted(whole.glob("point_*.npz")):
        with np.load(path) as a, np.load(tmp_path / path.name) as b:
            np.testing.assert_array_equal(a["pruned"], b["pruned"])
            np.testing.assert_array_equal(a["control"], b["control"])


def check_order_of_rounds(state: Path, most: float) -> None:
    """After a network that is too bad, others are tried from the same one; two are the end."""
    points = json.loads(state.read_text())["points"][1:]
    assert any(point["val_increase"] > most for point in points)
    for phase in ("irreps", "channels"):
        own = [point for point in points if point["phase"] == phase]
        bad = [point["val_increase"] > most for point in own]
        assert not any(all(bad[i : i + 2]) for i in range(len(bad) - 2))
        for one, other in pairwise(own):
            if one["val_increase"] > most:
                assert other["parent"] == one["parent"]
                assert not set(one["tried"]) & set(other["tried"])
            else:
                assert other["parent"] == one["number"]


def test_runs_are_pruned_together_with_intervals_over_seeds(trained: Path) -> None:
    runs = [str(trained / "s0"), str(trained / "s1")]
    code, output = run_program(prune.main, [*runs, *QUICK, "--by=taylor", "--max-increase=0.01"])
    assert code == 0, output
    check_order_of_rounds(trained / "pruned" / "taylor" / "state.json", 0.01)
    front = read_front(trained / "pruned" / "taylor" / FRONT)
    assert front is not None
    assert front.of == ("s0", "s1")
    assert all(point.runs == 2 for point in front.points)
    assert all(np.isfinite(point.seeds_high) for point in front.points[1:])


def test_irreps_as_given(trained: Path) -> None:
    code, output = run_program(
        prune.main, [str(trained / "s0"), *QUICK, "--irreps=3x0e+2x1o", "--fine-tune=0"]
    )
    assert code == 0, output
    front = read_front(trained / "s0" / "pruned" / "chosen" / FRONT)
    assert front is not None
    assert [point.layers for point in front.points[1:]] == ["3x0e+2x1o | 3x0e+2x1o | 3x0e"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--tolerance=0"], "--tolerance is 0: give more than 0"),
        (["--tolerance=-1"], "--tolerance is -1"),
        (["--fine-tune=-1"], "--fine-tune is -1"),
        (["--irreps=4x0e+9x1o"], "ask for 9x1o, and the network has 4x1o"),
        (["--irreps=4x1o"], "nothing is left that reaches the readout's 0e"),
        (["--irreps=rubbish"], "cannot be parsed"),
        (["--by=size"], "choose from"),
        (["--by=nested"], "needs a run that was trained with model.irrep_dropout"),
        (["--device=abacus"], "--device abacus cannot be used"),
        (["--num-molecules=1"], "--num-molecules is 1"),
    ],
)
def test_bad_options_are_refused_in_one_line(
    trained: Path, arguments: list[str], words: str, tmp_path: Path
) -> None:
    given = [str(trained / "s1"), f"--output={tmp_path / 'out'}", *arguments]
    code, output = run_program(prune.main, given)
    assert code == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert words in line
    assert not (tmp_path / "out").exists()


def test_a_run_that_cannot_be_pruned_is_refused(trained: Path, tmp_path: Path) -> None:
    unfinished, lacking = (
        Path(shutil.copytree(trained / "s0", tmp_path / name)) for name in ("a", "b")
    )
    summary = read_summary(unfinished / "summary.json")
    assert summary is not None
    write_summary(unfinished / "summary.json", summary.updated(status="running"))
    (lacking / "checkpoints" / "best.ckpt").unlink()
    for path, words in (
        (unfinished, "is running: train it to its end first"),
        (lacking, "no checkpoint"),
        (tmp_path, "is not a run"),
    ):
        code, output = run_program(prune.main, [str(path), *QUICK])
        assert code == 2, output
        assert words in output
    code, output = run_program(prune.main, [str(trained / "s0")] * 2)
    assert code == 2
    assert "given twice" in output


def test_other_options_or_checkpoints_need_a_fresh_start(
    pruned: tuple[Path, str], trained: Path
) -> None:
    folder, _ = pruned
    code, output = run_program(prune.main, [str(trained / "s0"), *QUICK, "--fine-tune=3"])
    assert code == 2
    assert "fine_tune 1.0 -> 3.0" in output
    code, output = run_program(prune.main, [str(trained / "s1"), *QUICK, f"--output={folder}"])
    assert code == 2
    assert "other checkpoints" in output
