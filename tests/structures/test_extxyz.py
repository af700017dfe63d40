from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.io import write
from hypothesis import given
from hypothesis import strategies as st

from structures.cache import Labels, StructureData, load_structures, prepare
from structures.extxyz import MAX_ATOMS, Frame, read_frames
from structures.graphs import radius_graphs
from tests.junk import examples
from tests.structures.made import copper, ethanol

HEADER = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5'
ATOM = "Cu 0 0 0 0.1 0 0"


def frame_text(header: str = HEADER, *atoms: str) -> str:
    return "\n".join([str(len(atoms) or 1), header, *(atoms or [ATOM]), ""])


GOOD = frame_text()


def read(folder: Path, content: str | bytes, labels: Labels | None = None) -> StructureData:
    path = folder / "my.extxyz"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return prepare(path, labels or Labels(forces="forces"), progress=False)


def test_what_ase_has_written_is_read(tmp_path: Path):
    structures = copper(2) + copper(1)
    write(tmp_path / "my.xyz", structures, format="extxyz")
    data = prepare(tmp_path / "my.xyz", Labels(forces="forces"), progress=False)
    assert len(data) == 3
    assert data.node_offsets.tolist() == [0, 4, 8, 12]
    assert data.lines.tolist() == [1, 7, 13]
    for k, atoms in enumerate(structures):
        nodes = slice(4 * k, 4 * k + 4)
        assert data.z[nodes].tolist() == [29] * 4
        np.testing.assert_allclose(data.pos[nodes], atoms.positions, atol=1e-8)
        np.testing.assert_allclose(data.cells[k], atoms.cell.array)
        np.testing.assert_allclose(data.forces[nodes], atoms.get_forces(), atol=1e-8)
        assert data.energy[k].item() == pytest.approx(atoms.get_potential_energy(), abs=1e-8)
        assert data.periodic[k].all()


def test_plain_xyz_without_labels_is_read_where_none_are_needed(tmp_path: Path):
    data = read(
        tmp_path, "2\n\nH 0 0 0\nH 0 0 0.74\n\n\n1\na comment\nO 0 0 0\n", Labels(required=False)
    )
    assert data.energy.isnan().all()
    assert not data.periodic.any()
    assert len(data.forces) == 0
    assert data.lines.tolist() == [1, 7]


BAD: list[tuple[str | bytes, list[str]]] = [
    ("", ["my.extxyz is empty"]),
    ("\n \n", ["my.extxyz is empty"]),
    (GOOD + "3\n" + HEADER + "\n" + ATOM,
     ["frame 2 (line 4) is cut off", "after 1 of its 3 atoms"]),
    ("1\n", ["frame 1 (line 1) is cut off", "no comment line"]),
    (GOOD + "one\n", ["frame 2 (line 4)", "begin with its number of atoms", "'one'"]),
    (GOOD + "-1\n", ["frame 2 (line 4)", "number of atoms"]),
    ("0\n\n", ["frame 1 (line 1) has no atoms"]),
    ("100000\n" + HEADER, ["frame 1 (line 1) has 100000 atoms", f"{MAX_ATOMS:,}", "cut"]),
    ("9" * 5000 + "\n", ["frame 1 (line 1)", "atoms"]),
    (b"\x89PNG\r\n\x1a\n\xff\n", ["line 1 is no text", "ase convert"]),
    (GOOD + frame_text(HEADER.replace("energy", "e")),
     ["frame 2 (line 4) has no 'energy'", "--data.target", "its keys are", "e"]),
    (frame_text(HEADER.replace("-1.5", "nan")), ["frame 1 (line 1)", "'energy' is nan"]),
    (frame_text(HEADER.replace("-1.5", "low")), ["frame 1 (line 1)", "not one number", "low"]),
    (frame_text(HEADER.replace("-1.5", '"1 2 3"')), ["frame 1 (line 1)", "not one number"]),
    (frame_text(HEADER, ATOM, "Cu 1 nan 0 0 0 0"),
     ["frame 1 (line 1)", "atom 2 (line 4)", "(1, nan, 0)", "not finite"]),
    (frame_text(HEADER, "Cu 0 0 0 nan 0 0"),
     ["frame 1 (line 1)", "'forces'", "three finite numbers"]),
    (frame_text(HEADER, "Xx 0 0 0 0 0 0"), ["frame 1 (line 1) cannot be read", "Xx"]),
    (frame_text(HEADER, "X 0 0 0 0 0 0"),
     ["frame 1 (line 1)", "atom 1 (line 3) is no chemical element"]),
    (frame_text(HEADER, "Cu 0 zero 0 0 0 0"), ["frame 1 (line 1) cannot be read", "zero"]),
    (frame_text(HEADER, "Cu 0 0"), ["frame 1 (line 1) cannot be read"]),
    (frame_text(HEADER.replace("0 0 4\"", "0 0 0\"")),
     ["frame 1 (line 1) is periodic (pbc TTT)", "no volume"]),
    (frame_text(HEADER.replace("0 4 0", "4 0 0")), ["frame 1 (line 1) is periodic", "no volume"]),
    (frame_text(HEADER.replace("4 0 0 0 4", "inf 0 0 0 4")),
     ["frame 1 (line 1)", "cell", "not finite"]),
    (GOOD + frame_text(HEADER + ' pbc="F F F"'),
     ["frame 2 (line 4) is not periodic", "frames before it are", "mixed_periodicity"]),
    (frame_text(HEADER + " split=tset"),
     ["frame 1 (line 1)", "split is 'tset'", "train, val or test"]),
]  # fmt: skip


