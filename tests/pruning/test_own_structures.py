"""prune.py on a run that was trained on a file of structures."""

from __future__ import annotations

from pathlib import Path

from ase.io import write

import prune
from records.pruning import FRONT, read_front
from tests.programs import run_program, run_train
from tests.structures.made import copper

OPTIONS = [
    "--model.irreps=4x0e+4x1o", "--model.num_layers=2", "--model.embedding_dim=4",
    "--model.cutoff=3.5", "--model.num_radial=6", "--data.batch_size=4",
    "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.devices=1",
    "--utilization.enabled=false", "--latent.enabled=false",
]  # fmt: skip


def train(folder: Path, name: str, *arguments: str) -> Path:
    file = folder / "copper.extxyz"
    write(file, copper(40), format="extxyz")
    places = [f"--runs_dir={folder}", f"--run_name={name}", f"--data.cache_dir={folder / 'cache'}"]
    code, output = run_train([f"--data.path={file}", *OPTIONS, *places, *arguments])
    assert code == 0, output
    return folder / name


def test_a_run_on_crystals_is_pruned_and_tested_on_its_own_structures(tmp_path: Path) -> None:
    run = train(tmp_path, "energies")
    code, output = run_program(
        prune.main, [str(run), "--irreps=4x0e", "--fine-tune=1", "--device=cpu"]
    )
    assert code == 0, output
    front = read_front(next(run.glob(f"pruned/*/{FRONT}")))
    assert front is not None
    assert front.points[-1].operations < front.points[0].operations
    checkpoint = next(run.glob("pruned/*")) / front.points[-1].checkpoint
    code, output = run_train(["test", f"--ckpt_path={checkpoint}", "--trainer.accelerator=cpu"])
    assert code == 0, output
    assert f"test MAE {front.points[-1].mae:.4g} meV" in output


def test_a_run_on_forces_is_refused(tmp_path: Path) -> None:
    run = train(tmp_path, "forces", "--model.force_weight=1")
    code, output = run_program(prune.main, [str(run), "--device=cpu"])
    assert code == 2
    assert "trained on forces" in output
