"""``train.py`` on structures of one's own: training on forces, prediction, extension, bad files."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ase.build import bulk, molecule
from ase.io import write

import sweep
from analysis.spatial_score import spatial_scores
from latents.worker import draw_structures
from lightning_modules.calculator import IrrepscopeCalculator
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from records.metrics import read_metrics
from records.run_files import is_run_directory
from records.summary import read_summary
from tests.programs import run_program, run_train
from tests.structures.made import copper

ROOT = Path(__file__).parent.parent
OPTIONS = [
    "--model.irreps=4x0e+4x1o", "--model.num_layers=2", "--model.embedding_dim=4",
    "--model.cutoff=3.5", "--model.num_radial=6", "--model.force_weight=1", "--model.lr=0.01",
    "--data.batch_size=4", "--trainer.accelerator=cpu", "--trainer.devices=1",
]  # fmt: skip
QUIET = ["--utilization.enabled=false", "--latent.enabled=false"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("own")
    write(path / "copper.extxyz", copper(24), format="extxyz")
    return path


def train(folder: Path, *arguments: str, data: str = "copper.extxyz") -> tuple[int, str]:
    places = [f"--runs_dir={folder / 'runs'}", f"--data.cache_dir={folder / 'cache'}"]
    return run_train([f"--data.path={folder / data}", *OPTIONS, *QUIET, *places, *arguments])


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    code, output = train(folder, "--run_name=short", "--trainer.max_epochs=2")
    assert code == 0, output
    assert "Test MAE of forces" in output
    assert "meV/angstrom" in output
    return folder / "runs" / "short"


def evaluate(folder: Path, command: str, *arguments: str) -> tuple[int, str]:
    return run_train([command, f"--data.cache_dir={folder / 'cache'}", *arguments])


def test_a_run_records_errors_of_energies_and_forces_with_units_and_baselines(run: Path):
    summary = read_summary(run / "summary.json")
    assert summary is not None
    assert (summary.target, summary.unit, summary.graph) == ("energy", "meV", "radius")
    assert summary.configuration["data.path"].endswith("copper.extxyz")
    assert summary.configuration["model.unit"] == "eV"
    assert summary.molecules == {"train": 20, "val": 2, "test": 2}
    assert summary.results["test/force_mae"] > 0
    assert summary.results["baseline/bonds_mae"] >= 0
    assert "val/force_mae" in next(iter(read_metrics(run / "metrics.csv").values()))


def test_any_file_is_predicted_by_a_run(folder: Path, run: Path):
    write(folder / "new.xyz", [atoms.copy() for atoms in copper(3)], format="extxyz")
    code, output = evaluate(
        folder, "predict", f"--ckpt_path={run}", f"--data.path={folder / 'new.xyz'}"
    )
    assert code == 0, output
    with (run / "predictions_new.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["frame"], row["formula"], row["target"], row["unit"]) for row in rows] == [
        (str(frame), "Cu4", "", "meV") for frame in (1, 2, 3)
    ]
    calculator = IrrepscopeCalculator(run)
    expected = [calculator.get_potential_energy(atoms) * 1000 for atoms in copper(3)]
    np.testing.assert_allclose([float(row["prediction"]) for row in rows], expected, rtol=1e-4)


def test_a_labelled_file_is_tested_by_a_run(folder: Path, run: Path):
    path = folder / "copper.extxyz"
    code, output = evaluate(folder, "test", f"--ckpt_path={run}", f"--data.path={path}")
    assert code == 0, output
    assert "test MAE" in output
    assert "MAE of forces" in output


def test_elements_that_a_run_has_not_seen_are_refused(folder: Path, run: Path):
    write(folder / "co.xyz", [molecule("CO")], format="extxyz")
    code, output = evaluate(
        folder, "predict", f"--ckpt_path={run}", f"--data.path={folder / 'co.xyz'}"
    )
    assert code == 2
    assert "structure 1 (CO) has C, which the network has not been trained on" in output


@pytest.fixture
def qm9_checkpoint(tmp_path: Path) -> Path:
    """A network with random weights, as trained on QM9."""
    model = EquivariantRegressor(irreps="4x0e", num_layers=2, embedding_dim=4, target="U0")
    model.reference.weights.fill_(torch.nan)
    model.reference.weights[[1, 6, 7, 8, 9]] = torch.tensor([-2.0, -7, -6, -5, -4]).double()
    content = {
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(model.hparams),
        "datamodule_hyper_parameters": dict(QM9DataModule(train_size=100).hparams),
    }
    torch.save(content, tmp_path / "qm9.ckpt")
    return tmp_path / "qm9.ckpt"


def test_a_network_that_was_trained_on_qm9_predicts_files_of_molecules(
    folder: Path, qm9_checkpoint: Path, tmp_path: Path
):
    write(folder / "molecules.xyz", [molecule("CH4"), molecule("CH3CH2OH")], format="extxyz")
    output = tmp_path / "out.csv"
    options = [f"--ckpt_path={qm9_checkpoint}", f"--output={output}"]
    code, text = evaluate(folder, "predict", f"--data.path={folder / 'molecules.xyz'}", *options)
    assert code == 0, text
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [(row["formula"], row["unit"]) for row in rows] == [("CH4", "meV"), ("C2H6O", "meV")]
    assert float(rows[0]["prediction"]) == pytest.approx(-15_000, abs=5_000)
    for name, frame, words in (
        ("salt.xyz", molecule("NaCl"), "has Na, which QM9 does not have"),
        ("crystal.xyz", bulk("C"), "is periodic, which a network on the graph of chemical bonds"),
    ):
        write(folder / name, [frame], format="extxyz")
        code, text = evaluate(folder, "predict", f"--data.path={folder / name}", *options)
        assert code == 2
        assert f"{name}, frame 1 (line 1) {words}" in text


def test_a_run_goes_on_for_longer_as_if_it_had_been_begun_so(folder: Path, run: Path):
    code, output = train(folder, "--run_name=long", "--trainer.max_epochs=4")
    assert code == 0, output
    code, output = train(folder, "--run_name=short", "--trainer.max_epochs=2", "--extend")
    assert code == 0
    assert "is finished; nothing was trained" in output
    before = read_summary(run / "summary.json")
    code, output = train(folder, "--run_name=short", "--trainer.max_epochs=4", "--extend")
    assert code == 0, output
    assert "Extending from 2 to 4 epochs: the learning rate stays at 0.01" in output
    rows = [read_metrics(folder / "runs" / name / "metrics.csv") for name in ("short", "long")]
    assert sorted(rows[0]) == sorted(rows[1])
    for epoch in rows[0]:
        for key in ("val/mae", "val/force_mae", "train/loss"):
            assert rows[0][epoch].get(key) == rows[1][epoch].get(key), (epoch, key)
    after = read_summary(run / "summary.json")
    assert before is not None
    assert after is not None
    assert after.epochs == after.other["extended_to"] == 4
    assert (after.configuration, after.wandb_run_id) == (before.configuration, before.wandb_run_id)
    code, output = train(folder, "--run_name=short", "--trainer.max_epochs=2")
    assert code == 0
    assert "is finished; nothing was trained" in output


def test_what_cannot_be_extended_is_refused(folder: Path, run: Path):
    arguments = ["--run_name=short", "--trainer.max_epochs=9", "--model.lr=1", "--extend"]
    code, output = train(folder, *arguments)
    assert code == 2
    assert "other options differ (model.lr 0.01 -> 1.0)" in output


def broken(folder: Path, name: str, change: Callable[[Any], None]) -> str:
    structures = copper(6)
    change(structures[3])
    write(folder / name, structures, format="extxyz")
    return name


def move_onto_another(atoms: Any) -> None:
    atoms.positions[1] = atoms.positions[0] + 0.01


def lose_forces(atoms: Any) -> None:
    del atoms.calc.results["forces"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (move_onto_another, "atoms overlap"),
        (lose_forces, "has no forces"),
    ],
)
def test_bad_frames_are_refused_before_training(folder: Path, change, words):
    name = broken(folder, f"{change.__name__}.xyz", change)
    code, output = train(folder, f"--run_name={change.__name__}", data=name)
    assert code == 2, output
    (line,) = [line for line in output.splitlines() if line.startswith("error:")]
    assert f"{name}, frame 4 (line 19)" in line
    assert words in line
    assert not is_run_directory(folder / "runs" / change.__name__)


def test_qm9_has_no_forces_to_train_on():
    code, output = run_train(["--model.force_weight=1"])
    assert code == 2
    assert "QM9DataModule has no forces: give structures of your own with --data.path" in output


def test_utilization_is_measured_on_crystals(folder: Path):
    measures = ["--utilization.enabled=true", "--utilization.num_molecules=4"]
    sizes = ["--data.val_size=8", "--data.test_size=2", "--utilization.missed_share=0"]
    code, output = train(folder, "--run_name=measured", "--trainer.max_epochs=1", *measures, *sizes)
    assert code == 0, output
    assert "validation molecules" in output
    rows = (folder / "runs" / "measured" / "utilization_best.csv").read_text().splitlines()
    assert len(rows) > 2


def test_structures_without_smiles_have_no_drawing_and_no_spatial_score(tmp_path: Path):
    assert np.isnan(spatial_scores(["", ""])).all()
    draw_structures(["", ""], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_over_a_file_ends_with_a_report(folder: Path):
    sweep_file = {
        "name": "own",
        "program": str(ROOT / "train.py"),
        "method": "grid",
        "metric": {"name": "val/mae", "goal": "minimize"},
        "parameters": {
            "data.path": {"value": str(folder / "copper.extxyz")},
            "data.cache_dir": {"value": str(folder / "cache")},
            "model.irreps": {"values": ["2x0e", "2x0e+2x1o"]},
            "model.num_layers": {"value": 2},
            "model.cutoff": {"value": 3.5},
            "trainer.max_epochs": {"value": 1},
            "trainer.accelerator": {"value": "cpu"},
            "latent.enabled": {"value": False},
        },
    }
    (folder / "own.yaml").write_text(yaml.safe_dump(sweep_file))
    arguments = [str(folder / "own.yaml"), f"--runs_dir={folder / 'sweeps'}"]
    code, output = run_program(sweep.main, arguments)
    assert code == 0, output
    assert "own: 2 of 2 finished" in output
    page = (folder / "sweeps" / "own" / "report.html").read_text()
    assert "Which irreps matter for energy?" in page
    assert "linear fit to element" in page