@pytest.mark.parametrize(("content", "words"), BAD, ids=range(len(BAD)))
def test_bad_files_are_refused_in_one_line_that_names_frame_and_line(tmp_path, content, words):
    with pytest.raises(ValueError, match=r"my\.extxyz") as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("header", "atoms", "words"),
    [
        (HEADER, [ATOM, "Cu 0 0 0.1 0 0 0"], r"frame 2 \(line 4\): atoms 1 and 2 are 0.1 angstrom"),
        (HEADER, [ATOM, "Cu 0 0 3.9 0 0 0"], r"atoms 1 and 2 are 0.1 angstrom"),
        (HEADER.replace("4 0 0 0 4", "0.001 0 0 0 4"), [ATOM], "its image are 0.001"),
        (HEADER.replace("4 0 0 0 4", "0.2 0 0 0 4"), [ATOM], "atom 1 and its image are 0.2"),
    ],
)
def test_structures_without_distances_are_refused_with_frame_and_line(
    tmp_path, header, atoms, words
):
    data = read(tmp_path, GOOD + frame_text(header, *atoms))
    names = ["my.extxyz, frame 1 (line 1)", "my.extxyz, frame 2 (line 4)"]
    with pytest.raises(ValueError, match=words):
        radius_graphs(data, 6.0, names.__getitem__, progress=False)


def test_a_long_line_does_not_fill_the_memory(tmp_path: Path):
    with pytest.raises(ValueError, match="line 2 is longer than"):
        read(tmp_path, "1\n" + " " * (3 << 20))


def test_missing_files_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"nowhere\.xyz cannot be read \(No such file"):
        load_structures(tmp_path / "nowhere.xyz", Labels(), tmp_path)


CHARACTERS = st.sampled_from(list(' \n"=-.0123456789:eEnaifTFCuLticxyz\t\0{}[]é'))


@examples(40)
@given(st.data())
def test_any_change_of_a_file_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: Any
):
    text = GOOD + frame_text(HEADER, ATOM, "Cu 1 1 1 0 0 0")
    for _ in range(data.draw(st.integers(1, 3))):
        at, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 8))
        text = text[:at] + data.draw(st.text(CHARACTERS, max_size=6)) + text[at + length :]
    path = tmp_path_factory.getbasetemp() / "fuzzed.extxyz"
    path.write_text(text)
    frames, message = outcome(path)
    assert message is None or ("fuzzed.extxyz" in message and "\n" not in message)
    assert all(np.isfinite(frame.pos).all() and np.isfinite(frame.energy) for frame in frames)


def outcome(path: Path) -> tuple[list[Frame], str | None]:
    try:
        return list(read_frames(path, "energy", "forces", labelled=True)), None
    except ValueError as error:
        return [], str(error)


# ---- the cache ------------------------------------------------------------------------------


def test_a_file_is_read_once_and_again_when_it_changes(tmp_path: Path, monkeypatch):
    path, cache = tmp_path / "my.xyz", tmp_path / "cache"
    write(path, ethanol(3), format="extxyz")
    first, digest = load_structures(path, Labels(), cache, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr("structures.cache.prepare", None)
        again, _ = load_structures(path, Labels(), cache, progress=False)
    assert all((getattr(first, name) == getattr(again, name)).all() for name in vars(first))
    write(path, ethanol(4), format="extxyz")
    changed, other = load_structures(path, Labels(), cache, progress=False)
    assert (len(first), len(changed)) == (3, 4)
    assert digest != other


def test_a_damaged_cache_is_built_anew(tmp_path: Path):
    path = tmp_path / "my.xyz"
    path.write_text(GOOD)
    load_structures(path, Labels(), tmp_path, progress=False)
    (cache,) = (tmp_path / "structures").glob("*.cache")
    content = bytearray(cache.read_bytes())
    content[len(content) // 2] ^= 4
    cache.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged.*built anew"):
        data, _ = load_structures(path, Labels(), tmp_path, progress=False)
    assert data.energy.tolist() == [-1.5]
