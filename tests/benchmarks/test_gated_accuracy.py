"""The comparison of accuracies continues exactly where it was stopped, and keeps its results."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from benchmarks import gated_accuracy
from benchmarks.gated_accuracy import Recipe, Training, Trial, learning_rate
from benchmarks.gated_learning import NetworkKind, Result, learning_curves, read_results, table
from benchmarks.gated_peers import Architecture

ROOT = Path(__file__).parents[2]

RESULT = Result("gated", 10_000, 0, 30.0, "wall", 2, 1_000, 500, 8.5, 31.25, 30.5)


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second pass whenever the clock is read: two in every step."""
    ticks = count()
    monkeypatch.setitem(gated_accuracy.CLOCKS, "cpu", lambda: float(next(ticks)))  # type: ignore[arg-type]
    monkeypatch.setattr(gated_accuracy, "VAL_SIZE", 4)
    monkeypatch.setattr(gated_accuracy, "TEST_SIZE", 4)
    small = Recipe(batch_size=2, architecture=Architecture("2x0e+2x1o", num_layers=2))
    monkeypatch.setattr(gated_accuracy, "RECIPES", {"gated": small, "published": small})


@pytest.mark.usefixtures("prepared_qm9", "ticking")
def test_a_stopped_training_ends_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial("gated", 6, seed=0, minutes=16 / 60, clock="cpu")  # 8 steps, 3 an epoch
    recipe = gated_accuracy.RECIPES["gated"]
    data = gated_accuracy.molecules(recipe, 6)
    unbroken = Training(trial, recipe, data)
    unbroken.run(tmp_path / "unbroken.ckpt")
    stopped, path = Training(trial, recipe, data), tmp_path / "stopped.ckpt"
    step = stopped._step

    def stop_after_four(batch: object, rate: float) -> None:
        if stopped.steps == 4:
            raise KeyboardInterrupt
        step(batch, rate)  # type: ignore[arg-type]

    monkeypatch.setattr(stopped, "_step", stop_after_four)
    with pytest.raises(KeyboardInterrupt):
        stopped.run(path)
    stopped.save(path)
    torch.manual_seed(7)
    continued = Training(trial, recipe, data)
    continued.load(path)
    continued.run(path)
    assert continued.steps == unbroken.steps == 8
    for one, other in zip(
        (*continued.network.parameters(), *continued.average.parameters()),
        (*unbroken.network.parameters(), *unbroken.average.parameters()),
    ):
        assert torch.equal(one, other)
    assert continued.result() == unbroken.result()


@pytest.mark.usefixtures("prepared_qm9", "ticking")
def test_what_is_in_the_file_is_not_trained_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, checkpoints = tmp_path / "accuracy.csv", tmp_path / "checkpoints"
    command = ["--networks", "gated", "--train-sizes", "6", "--minutes", "0.1", "--clock", "cpu"]
    command += ["--results", str(results), "--checkpoints", str(checkpoints)]
    gated_accuracy.main(command)
    assert "gated-6-s0-0.1min-cpu" in capsys.readouterr().out
    assert not list(checkpoints.iterdir())
    before = results.read_bytes()
    gated_accuracy.main(command)
    assert results.read_bytes() == before
    assert capsys.readouterr().out.startswith("| molecules")


def test_results_are_found_again_in_their_file(tmp_path: Path) -> None:
    path = tmp_path / "accuracy.csv"
    assert read_results(path).rows == []
    read_results(path).add([RESULT])
    found = read_results(path).rows
    assert found == [RESULT]
    assert gated_accuracy.find(found, Trial("gated", 10_000, 0, 30.0, "wall")) == RESULT
    assert gated_accuracy.find(found, Trial("gated", 10_000, 1, 30.0, "wall")) is None


