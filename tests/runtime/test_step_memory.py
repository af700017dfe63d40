"""Training steps that the memory cannot hold are refused before anything is trained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ase.io import write

from benchmarks.scale.structures import crystal
from lightning_modules.compute_cost import memory_per_molecule
from lightning_modules.extxyz_datamodule import ExtXYZDataModule
from lightning_modules.regressor import EquivariantRegressor
from runtime import step_memory
from runtime.step_memory import check_step_memory, machine_memory
from tests.programs import run_train


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = []
    for seed in range(10):
        atoms = crystal(64)
        atoms.rattle(0.01, seed=seed)
        atoms.info["energy"] = float(seed)
        frames.append(atoms)
    path = tmp_path_factory.mktemp("structures") / "crystals.extxyz"
    write(path, frames)
    return path


def test_what_fits_is_left_alone_and_what_does_not_is_refused(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = ExtXYZDataModule(
        str(file), cutoff=4.0, forces=None, batch_size=6, cache_dir=str(tmp_path / "cache")
    )
    model = EquivariantRegressor("2x0e+2x1o", num_layers=3, cutoff=4.0, target="energy", unit="eV")
    check_step_memory(model, data, available=0)  # few edges are not measured
    monkeypatch.setattr(step_memory, "FEW_EDGES", 0)
    each = memory_per_molecule(model.network, data)
    assert each > 64 * 8
    check_step_memory(model, data, available=6.1 * each)
    with pytest.raises(ValueError, match="data.batch_size 6 keeps about .* of at most 3, a small"):
        check_step_memory(model, data, available=3.5 * each)
    with pytest.raises(ValueError, match="GB: give a smaller --model.cutoff or network, or small"):
        check_step_memory(model, data, available=0.5 * each)


def test_the_machine_has_the_memory_that_linux_states() -> None:
    (total,) = re.findall(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    assert machine_memory() == pytest.approx(1024 * int(total), rel=0.01)


def test_train_says_so_before_it_makes_a_run(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(step_memory, "FEW_EDGES", 0)
    monkeypatch.setattr(step_memory, "machine_memory", lambda: 1000.0)
    code, printed = run_train(
        [
            "fit", f"--runs_dir={tmp_path / 'runs'}", f"--data.path={file}",
            f"--data.cache_dir={tmp_path / 'cache'}", "--model.irreps=2x0e+2x1o",
            "--model.num_layers=3", "--model.cutoff=4.0", "--trainer.accelerator=cpu",
        ]
    )  # fmt: skip
    assert code == 2
    (line,) = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert "a training step with data.batch_size 7 keeps about" in line
    assert not (tmp_path / "runs").exists()
