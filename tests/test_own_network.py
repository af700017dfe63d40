"""A network of the user's: programs and commands of docs/own_network.md, and what is refused."""

from __future__ import annotations

import csv
import os
import re
import shlex
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lightning_modules.regressor import EquivariantRegressor
from qm9.cache import PreparedData
from records.summary import read_summary
from records.utilization import read_table
from tests.programs import run_train

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "own_network.md"
QUICK = (
    "--utilization.num_molecules=40",
    "--utilization.num_bootstrap=50",
    "--latent.enabled=false",
)


def blocks(language: str) -> list[str]:
    """List the code blocks of the document."""
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the document's files, which is also the working directory."""
    for program in blocks("python"):
        (tmp_path / program.splitlines()[0].removeprefix("# ")).write_text(program)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("my_network", "my_data", "mistakes"):
        sys.modules.pop(name, None)


def commands() -> list[list[str]]:
    """List the arguments of ``train.py`` in the document."""
    text = "\n".join(blocks("bash")).replace("\\\n", " ")
    return [shlex.split(line)[2:] for line in text.splitlines() if line.startswith("python train")]


def test_the_network_is_thirty_lines_long() -> None:
    network = blocks("python")[0]
    assert len(re.findall(r"^\s*\S", network.split("class ")[1], re.MULTILINE)) <= 33


def test_the_commands_train_test_and_predict(project: Path, prepared_qm9: PreparedData) -> None:
    fit, test, predict = commands()[:3]
    code, output = run_train([*fit, *QUICK])
    assert code == 0, output
    assert "UserWarning" not in output
    run = project / "runs" / "mine"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["network"] == "my_network.MyNetwork"
    assert config["model"]["network_args"] == {"width": 12}
    summary = read_summary(run / "summary.json")
    assert summary is not None
    assert summary.configuration["model.network_args.width"] == 12
    (best,) = read_table(run / "utilization_best.csv").values()
    assert {("layer0", "1o"), ("network", "0e")} <= {(row.layer, row.irrep) for row in best.rows}
    error = f"{summary.results['test/mae']:.4g}"
    code, output = run_train(test)
    assert code == 0, output
    assert f"test MAE {error} meV" in output
    code, output = run_train(predict)
    assert code == 0, output
    with (run / "predictions.csv").open() as file:
        errors = [abs(float(r["prediction"]) - float(r["target"])) for r in csv.DictReader(file)]
    assert sum(errors) / len(errors) == pytest.approx(summary.results["test/mae"], rel=1e-3)
    # Other arguments are another network, and so another run.
    other = [a.replace("{width: 12}", "{width: 8}") for a in fit]
    code, output = run_train([*other, *QUICK])
    assert code == 2
    assert "exists with another configuration (model.network_args.width 12 -> 8)" in output
    code, output = run_train(
        ["test", "--ckpt_path", "runs/mine", "--model.network_args={width: 8}"]
    )
    assert code == 2
    assert "trained with other options" in output


def test_the_commands_train_on_data_of_ones_own(project: Path) -> None:
    fit, test, predict = commands()[3:]
    code, output = run_train([*fit, *QUICK])
    assert code == 0, output
    run = project / "runs" / "own"
    summary = read_summary(run / "summary.json")
    assert summary is not None
    assert summary.configuration["data_class"] == "my_data.MyData"
    assert summary.configuration["data.count"] == 400
    assert summary.molecules == {"train": 300, "val": 50, "test": 50}
    assert summary.unit == "meV"
    (best,) = read_table(run / "utilization_best.csv").values()
    assert {row.irrep for row in best.rows} >= {"0e", "1o"}
    code, output = run_train(test)
    assert code == 0, output
    assert f"test MAE {summary.results['test/mae']:.4g} meV" in output
    code, output = run_train(predict)
    assert code == 0, output
    with (run / "predictions.csv").open() as file:
        errors = [abs(float(r["prediction"]) - float(r["target"])) for r in csv.DictReader(file)]
    assert sum(errors) / len(errors) == pytest.approx(summary.results["test/mae"], rel=1e-3)
    # The same options with QM9 would be another run.
    changed = [argument.replace("400", "300") for argument in fit]
    code, output = run_train([*changed, *QUICK])
    assert code == 2
    assert "exists with another configuration (data.count 400 -> 300)" in output


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.Data", "there is no module 'nowhere'"),
        ("mistakes.NoNetwork", "is no lightning_modules.molecule_datamodule.MoleculeDataModule"),
        ("mistakes.HalfData", "must implement all_targets and atoms and baselines"),
        ("mistakes.NoTarget", "must take target"),
    ],
)
def test_data_that_cannot_be_used_is_refused(name: str, words: str, project: Path) -> None:
    (project / "mistakes.py").write_text(MISTAKES)
    code, output = run_train([f"--data_class={name}"])
    assert code == 2
    assert words in " ".join(output.split())


