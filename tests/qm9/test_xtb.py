"""Targets by GFN2-xTB: the physics against other definitions, and the files that keep them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import qm9.xtb
from lightning_modules.qm9_datamodule import QM9DataModule
from lightning_modules.regressor import EquivariantRegressor
from qm9.cache import PreparedData
from qm9.single_point import Moments
from qm9.xtb import CHUNK, FOLDER, check_installed, load_or_compute

ROWS = np.array([7, 3, 100_000, 40])
EACH = np.concatenate([[0.5], np.arange(3.0), np.arange(5.0)])


def made_up(data: PreparedData, rows: np.ndarray) -> Moments:
    """Numbers that tell which molecule they are of; row 40 has not converged."""
    sizes = np.diff(data.node_offsets.numpy())[rows]
    energy, dipole, quadrupole = (rows[:, None] * part for part in np.split(EACH, [1, 4]))
    energy[rows == 40] = dipole[rows == 40] = quadrupole[rows == 40] = np.nan
    forces = np.repeat(rows, sizes)[:, None] * np.ones(3, dtype=np.float32)
    return Moments(energy[:, 0], dipole, quadrupole, forces.astype(np.float32))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let molecules be made up, and list those that are."""
    asked: list[int] = []

    def compute(data: Any, rows: np.ndarray, *_: Any) -> Iterator[tuple[np.ndarray, Moments]]:
        for start in range(0, len(rows), 2):
            chunk = rows[start : start + 2]
            asked.extend(chunk.tolist())
            yield chunk, made_up(data, chunk)

    monkeypatch.setattr(qm9.xtb, "_computed", compute)
    return asked


def test_each_molecule_is_computed_once_and_found_again(
    prepared_qm9: PreparedData, tmp_path: Path, computed: list[int]
) -> None:
    first = load_or_compute(prepared_qm9, ROWS, tmp_path)
    again = load_or_compute(prepared_qm9, np.append(ROWS[:2], 5), tmp_path)
    assert sorted(computed) == [3, 5, 7, 40, 100_000]
    assert first.rows.tolist() == [3, 7, 40, 100_000]
    assert first.failed.tolist() == [40]
    assert again.rows.tolist() == [3, 5, 7]
    for results in (first, again):
        expected = made_up(prepared_qm9, results.rows)
        for name, values in vars(expected).items():
            np.testing.assert_array_equal(getattr(results.moments, name), values)


def test_what_was_finished_before_a_stop_is_kept(
    prepared_qm9: PreparedData, tmp_path: Path, computed: list[int]
) -> None:
    def stop(*_: Any) -> None:
        if len(computed) >= 4:
            raise KeyboardInterrupt

    write = qm9.xtb.write_arrays
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(qm9.xtb, "write_arrays", lambda *a: (stop(), write(*a)))
        with pytest.raises(KeyboardInterrupt):
            load_or_compute(prepared_qm9, ROWS, tmp_path)
    load_or_compute(prepared_qm9, ROWS, tmp_path)
    assert computed == [3, 7, 40, 100_000, 40, 100_000]


def test_a_damaged_file_is_computed_anew(
    prepared_qm9: PreparedData, tmp_path: Path, computed: list[int]
) -> None:
    load_or_compute(prepared_qm9, ROWS, tmp_path)
    damaged = min((tmp_path / FOLDER).glob("*.moments"))
    content = bytearray(damaged.read_bytes())
    content[200] ^= 1
    damaged.write_bytes(content)
    with pytest.warns(UserWarning, match=r"000003.*is damaged .*computed anew"):
        load_or_compute(prepared_qm9, ROWS, tmp_path)
    assert computed == [3, 7, 40, 100_000, 3, 7]


def test_molecules_without_convergence_are_named_and_left_out(
    prepared_qm9: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "lightning_modules.qm9_datamodule"
    monkeypatch.setattr(f"{module}.check_installed", lambda target: None)
    said: list[str] = []
    monkeypatch.setattr(f"{module}.rank_zero_info", said.append)
    sizes = {"train_size": 6, "val_size": 4, "test_size": 3}
    data, other = QM9DataModule("dipole", **sizes), QM9DataModule("mu", **sizes)
    other.setup()
    lost = int(other.splits["train"][2])
    monkeypatch.setattr(
        f"{module}.load_or_compute", lambda _, rows, __: failing(prepared_qm9, rows, lost)
    )
    data.setup()
    number, smiles = data.molecule(lost)
    assert [line.partition("left out: ")[2] for line in said] == [f"{number} ({smiles})"]
    assert len(data.splits["train"]) == 5
    assert lost not in data.splits["train"].tolist()
    assert {len(data.splits[half]) for half in ("val_select", "val_measure")} == {2}
    assert np.isfinite(data.targets("train")).all()
    assert data.target_std == pytest.approx(np.sqrt(np.square(data.targets("train")).mean()))
    assert data.batch(data.splits["test"]).y.shape == (3, 3)


def test_the_energy_comes_with_the_forces_on_its_atoms(
    prepared_qm9: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "lightning_modules.qm9_datamodule"
    monkeypatch.setattr(f"{module}.check_installed", lambda target: None)
    monkeypatch.setattr(
        f"{module}.load_or_compute", lambda _, rows, __: failing(prepared_qm9, rows, -1)
    )
    data = QM9DataModule("xtb_energy", train_size=6, val_size=4, test_size=3)
    data.setup()
    batch = data.batch(data.splits["train"])
    assert batch.y.tolist() == (0.5 * data.splits["train"]).tolist()
    assert batch.forces.tolist() == [[float(batch.idx[g])] * 3 for g in batch.batch.tolist()]
    model = EquivariantRegressor("4x0e+4x1o", "xtb_energy", force_weight=1.0)
    model.check_data(data)
    assert model.reference.kind == "composition"


def failing(data: PreparedData, rows: np.ndarray, lost: int) -> qm9.xtb.XtbResults:
    rows = np.unique(rows)
    moments = made_up(data, rows)
    for name in ("energy", "dipole", "quadrupole"):
        getattr(moments, name)[rows == lost] = np.nan
    return qm9.xtb.XtbResults(rows, moments)


def test_without_the_package_a_target_is_refused_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(qm9.xtb.importlib.util, "find_spec", lambda name: None)
    for make in (check_installed, QM9DataModule):
        with pytest.raises(ValueError, match=r"needs the package tblite: .*requirements-xtb.txt"):
            make("quadrupole")
    QM9DataModule("charge_dipole")


def test_chunks_take_seconds() -> None:
    assert 100 <= CHUNK <= 2000
