import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qm9.source import PARTS, POLARIZABILITY, Source, find_source, read_molecules
from tests.qm9.fake_source import ROWS, copy_source, edit_line


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return copy_source(tmp_path_factory.mktemp("qm9pack"))


@pytest.fixture
def source(tmp_path: Path, intact: Source) -> Source:
    for name in (*PARTS, POLARIZABILITY):
        (tmp_path / name).write_bytes((intact.directory / name).read_bytes())
    return replace(intact, directory=tmp_path)


def read(source: Source):
    return read_molecules(source, progress=False)


def test_installed_files_have_their_recorded_checksums():
    source = find_source()
    assert set(source.checksums or {}) == {*PARTS, POLARIZABILITY}
    for name, expected in (source.checksums or {}).items():
        assert hashlib.sha256((source.directory / name).read_bytes()).hexdigest() == expected


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install qm9pack"):
        find_source()


def test_numbers_without_decimals_are_read(source: Source):
    raw = read(source)
    # The fourth molecule, acetylene, lies on a line: coordinates such as "0." and "1."
    start = raw.num_atoms[:3].sum()
    np.testing.assert_array_equal(raw.pos[start : start + 4, 1], 0)
    np.testing.assert_array_equal(raw.pos[start : start + 4, 2], 1)
    assert raw.pos[start, 0] == 0.5995394918


def test_all_parts_are_read_in_order(source: Source):
    raw = read(source)
    assert len(raw.index) == ROWS * len(PARTS)
    assert raw.index[[0, ROWS, 2 * ROWS]].tolist() == [1, 44747, 89009]
    assert (np.diff(raw.index) > 0).all()
    assert raw.num_atoms.sum() == len(raw.z) == len(raw.pos)


# Every change is made in line 4 of the second part, row 3 below the header.
DAMAGE = {
    "a coordinate is missing": ("[[", "[", "XYZ_Ang is not a list of lists"),
    "an atom has lost its coordinates": ("]]", "],[0.,0.,0.]]", "coordinates of"),
    "a coordinate is no number": ("]]", "x]]", "XYZ_Ang holds something that is not a number"),
    "a coordinate is nan": ("[[", "[[nan,", "XYZ_Ang holds a number that is not finite"),
    "a comma is lost": ("],[", "]  [", "coordinates of"),
    "an element is unknown": ("['O'", "['X'", "Elements holds 'X'"),
    "an element is another one": ("['O'", "['N'", "Stoichiometry does not fit"),
    "the number of atoms is wrong": (",16,", ",17,", "N_atoms is '17' for 16 elements"),
    "the index is wrong": (",44749,", ",44750,", "does not fit XYZ_file"),
    "a quote is lost": ('"[[', "[[", "fields instead of 25"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_names_file_and_row(source: Source, damage: str):
    old, new, message = DAMAGE[damage]
    edit_line(source.directory / PARTS[1], 4, old, new)
    with pytest.raises(ValueError, match=r"qm9_part2\.csv, row 3 \(line 4, ") as caught:
        read(source)
    assert message in str(caught.value)
    assert "pip install" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (10, "a property holds something that is not a number"),
        (14, "third of the tensor's trace"),
        (17, "gap is not the difference"),
        (20, "energies are not in the order"),
        (22, "enthalpy is not the internal energy"),
    ],
)
def test_a_wrong_property_names_file_and_row(source: Source, column: int, message: str):
    path = source.directory / PARTS[0]
    lines = path.read_text().splitlines()
    head, tail = lines[7].rsplit("]", 1)
    fields = tail.split(",")  # starts with the closing quote; columns 10 and on follow
    position = {10: 4}.get(column, column - 9)
    fields[position] = "1.5e" if column == 10 else "1.25"
    lines[7] = f"{head}]{','.join(fields)}"
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"qm9_part1\.csv, row 7 \(line 8, ") as caught:
        read(source)
    assert message in str(caught.value)


def test_a_truncated_file_names_its_last_row(source: Source):
    path = source.directory / PARTS[2]
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"[[") + 50])  # within a quoted field
    with pytest.raises(ValueError, match=rf"qm9_part3\.csv, row {ROWS} "):
        read(source)


def test_missing_rows_are_counted(source: Source):
    path = source.directory / PARTS[2]
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(ValueError, match="59 molecules instead of 60"):
        read(source)


def test_a_missing_polarizability_names_the_molecule(source: Source):
    path = source.directory / POLARIZABILITY
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:5] + lines[6:]))
    with pytest.raises(ValueError, match=r"qm9_part1\.csv, row 5 .*polarizability\.csv has no row"):
        read(source)


def test_a_damaged_polarizability_names_file_and_row(source: Source):
    edit_line(source.directory / POLARIZABILITY, 6, "9.553", "nan")
    with pytest.raises(ValueError, match=r"qm9_polarizability\.csv, row 5 \(line 6, .*not finite"):
        read(source)


def test_bytes_that_are_not_text_name_file_and_row(source: Source):
    path = source.directory / PARTS[0]
    lines = path.read_bytes().splitlines(keepends=True)
    lines[9] = lines[9][:100] + b"\xff\xfe" + lines[9][102:]
    path.write_bytes(b"".join(lines))
    with pytest.raises(ValueError, match=r"qm9_part1\.csv, row 9 \(line 10\)"):
        read(source)


def test_a_missing_file_or_column_is_named(source: Source):
    edit_line(source.directory / PARTS[1], 1, "SMILES", "SMILE")
    with pytest.raises(ValueError, match=r"qm9_part2\.csv, line 1: columns \['SMILES'\]"):
        read(source)
    (source.directory / PARTS[1]).unlink()
    with pytest.raises(ValueError, match=r"qm9_part2\.csv is missing"):
        read(source)


def test_a_changed_digit_is_found_by_the_checksum(source: Source):
    path = source.directory / PARTS[0]
    recorded = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()}
    edit_line(path, 2, "0.0126981359", "0.0126981358")
    with pytest.raises(ValueError, match=r"qm9_part1\.csv differs from the file"):
        read(replace(source, checksums=recorded))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(position=st.integers(0, 30_000), byte=st.integers(0, 255), cut=st.booleans())
def test_any_damage_is_read_or_refused_clearly(
    source: Source, intact: Source, position: int, byte: int, cut: bool
):
    path = source.directory / PARTS[0]
    content = bytearray((intact.directory / PARTS[0]).read_bytes())
    position %= len(content)
    if cut:
        del content[position:]
    else:
        content[position] = byte
    path.write_bytes(content)
    try:
        raw = read(source)
    except ValueError as error:
        message = str(error)
    else:
        message = f"{PARTS[0]} is fine" if np.isfinite(raw.pos).all() else "not finite"
    assert PARTS[0] in message