def test_the_callbacks_work_in_a_project_of_ones_own(project: Path) -> None:
    path = os.pathsep.join([str(project), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "my_project.py"], env={**os.environ, "PYTHONPATH": path},
        cwd=project, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Utilization after epoch 1" in done.stdout
    assert re.search(r"reliance .* meV \[", done.stdout)
    run = project / "my_run"
    assert len(list((run / "latents").glob("epoch_*.png"))) == 3
    assert set(read_table(run / "utilization.csv")) == {-1, 0, 1}


MISTAKES = textwrap.dedent("""
    from networks.layered import LayeredNetwork
    from my_network import MyNetwork
    number = 3
    class Half(LayeredNetwork):
        def prepare(self, data): return data
    class NoNetwork: pass
    from lightning_modules.molecule_datamodule import MoleculeDataModule
    from my_data import MyData
    class HalfData(MoleculeDataModule): pass
    class NoTarget(MyData):
        def __init__(self) -> None: super().__init__()
    class Picky(MyNetwork):
        def __init__(self, width: int) -> None:
            super().__init__(width=width)
""")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"network": "nowhere.Net"}, "there is no module 'nowhere'.*PYTHONPATH"),
        ({"network": "mistakes.Nothing"}, "module mistakes has no class Nothing"),
        ({"network": "mistakes.number"}, "module mistakes has no class number"),
        ({"network": "mistakes.NoNetwork"}, "is no networks.layered.LayeredNetwork"),
        ({"network": "mistakes.Half"}, "must implement run$"),
        ({"network": "mistakes.Picky"}, "missing a required argument: 'width'; it takes width"),
        ({"network": "my_network.MyNetwork", "network_args": {"depth": 2}}, "takes irreps, width"),
        ({"network": "my_network.MyNetwork", "network_args": {"irreps": "0e"}}, "--model.irreps"),
        ({"network": "my_network.MyNetwork", "num_layers": 3}, "leave --model.num_layers out"),
        ({"network": "my_network.MyNetwork", "compile": True}, "leave --model.compile out"),
        ({"network": "mistakes.Picky", "irreps": "4x0e"}, "leave --model.irreps out"),
        ({"network": "mynetwork"}, "convnet, gated, or give package.module.Class"),
        ({"network_args": {"width": 3}}, "network_args is for a network of your own"),
    ],
)
def test_what_cannot_be_used_is_refused(
    options: dict[str, object], words: str, project: Path
) -> None:
    (project / "mistakes.py").write_text(MISTAKES)
    with pytest.raises(ValueError, match=words):
        EquivariantRegressor(**options)  # type: ignore[arg-type]


def test_a_module_that_fails_is_named(project: Path) -> None:
    (project / "mistakes.py").write_text("1 / 0\n")
    code, output = run_train(["--model.network=mistakes.Net"])
    assert code == 2
    assert "importing mistakes fails with ZeroDivisionError: division by zero" in output


def test_every_room_can_be_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert {name.removesuffix("*") for name in listed["find"]["include"]} == found
