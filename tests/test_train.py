"""train.py on real QM9, end to end: files, metrics, names, subcommands, and continuing a run."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import prune
import report
from records.metrics import read_metrics
from records.pruning import FRONT, read_front
from records.summary import Summary, read_summary
from tests.programs import run_program, run_train

TINY = [
    "--model.irreps=4x0e+4x1o",
    "--model.num_layers=3",
    "--model.embedding_dim=8",
    "--data.train_size=96",
    "--data.val_size=40",
    "--data.test_size=50",
    "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--utilization.num_molecules=20",
    "--utilization.num_bootstrap=50",
    "--latent.enabled=false",
]


@pytest.fixture(scope="module")
def run(prepared_qm9: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    runs = tmp_path_factory.mktemp("runs")
    code, output = run_train([*TINY, f"--runs_dir={runs}"])
    assert code == 0, output
    (directory,) = runs.iterdir()
    return directory, output


def summary_of(directory: Path) -> Summary:
    summary = read_summary(directory / "summary.json")
    assert summary is not None
    return summary


def test_the_last_lines_say_the_error_its_unit_and_where_the_files_are(
    run: tuple[Path, str],
) -> None:
    directory, output = run
    *_, mae, baselines, judgement, files = output.strip().splitlines()
    summary = summary_of(directory)
    assert baselines.startswith("Without a network: ")
    assert f"{summary.results['baseline/bonds_mae']:.4g} meV from element and bond" in baselines
    assert judgement.startswith("This network has learned too little")
    assert mae == f"Test MAE {summary.results['test/mae']:.4g} meV (50 molecules)"
    assert files == f"Files: {directory}"
    (line,) = [line for line in output.splitlines() if "W&B is offline" in line]
    assert "WANDB_MODE" in line
    assert f"python upload.py {directory}" in line


def test_without_a_terminal_there_is_one_line_per_epoch_and_no_bar(run: tuple[Path, str]) -> None:
    directory, output = run
    rows = read_metrics(directory / "metrics.csv")
    lines = [line for line in output.splitlines() if line.startswith("epoch ")]
    assert [line.split("  ")[:2] for line in lines] == [
        [f"epoch {k} ({k + 1} of 2)", f"val/mae {float(rows[k]['val/mae']):,.4g} meV"]
        for k in (0, 1)
    ]
    assert "it/s" not in output


def test_the_run_directory_has_every_file_and_no_temporary_ones(run: tuple[Path, str]) -> None:
    directory, _ = run
    names = {p.name for p in directory.iterdir()}
    assert names == {
        ".lock",
        "checkpoints",
        "config.yaml",
        "decomposition.csv",
        "metrics.csv",
        "splits.npz",
        "summary.json",
        "utilization",
        "utilization.csv",
        "utilization_best.csv",
        "wandb",
    }
    assert {p.name for p in (directory / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert not list(directory.rglob("*.tmp"))


def test_metrics_have_the_documented_keys(run: tuple[Path, str]) -> None:
    rows = read_metrics(run[0] / "metrics.csv")
    assert sorted(rows) == [-1, 0, 1]
    for epoch in (0, 1):
        assert {"train/loss", "val/mae", "val/rmse", "lr", "throughput/molecules_per_s"} <= set(
            rows[epoch]
        )
        assert "utilization/network/1o/reliance" in rows[epoch]
        assert "equivariance/rotation_error" in rows[epoch]
    assert {"test/mae", "test/rmse", "test/mse_standardized"} <= set(rows[1])


def test_csv_summary_and_wandb_hold_the_same_numbers(run: tuple[Path, str]) -> None:
    directory, _ = run
    rows = read_metrics(directory / "metrics.csv")
    results = summary_of(directory).results
    assert results["test/mae"] == pytest.approx(rows[1]["test/mae"])
    assert results["val/mae"] == pytest.approx(min(rows[0]["val/mae"], rows[1]["val/mae"]))
    history = [record["item"] for record in _wandb_records(directory, "history")]
    for epoch in (0, 1):
        (value,) = [r["val/mae"] for r in history if r["epoch"] == epoch and "val/mae" in r]
        assert value == pytest.approx(rows[epoch]["val/mae"])
    sent = {key for record in history for key in record}
    assert set(rows[1]) | set(rows[-1]) <= sent | {"step"}


def test_configuration_reaches_wandb_and_config_yaml(run: tuple[Path, str]) -> None:
    directory, _ = run
    config = yaml.safe_load((directory / "config.yaml").read_text())
    provenance = config["provenance"]
    assert provenance["irreps"] == "4x0e+4x1o"
    assert provenance["l_values"] == [0, 1]
    assert provenance["unit"] == "meV"
    assert provenance["reference"] == summary_of(directory).reference == "composition"
    assert provenance["versions"]["torch"] == torch.__version__
    assert len(provenance["git_commit"].removesuffix("-dirty")) in (7, 40)
    sent = _wandb_config(directory)
    assert sent["model.irreps"] == "4x0e+4x1o"
    assert sent["params/total"] == provenance["params/total"]
    assert sent["git_commit"] == provenance["git_commit"]
    baseline = summary_of(directory).results["baseline/bonds_mae"]
    assert sent["baseline/bonds_mae"] == pytest.approx(baseline)


def test_same_command_does_not_train_twice_and_fresh_does(run: tuple[Path, str]) -> None:
    directory, _ = run
    before, rows = contents(directory), read_metrics(directory / "metrics.csv")
    code, output = run_train([f"--config={directory / 'config.yaml'}"])
    assert code == 0
    assert "is finished; nothing was trained" in output
    assert contents(directory) == before
    trained = (directory / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    code, output = run_train([f"--config={directory / 'config.yaml'}", "--fresh"])
    assert code == 0
    assert (directory / "checkpoints" / "last.ckpt").stat().st_mtime_ns != trained
    # The same seed on the same machine reproduces every file, bit for bit.
    again, timed = read_metrics(directory / "metrics.csv"), ("throughput/molecules_per_s",)
    for epoch, row in rows.items():
        same = {key: value for key, value in row.items() if key not in (*timed, "test/seconds")}
        assert {key: again[epoch][key] for key in same} == same
        assert again[epoch].keys() == row.keys()
    assert contents(directory) == before


def contents(directory: Path) -> dict[str, bytes]:
    """Read all files of a run except W&B's own and those that contain timings.

    The git commit is left out, because somebody may commit while the tests run.
    """
    return {
        str(path.relative_to(directory)): re.sub(rb"\n  git_commit: .*", b"", path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file()
        and "wandb" not in path.parts
        and path.name not in ("metrics.csv", "summary.json")
    }


def test_other_configuration_under_the_same_name_is_refused(run: tuple[Path, str]) -> None:
    directory, _ = run
    code, output = run_train([f"--config={directory / 'config.yaml'}", "--model.lr=0.01"])
    assert code == 2
    assert "model.lr 0.001 -> 0.01" in output
    assert "--fresh" in output


def test_test_and_predict_agree_with_the_run(run: tuple[Path, str], tmp_path: Path) -> None:
    directory, _ = run
    config = f"--config={directory / 'config.yaml'}"
    test_mae = summary_of(directory).results["test/mae"]
    code, output = run_train(["test", config])
    assert code == 0
    assert f"test MAE {test_mae:.4g} meV" in output
    code, output = run_train(["predict", config, f"--output={tmp_path / 'p.csv'}"])
    assert code == 0
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    errors = [abs(float(row["prediction"]) - float(row["target"])) for row in rows]
    assert np.mean(errors) == pytest.approx(test_mae, rel=1e-4)
    assert {row["unit"] for row in rows} == {"meV"}
    assert len({row["index"] for row in rows}) == len(rows) == 50
    assert all(row["smiles"] for row in rows)


def test_checkpoint_alone_can_be_tested(run: tuple[Path, str], tmp_path: Path) -> None:
    directory, _ = run
    best = directory / "checkpoints" / "best.ckpt"
    sizes = [argument for argument in TINY if argument.startswith(("--data", "--trainer"))]
    code, output = run_train(["test", *sizes, f"--ckpt_path={best}", f"--runs_dir={tmp_path}"])
    assert code == 0, output
    assert f"test MAE {summary_of(directory).results['test/mae']:.4g} meV" in output


def _wandb_records(directory: Path, kind: str) -> list[dict[str, Any]]:
    lines = _wandb("leet", "inspect", "--json", str(_offline(directory))).splitlines()
    records = [json.loads(line) for line in lines]
    return [record[kind] for record in records if record["type"] == kind]


def _wandb_config(directory: Path) -> dict[str, Any]:
    state = json.loads(_wandb("leet", "inspect", "--summary", "--json", str(_offline(directory))))
    return dict(state["config"])


def _offline(directory: Path) -> Path:
    (offline,) = (directory / "wandb").glob("offline-run-*")
    return offline


def _wandb(*arguments: str) -> str:
    command = [sys.executable, "-m", "wandb", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


# ---- the gated network, with nested training, a penalty and averaged weights ---------------------

NESTED = [
    *(option for option in TINY if not option.startswith("--model")),
    "--model.num_layers=2",
    "--model.network=gated",
    "--model.irreps=4x0e+4x1o+2x2e",
    "--model.irrep_dropout=sandwich",
    "--model.group_lasso=0.01",
    "--model.ema_decay=0.9",
    "--utilization.missed_share=1.0",
    "--run_name=nested",
]


@pytest.fixture(scope="module")
def nested(prepared_qm9: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    runs = tmp_path_factory.mktemp("gated")
    code, output = run_train([*NESTED, f"--runs_dir={runs}"], WANDB_MODE="disabled")
    assert code == 0, output
    return runs / "nested", output


def test_a_gated_run_has_every_measure(nested: tuple[Path, str]) -> None:
    directory, output = nested
    with (directory / "utilization_best.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["layer"] == "network"]
    assert {row["irrep"] for row in rows} >= {"0e", "1o", "2e"}
    for row in rows:
        if row["irrep"] in ("1o", "2e"):
            for measure in ("reliance", "resampled", "refitted", "probe", "missed"):
                assert row[f"{measure}_verdict"] == "undecided", "20 molecules decide nothing"
    with (directory / "nested.csv").open() as file:
        assert len(list(csv.DictReader(file))) > 0
    assert not (directory / "decomposition.csv").exists()
    assert "not linear in its features" in output
    metrics = read_metrics(directory / "metrics.csv")[1]
    assert metrics["equivariance/rotation_error"] < 1e-4
    assert metrics["train/group_lasso"] > 0
    results = summary_of(directory).results
    assert results["cost/operations"] > 1e5
    assert results["cost/memory"] > 1e3
    assert results["params/reachable"] == results["params/total"]


def test_a_gated_checkpoint_is_evaluated_with_its_own_network(
    nested: tuple[Path, str], tmp_path: Path
) -> None:
    directory, _ = nested
    best, mae = directory / "checkpoints" / "best.ckpt", summary_of(directory).results["test/mae"]
    sizes = ["--data.test_size=50", "--trainer.accelerator=cpu", f"--runs_dir={tmp_path}"]
    code, output = run_train(["test", *sizes, f"--ckpt_path={best}"])
    assert code == 0, output
    assert f"test MAE {mae:.4g} meV" in output
    code, output = run_train(["validate", f"--config={directory / 'config.yaml'}"])
    assert code == 0, output
    code, output = run_train(
        ["predict", *sizes, f"--ckpt_path={best}", f"--output={tmp_path}/p.csv"]
    )
    assert code == 0, output
    assert len((tmp_path / "p.csv").read_text().splitlines()) == 51
    code, output = run_train(
        [
            f"--init_from={best}",
            "--model.network=convnet",
            "--model.lr=0.1",
            f"--runs_dir={tmp_path}",
        ]
    )
    assert code == 2
    assert "holds another network (model.network gated -> convnet" in output


def test_a_nested_gated_run_is_pruned_and_reported(nested: tuple[Path, str]) -> None:
    directory, _ = nested
    quick = ["--by=nested", "--fine-tune=1", "--max-increase=0.2", "--num-molecules=50"]
    code, output = run_program(prune.main, [str(directory), *quick, "--device=cpu"])
    assert code == 0, output
    front = read_front(directory / "pruned" / "nested" / FRONT)
    assert front is not None
    assert len(front.points) > 1
    assert front.points[-1].operations < front.points[0].operations
    code, output = run_program(report.main, [str(directory), f"--output={directory}/report.html"])
    assert code == 0, output
    page = (directory / "report.html").read_text()
    assert "Multiply-adds" in page


# ---- pretraining by denoising --------------------------------------------------------------------


def test_pretraining_is_recorded_everywhere(prepared_qm9: Any, tmp_path: Path) -> None:
    quick = ["--utilization.enabled=false", "--pretraining.epochs=2", "--pretraining.lr=0.01"]
    command = [*TINY, *quick, "--trainer.max_epochs=1", f"--runs_dir={tmp_path}"]
    code, output = run_train(command)
    assert code == 0, output
    (directory,) = tmp_path.iterdir()
    row, results = read_metrics(directory / "metrics.csv")[-1], summary_of(directory).results
    keys = [f"pretraining/{name}" for name in ("untrained_error", "error", "seconds")]
    before, after, _ = (row[key] for key in keys)
    assert after < before
    assert "2 epochs of 96 molecules, sigma 0.05 angstrom, learning rate 0.01" in output
    assert f"relative error of the untrained network {before:.3f}" in output
    assert f" s; relative error {after:.3f}\nepoch 0 " in output
    assert {key: results[key] for key in keys} == {key: row[key] for key in keys}
    history = [record["item"] for record in _wandb_records(directory, "history")]
    assert [r["pretraining/error"] for r in history if "pretraining/error" in r] == [after]
    state = json.loads(_wandb("leet", "inspect", "--summary", "--json", str(_offline(directory))))
    assert state["config"]["pretraining/error"] == after
    assert state["config"]["pretraining.epochs"] == 2
    assert state["summary"]["pretraining/error"] == after
    assert summary_of(directory).configuration["pretraining.lr"] == 0.01
    code, output = run_train([f"--config={directory / 'config.yaml'}"])
    assert (code, "is finished; nothing was trained" in output) == (0, True)
    name = f"--run_name={directory.name}"
    code, output = run_train([*command, name, "--pretraining.sigma=0.1"])
    assert code == 2
    assert "another configuration (pretraining.sigma 0.05 -> 0.1)" in output
