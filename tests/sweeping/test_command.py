"""Command lines and environments of trials; `test_agents.py` compares with the real agent."""

import json

import pytest

from sweeping.command import default_workers, render_command, trial_environment, visible_devices

CONFIGURATION = {"model.irreps": "16x0e+16x1o", "data.size": 10, "flag": True, "off": False}


def render(*command, **environ):
    return render_command(
        command, "train.py", CONFIGURATION, environ=environ, interpreter="py", json_file="a.json"
    )


def test_arguments_are_sorted_and_literal_items_stay():
    assert render("${env}", "${interpreter}", "${program}", "--config=c.yaml", "${args}") == [
        "/usr/bin/env",
        "py",
        "train.py",
        "--config=c.yaml",
        "--data.size=10",
        "--flag=True",
        "--model.irreps=16x0e+16x1o",
        "--off=False",
    ]


def test_the_other_forms_of_arguments():
    assert render("${args_no_boolean_flags}") == [
        "--data.size=10",
        "--flag",
        "--model.irreps=16x0e+16x1o",
    ]
    assert render("${args_no_hyphens}")[0] == "data.size=10"
    assert render("${args_no_equals}")[:2] == ["--data.size", "10"]
    assert json.loads(render("${args_json}")[0]) == CONFIGURATION
    assert render("${args_json_file}") == ["a.json"]


def test_environment_variables_are_filled_in_anywhere():
    assert render("--out=${envvar:OUT}/x", "${envvar:NOT_SET}", OUT="/data") == [
        "--out=/data/x",
        "NOT_SET",
    ]


def environment(environ, tmp_path, **options):
    return trial_environment(environ, group="demo", result_file=tmp_path / "result", **options)


def test_trials_are_grouped_and_share_no_run(tmp_path):
    child = environment({"WANDB_RUN_ID": "abc", "WANDB_RESUME": "must", "X": "1"}, tmp_path)
    assert (child["WANDB_RUN_GROUP"], child["WANDB_TAGS"], child["X"]) == (
        "demo",
        "sweep:demo",
        "1",
    )
    assert "WANDB_RUN_ID" not in child
    assert "WANDB_RESUME" not in child


def test_what_the_user_set_is_kept(tmp_path):
    given = {"WANDB_RUN_GROUP": "mine", "WANDB_PROJECT": "p", "OMP_NUM_THREADS": "7"}
    given["WANDB_TAGS"] = "a,b"
    child = environment(given, tmp_path, project="other", threads=1)
    assert {name: child[name] for name in given} == {**given, "WANDB_TAGS": "a,b,sweep:demo"}


def test_numbers_count_the_visible_devices():
    assert visible_devices("0,1", {}) == ["0", "1"]
    assert visible_devices("1", {"CUDA_VISIBLE_DEVICES": "4,6"}) == ["6"]
    assert visible_devices("GPU-b", {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}) == ["GPU-b"]


@pytest.mark.parametrize("given", ["", "0,0", "2"])
def test_impossible_devices_are_refused(given):
    with pytest.raises(ValueError, match="--devices"):
        visible_devices(given, {"CUDA_VISIBLE_DEVICES": "4,6"})


def test_two_trials_share_the_cores_of_a_machine_without_a_gpu():
    assert default_workers([], cores=64, has_gpu=False) == 2
    assert default_workers([], cores=1, has_gpu=False) == 1
    assert default_workers([], cores=64, has_gpu=True) == 1
    assert default_workers(["0", "3", "5"], cores=2, has_gpu=True) == 3
