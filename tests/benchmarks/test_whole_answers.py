"""The benchmark of whole answers compares orders, costs and parts as it says."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import pytest

from benchmarks import whole_answers
from benchmarks.nested import RECIPES, SEPARATE, Result, Results
from benchmarks.process_tree import Used, run_watched
from benchmarks.whole_quickstart import (
    EVALUATION,
    REST,
    START,
    SWEEPING,
    TOTAL,
    TRAINING,
    WANDB,
    WORKER,
    divide,
    measure_quickstart,
    run_sweep,
)

WAY = "uniform@0.17"


def rows(way: str, seed: int, maes: dict[str, float], seconds: float) -> list[Result]:
    return [Result("nine", way, name, seed, 6, mae, seconds) for name, mae in maes.items()]


def study() -> list[Result]:
    """Two sets far apart, and a third one that the seeds do not tell from the second."""
    found = []
    for seed, noise in enumerate((-1.0, 0.0, 1.0)):
        separate = {"0": 200.0, "0,1": 100.0 + noise, "0,2": 101.0 - noise}
        found += rows(SEPARATE, seed, separate, 10.0)
        found += rows(WAY, seed, {"0": 220.0, "0,1": 120.0, "0,2": 230.0 + noise}, 5.0)
    return found


def test_pairs_are_resolved_by_intervals_over_seeds_and_compared_by_sign() -> None:
    found = {pair.sets: (pair.resolved, pair.agrees) for pair in whole_answers.pairs(study(), WAY)}
    assert found == {
        ("0", "0,1"): (True, True),
        ("0", "0,2"): (True, False),
        ("0,1", "0,2"): (False, True),
    }


def test_the_summary_states_costs_orders_and_disagreements() -> None:
    text = "\n".join(whole_answers.summary(study(), WAY))
    assert "3 nested trainings take 15 CPU s, 9 separate ones 90: 0.167 of the cost" in text
    assert "Spearman 0.500, Kendall 0.333" in text
    assert "| 0,1 | 100.0 ± 1.0 | 120.0 ± 0.0 |" in text
    assert "resolve 2 of 3 pairs. The nested ones put 1 of these in the same order" in text
    assert "order; each alone puts 1, 1, 1." in text
    last = text.splitlines()[-1]
    assert last.startswith("0 − 0,2: +99.0 (+96.5 to +101.5) meV separately, -10.0 (-12.5 to -7.5)")


def test_trainings_of_the_same_recipe_are_taken_over_without_their_cost(tmp_path: Path) -> None:
    kept = Results(tmp_path / "kept.csv")
    kept.add([Result("quickstart", SEPARATE, "0", seed, 6, 200.0 + seed, 99.0) for seed in (0, 1)])
    kept.add([Result("reading", SEPARATE, "0", 1, 6, 1.0, 99.0)])
    results = Results(tmp_path / "study.csv")
    results.add(rows(SEPARATE, 0, {"0": 200.0}, 10.0))
    for _ in range(2):
        whole_answers.take_over(results, kept, [1, 2])
    again = Results(tmp_path / "study.csv").rows
    assert [(row.scale, row.seed, row.mae) for row in again] == [
        ("nine", 0, 200.0), ("nine", 1, 201.0),
    ]  # fmt: skip
    assert math.isnan(again[1].cpu_seconds)
    assert whole_answers.cost(again, SEPARATE) == 20.0


def test_the_kept_study_has_every_set_and_seed() -> None:
    found = Results(whole_answers.ROOT / "results" / "whole_answers" / "study.csv").rows
    names = {"0", "0,1", "0,2", "0,3", "0,1,2", "0,1,3", "0,2,3", "0,1,2,3", "0,1,2,3,4"}
    for way in (SEPARATE, *whole_answers.WAYS):
        assert {(r.degrees, r.seed) for r in found if r.way == way} == {
            (name, seed) for name in names for seed in (0, 1, 2)
        }
    assert len(RECIPES["nine"].compared) == len(names)
    assert 5 * whole_answers.cost(found, WAY) <= whole_answers.cost(found, SEPARATE)


def test_cpu_time_is_divided_by_what_it_was_spent_on() -> None:
    profile = {
        "cpu": 50.0,
        "before": {"cpu": 12.0, "[Callback]IrrepUtilization.on_train_start": 2.0},
        "actions": {
            "run_training_batch": 20.0,
            "[_TrainingEpochLoop].train_dataloader_next": 1.0,
            "[Callback]IrrepUtilization.on_train_start": 2.0,
            "[Callback]IrrepUtilization{'a': 1}.on_train_end": 5.0,
            "[Callback]LatentUMAP.on_fit_end": 1.5,
            "[Strategy]SingleDeviceStrategy.validation_step": 0.5,
            "run_training_epoch": 30.0,
        },
    }
    used = [
        Used(1, "python sweep.py x", 3.0), Used(2, "python train.py", 51.0),
        Used(3, "/x/wandb/bin/wandb-core --port", 0.5), Used(4, "python -m latents.worker y", 8.0),
    ]  # fmt: skip
    found = {part.part: part.cpu_seconds for part in divide(used, [profile], 40.0)}
    assert found.pop(TOTAL) == pytest.approx(sum(found.values())) == pytest.approx(62.5)
    utilization, latent = [v for name, v in found.items() if name.startswith(("util", "latent"))]
    assert (utilization, latent) == (7.0, 1.5)
    assert [found[name] for name in (START, TRAINING, EVALUATION)] == [10.0, 21.0, 0.5]
    assert [found[name] for name in (WORKER, WANDB, SWEEPING)] == [8.0, 0.5, 3.0]
    assert found[REST] == pytest.approx(50 - 10 - 21 - 7 - 1.5 - 0.5 + 1)


def test_a_quickstart_that_was_measured_is_not_run_again(tmp_path: Path) -> None:
    path = tmp_path / "quickstart.csv"
    assert list(measure_quickstart(path, only_table=True)) == ["Nothing was measured yet."]
    path.write_text("part,cpu_seconds,wall_seconds\na,1.0,nan\ntotal,4.0,7.0\n")
    lines = list(measure_quickstart(path, sweep=tmp_path / "no such file"))
    assert "| a | 1 | 25% |" in lines
    assert lines[-1].strip() == "From the command to its report: 7 s."


def test_a_sweep_is_run_and_divided(tmp_path: Path) -> None:
    sweep = tmp_path / "tiny.yaml"
    sweep.write_text(
        "name: tiny\nprogram: train.py\nmethod: grid\nmetric: {name: val/mae, goal: minimize}\n"
        "parameters: {model.irreps: {values: [2x0e]}}\n"
        "command: ['${env}', '${interpreter}', '${program}', --config=configs/quickstart.yaml,"
        " --data.train_size=32, --data.val_size=40, --data.test_size=20, --trainer.max_epochs=1,"
        " --latent.enabled=false, --utilization.num_molecules=20, '${args}']\n"
    )
    (tmp_path / "work").mkdir()
    found = {part.part: part for part in run_sweep(sweep, tmp_path / "work")}
    for name in (START, TRAINING, EVALUATION, REST, SWEEPING, TOTAL):
        assert found[name].cpu_seconds > 0, name
    assert found[START].cpu_seconds > found[TRAINING].cpu_seconds
    assert found[TOTAL].wall_seconds > 0


def test_processes_below_a_command_are_seen(tmp_path: Path) -> None:
    child = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.6: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])\n{child}"
    used, seconds, code = run_watched([sys.executable, "-c", parent], tmp_path, dict(os.environ))
    assert code == 0
    assert seconds > 1
    assert len(used) >= 2
    assert used[0].command.startswith(sys.executable)
    assert used[0].cpu_seconds >= 0.6
    code = run_watched([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, dict(os.environ))[2]
    assert code == 3
