"""The report of runs that were really trained, so that no change of their files goes unnoticed."""

import csv
import html
import json
import re
import shlex
from pathlib import Path

import pytest

import report
from reporting.read.runs import find_runs, read_run
from tests.programs import run_train
from tests.reporting.conftest import data_of


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_really_trained_runs_make_a_page(trained, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert report.main([str(trained.runs_dir), "-o", str(page)]) == 0
    assert capsys.readouterr().out.startswith(f"Report: {page} (")
    runs = {run.irreps: run for run in map(read_run, find_runs([trained.runs_dir]))}
    sets = {row["irreps"]: row for row in table(tmp_path / "page_tables" / "sets.csv")}
    assert set(sets) == set(runs) == {"4x0e", "4x0e+4x1o"}
    for irreps, row in sets.items():
        summary = json.loads((runs[irreps].path / "summary.json").read_text())
        assert float(row["mae"]) == pytest.approx(summary["test/mae"])
        assert float(row["parameters"]) == summary["params/total"]
        assert row["epochs"] == "1"
        assert row["unit"] == "meV"
    blocks = table(tmp_path / "page_tables" / "utilization.csv")
    assert {row["irrep"] for row in blocks} == {"0e", "1o"}
    text = page.read_text()
    assert "one seed gives no interval" in text
    data = data_of(page)
    (shown,) = data["latents"]["runs"].values()
    assert set(shown["blocks"]) == {"all", "0e", "1o"}
    assert len(data["latents"]["drawings"]) == 20
    figures = ("worth", "size", "cost", "curves", "reliance", "heatmaps", "latent", "decomposition")
    assert set(data["figures"]) == {f"g1-{key}" for key in figures}

    # The command that the page proposes is one that train.py understands.
    command = html.unescape(re.findall(r'<code class="command">(.*?)</code>', text)[0])
    python, program, *arguments = shlex.split(command)
    assert (python, program) == ("python", "train.py")
    code, output = run_train(["fit", *arguments, "--print_config"])
    assert code == 0, output
    assert "seed_everything: 1" in output
