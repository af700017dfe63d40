"""What is imported before the first line of work, and what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import startup

ROOT = Path(__file__).parents[1]
HEAVY = {
    "ase.io", "e3nn", "lightning", "matplotlib", "numba", "pandas", "plotly", "polars",
    "pynndescent", "rdkit", "scipy", "sklearn", "torch", "torch_geometric", "torchmetrics", "umap",
    "wandb",
}  # fmt: skip
"""Packages that take a tenth of a second or more to import."""
NOT_FOR_OPTIONS = {
    "ase.io", "plotly", "polars", "pynndescent", "qm9pack", "rdkit", "sklearn", "umap", "wandb",
    "wandb_workspaces",
}  # fmt: skip
"""Those that declaring and parsing the options of a run does not need. Lightning and
torch_geometric import numba, matplotlib, pandas, scipy and torch's compiler themselves."""


def modules_after(program: str) -> set[str]:
    """Run a program text in a fresh interpreter; return the modules that it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nimport sys\nprint('MODULES', *sys.modules)"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.rpartition("MODULES ")[2].split())


@pytest.mark.parametrize("program", ["train", "prune", "sweep", "upload"])
def test_a_program_starts_without_heavy_packages(program: str) -> None:
    assert modules_after(f"import {program}") & HEAVY == set()


def test_the_list_of_subcommands_needs_no_heavy_package() -> None:
    assert modules_after("import train\nassert train.main(['--help']) == 0") & HEAVY == set()


def test_options_are_declared_without_what_only_a_run_needs() -> None:
    program = """
import contextlib, io, train
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as text:
    train.main(["fit", "--help"])
assert "--model.irreps" in text.getvalue()
"""
    found = modules_after(program)
    assert "torch" in found
    assert found & NOT_FOR_OPTIONS == set()


def test_an_option_that_is_refused_costs_no_client_of_wandb() -> None:
    program = """
import contextlib, train
with contextlib.suppress(SystemExit):
    train.main(["--model.irreps=nonsense"])
"""
    assert "wandb" not in modules_after(program)


def test_the_benchmark_compares_two_checkouts(capsys: pytest.CaptureFixture[str]) -> None:
    startup.main(
        ["--rounds", "1", "--commands", "train.py --help", "--against", str(ROOT), "--modules", "1"]
    )
    header, rule, row, slowest = capsys.readouterr().out.splitlines()
    assert header == "| command | before: CPU s | s | now: CPU s | s | CPU, ratio |"
    assert len(rule.split("|")) == len(header.split("|")) == len(row.split("|"))
    assert row.startswith("| train.py --help |")
    assert slowest.endswith(" s  torch")
