"""Molecules and layouts as the page gets them, unpacked again and compared with the files."""

import base64
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from records.latent_paths import epoch_path
from records.latents import read_epoch
from reporting.html import latent_layouts
from reporting.html.latent_layouts import pack_layouts
from reporting.html.structures import HEIGHT, WIDTH, draw_all
from reporting.read.runs import ReportError, read_run
from tests.reporting.synthetic_runs import smiles, write_run

MOLECULES = smiles(50)


def unpack(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path, "16x0e+16x1o", 0, molecules=MOLECULES)


def test_layouts_and_numbers_survive_packing(run_dir: Path) -> None:
    packed = pack_layouts([("a", read_run(run_dir))])
    last, first = (read_epoch(epoch_path(run_dir / "latents", epoch)) for epoch in (5, -1))
    entry = packed.runs["a"]
    assert list(entry["blocks"]) == ["all", "0e", "1o"]
    for name, block in entry["blocks"].items():
        shown = [unpack(block[when], "<u2").reshape(-1, 2) / 65535 for when in ("after", "before")]
        both = np.concatenate(shown)
        true = np.concatenate([last.layouts[name], first.layouts[name]]).astype(float)
        # One scale and shift for both epochs and axes: distances keep their ratios.
        scale = np.ptp(true, axis=0).max()
        centred = (true - (true.max(axis=0) + true.min(axis=0)) / 2) / scale + 0.5
        np.testing.assert_allclose(both, centred, atol=1e-4)
    np.testing.assert_allclose(unpack(entry["prediction"], "<f4"), last.prediction, rtol=1e-6)
    molecules = packed.molecules[entry["molecules"]]
    assert molecules["smiles"] == MOLECULES
    np.testing.assert_allclose(unpack(molecules["target"], "<f4"), last.molecules.target, rtol=1e-6)


def test_runs_share_molecules_and_drawings(tmp_path: Path, run_dir: Path) -> None:
    other = write_run(tmp_path, "16x0e", 0, molecules=MOLECULES)
    packed = pack_layouts([("a", read_run(run_dir)), ("b", read_run(other))])
    assert packed.runs["a"]["molecules"] == packed.runs["b"]["molecules"]
    assert len(packed.molecules) == 1
    assert len(packed.drawings) == len(MOLECULES)
    assert list(packed.runs["b"]["blocks"]) == ["all"], "a single irrep is all of them"


def test_many_runs_show_fewer_molecules_each(monkeypatch, run_dir: Path) -> None:
    monkeypatch.setattr(latent_layouts, "LAYOUT_BYTES", 6 * 20 * latent_layouts.BYTES_PER_POINT)
    packed = pack_layouts([("a", read_run(run_dir))])
    shown = packed.molecules[packed.runs["a"]["molecules"]]["smiles"]
    assert len(shown) == 20
    assert set(shown) <= set(MOLECULES)


def test_drawings_are_bounded(monkeypatch, run_dir: Path) -> None:
    monkeypatch.setattr(latent_layouts, "MAX_DRAWINGS", 10)
    packed = pack_layouts([("a", read_run(run_dir))])
    assert len(packed.drawings) == 10
    (molecules,) = packed.molecules.values()
    assert molecules["drawing"] == [*range(10), *[-1] * 40]


def test_runs_without_latents_are_left_out(tmp_path: Path) -> None:
    assert pack_layouts([("a", read_run(write_run(tmp_path)))]).runs == {}


def test_a_layout_that_failed_is_told(run_dir: Path) -> None:
    path = epoch_path(run_dir / "latents", 5)
    with np.load(path) as arrays:
        content = dict(arrays)
    content["layout_1o"] = np.full_like(content["layout_1o"], np.nan)
    content["problems"] = np.array('{"1o": "all channels are zero"}')
    np.savez(path, **content)
    block = pack_layouts([("a", read_run(run_dir))]).runs["a"]["blocks"]["1o"]
    assert block["after"] is None
    assert block["before"] is not None
    assert block["problem"] == "all channels are zero"


def test_a_damaged_file_is_named_or_told_on_the_page(run_dir: Path) -> None:
    path = epoch_path(run_dir / "latents", 5)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ReportError, match=r"epoch_005\.npz"):
        pack_layouts([("a", read_run(run_dir))])
    packed = pack_layouts([("a", read_run(run_dir))], skip_broken=True)
    assert packed.runs == {}
    assert "epoch_005.npz" in packed.problems[0]


@pytest.mark.parametrize("text", ["CC(=O)N", "[NH3+]CC([O-])=O", "c1cc[nH]c1", "C[C@H](O)F", "C"])
def test_drawings_show_bonds_and_hetero_atoms(text: str) -> None:
    (drawing,) = draw_all([text])
    root = ElementTree.fromstring(f"<svg>{drawing}</svg>")
    molecule = Chem.MolFromSmiles(text)
    hetero = sum(atom.GetSymbol() != "C" for atom in molecule.GetAtoms())
    letters = [node.text for node in root.iter("text") if node.text in ("N", "O", "F")]
    assert len(letters) == hetero
    strokes = "".join(node.get("d") for node in root.iter("path"))
    assert strokes.count("M") >= molecule.GetNumBonds()
    for node in root.iter("text"):
        assert 0 <= int(node.get("x")) <= WIDTH
        assert 0 <= int(node.get("y")) <= HEIGHT
    assert len(drawing) < 1500


def test_what_rdkit_cannot_read_is_left_blank(capfd) -> None:
    assert draw_all(["not a molecule", ""]) == ["", ""]
    assert capfd.readouterr().err == ""
