"""decomposition.csv."""

from pathlib import Path

import pytest

from records.decomposition import Decomposition, Term, read_decomposition, write_decomposition

FOUND = Decomposition([Term("reference", 10.0, 0.9, 3.5), Term("0,1", 1 / 3, 0.1, -2.0)], 200)


def test_terms_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "decomposition.csv"
    assert read_decomposition(path) is None
    write_decomposition(path, FOUND, "meV")
    assert read_decomposition(path) == FOUND
    assert [file.name for file in tmp_path.iterdir()] == ["decomposition.csv"]


def test_a_damaged_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "decomposition.csv"
    write_decomposition(path, FOUND, "meV")
    path.write_text(path.read_text().replace("-2.0", "half"))
    with pytest.raises(ValueError, match=r"decomposition.csv is damaged in line 3"):
        read_decomposition(path)