def test_the_table_has_a_line_for_each_size_and_time_and_averages_seeds() -> None:
    other_seed = replace(RESULT, seed=1, test_mae=31.5)
    nequip = replace(RESULT, network="nequip", parameters=2_000, train_size=5_000, test_mae=60.0)
    lines = table([RESULT, other_seed, nequip]).splitlines()
    assert lines[0] == (
        "| molecules | time | gated (1,000 parameters) | nequip (2,000 parameters) |"
    )
    assert lines[2:] == [
        "| 5,000 | 30 minutes | \N{EN DASH} | 60.0 (8 epochs) |",
        "| 10,000 | 30 minutes | 31.0 (8 epochs, 2 seeds) | \N{EN DASH} |",
    ]


def test_trainings_by_different_clocks_have_lines_of_their_own() -> None:
    lines = table([RESULT, replace(RESULT, clock="cpu", test_mae=29.0)]).splitlines()
    assert lines[2:] == [
        "| 10,000 | 30 CPU minutes | 29.0 (8 epochs) |",
        "| 10,000 | 30 minutes | 30.5 (8 epochs) |",
    ]


def test_no_results_are_an_error_that_says_so(tmp_path: Path) -> None:
    command = ["--only-summary", "--results", str(tmp_path / "none.csv")]
    with pytest.raises(SystemExit, match="none.csv has no results"):
        gated_accuracy.main(command)


def test_the_picture_shows_the_trainings_of_one_duration() -> None:
    longer = replace(RESULT, minutes=90.0, test_mae=20.0)
    fewer = replace(RESULT, train_size=5_000, test_mae=40.0)
    axes = learning_curves([RESULT, longer, fewer]).axes[0]
    (line,) = axes.lines
    assert np.array_equal(line.get_ydata(), [40.0, 30.5])
    assert "30 minutes" in axes.get_title()


def test_the_docs_show_the_kept_results() -> None:
    results = read_results(ROOT / "results" / "gated" / "accuracy.csv").rows
    assert {r.network for r in results} == set(get_args(NetworkKind))
    assert table(results) in (ROOT / "docs" / "network.md").read_text()


def test_the_learning_rate_grows_and_falls_to_zero() -> None:
    assert learning_rate(0.0) < 0.02
    assert learning_rate(0.01) == 1.0
    assert learning_rate(0.505) == pytest.approx(0.5)
    assert learning_rate(1.0) == learning_rate(1.1) == 0.0


def test_only_the_model_differs_between_the_gated_network_and_nequips() -> None:
    assert gated_accuracy.RECIPES["gated"] is gated_accuracy.RECIPES["nequip"]


def test_the_wider_network_has_twice_the_channels_and_nothing_else_differs() -> None:
    wider = gated_accuracy.RECIPES["gated-32"]
    assert replace(wider, architecture=gated_accuracy.SIZE) == gated_accuracy.RECIPES["gated"]
    kept = read_results(ROOT / "results" / "gated" / "accuracy.csv").rows
    assert {r.parameters for r in kept if r.network == "gated-32"} == {
        sum(p.numel() for p in wider.network("gated-32", seed=0).parameters())
    }


def test_the_shorter_cutoff_is_that_of_the_graph_and_of_the_network() -> None:
    recipe = gated_accuracy.RECIPES["gated-3.5"]
    assert recipe.cutoff == recipe.architecture.cutoff == 3.5
    architecture = replace(
        recipe.architecture, cutoff=5.0, neighbor_norm=gated_accuracy.SIZE.neighbor_norm
    )
    same = replace(recipe, cutoff=5.0, architecture=architecture)
    assert same == gated_accuracy.RECIPES["gated"]


@pytest.mark.peers
@pytest.mark.usefixtures("prepared_qm9", "ticking")
def test_nequips_model_trains_in_the_same_loop(tmp_path: Path) -> None:
    recipe = gated_accuracy.RECIPES["gated"]
    trial = Trial("nequip", 6, seed=0, minutes=8 / 60, clock="cpu")
    training = Training(trial, recipe, gated_accuracy.molecules(recipe, 6))
    training.run(tmp_path / "nequip.ckpt")
    assert training.steps == 4
    assert training.result().test_mae > 0
