"""What a degree is worth to scalars, vectors and tensors, from planted errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from reporting.compare.groups import group_runs
from reporting.compare.target_ranks import compare_ranks
from reporting.plots.target_ranks import worth_by_rank
from reporting.read.runs import find_runs, read_run
from tests.reporting.synthetic_runs import write_run

ALL = "16x0e+16x1o+16x2e"
SCALAR = {"16x0e": 30.0, "16x0e+16x1o": 24.0, "16x0e+16x2e": 22.0, "16x0e+16x1o+16x2e": 20.0}
VECTOR = {"16x0e": 0.4, "16x0e+16x1o": 0.3, "16x0e+16x2e": 0.26, "16x0e+16x1o+16x2e": 0.2}


def plant(folder: Path, with_vectors: bool = True) -> list:
    for seed, factor in enumerate((1.0, 1.1)):
        for irreps, error in SCALAR.items():
            write_run(folder, irreps, seed, **{"test/mae": factor * error})
        for inner, error in VECTOR.items() if with_vectors else ():
            # The readout takes 1o from the last layer, so that only the inner layers can lack it.
            options = ["--data.target=charge_dipole"]
            if inner != ALL:
                options.append(f"--model.inner_irreps={inner}")
            write_run(folder, ALL, seed, *options, **{"test/mae": factor * error})
    return group_runs([read_run(path) for path in find_runs([folder])])


def test_degrees_are_compared_in_the_company_of_all_others(tmp_path: Path) -> None:
    found = compare_ranks(plant(tmp_path))
    worth = {(one.target, one.degree): one for one in found}
    assert list(worth) == [("U0", 1), ("U0", 2), ("charge_dipole", 1), ("charge_dipole", 2)]
    expected = {
        ("U0", 1): 0.1,
        ("U0", 2): 0.2,
        ("charge_dipole", 1): 0.3,
        ("charge_dipole", 2): 0.5,
    }
    for key, growth in expected.items():
        assert worth[key].growth.mean == pytest.approx(growth)
        assert worth[key].growth.count == 2
        assert worth[key].beside == (3 - key[1],)


def test_targets_of_one_rank_are_not_compared(tmp_path: Path) -> None:
    assert compare_ranks(plant(tmp_path, with_vectors=False)) == []
    assert worth_by_rank([]).views == []


def test_every_target_has_its_row(tmp_path: Path) -> None:
    (view,) = worth_by_rank(compare_ranks(plant(tmp_path))).views
    (panel,) = view.panels
    assert panel.layout["yaxis"]["ticktext"] == ["U0 (scalar)", "charge_dipole (vector)"]
    assert [trace["name"] for trace in panel.data] == ["l = 1", "l = 2"]
    assert panel.data[1]["x"] == pytest.approx([20.0, 50.0])
