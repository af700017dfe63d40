"""RESULTS.md says what the kept results say, and the contrasts find what is planted."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import get_args

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from benchmarks.study.arms import ROOT, SWEEPS, Arm, read_arms
from benchmarks.study.contrasts import Contrast, Declaration, judge, read_declaration
from benchmarks.study.document import updated
from benchmarks.study.latents import LatentMeasure
from benchmarks.study.pictures import draw_contrasts
from benchmarks.study.tables import TABLES
from benchmarks.study.words import relative, signed
from reporting.compare.statistics import Estimate
from reporting.read.irreps import canonical_irreps
from reporting.read.runs import read_run
from sweeping.file import load_sweep_file
from sweeping.space import configurations
from sweeping.state import trial_key

ERRORS = {  # log ratios by seed: far apart, the same, and too scattered to tell
    "8x0e": [100.0, 101.0, 99.0],
    "8x0e+8x1o": [50.0, 51.0, 49.5],
    "8x0e+8x2e": [50.5, 50.0, 50.0],
}


def planted_run(folder: Path, irreps: str, seed: int, error: float) -> None:
    summary = {
        "run_name": folder.name,
        "status": "finished",
        "seed": seed,
        "irreps": irreps,
        "target": "U0",
        "unit": "meV",
        "configuration": {"model.irreps": irreps, "seed_everything": seed, "data.graph": "bonds"},
        "test/mae": error,
        "val/mae": error,
        "params/total": 100 * len(irreps),
        "epochs": 1,
    }
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(summary))


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    for irreps, errors in ERRORS.items():
        for seed, error in enumerate(errors):
            planted_run(tmp_path / f"{irreps}-{seed}", irreps, seed, error)
    return Arm("main", 9, [read_run(folder) for folder in sorted(tmp_path.iterdir())], 0, 0.0)


@pytest.fixture(scope="module")
def kept() -> dict[str, Arm]:
    """The arms with the results of this repository, which take seconds to read."""
    return read_arms()


def declare(*pairs: tuple[str, str], margin: float = 0.05) -> Declaration:
    contrasts = [Contrast(claim="a", arm="main", sets=pair) for pair in pairs]
    return Declaration(margin=margin, claims={"a": "a claim"}, contrasts=contrasts)


def test_planted_differences_are_found(arm: Arm) -> None:
    far, same, missing = judge(
        declare(("8x0e+8x1o", "8x0e"), ("8x0e+8x2e", "8x0e+8x1o"), ("8x3o", "8x0e")),
        {"main": arm},
    )
    assert far.outcome == "first better"
    assert far.pooled is not None
    ratios = [a / b for a, b in zip(ERRORS["8x0e+8x1o"], ERRORS["8x0e"])]
    assert far.pooled.mean == pytest.approx(sum(map(math.log, ratios)) / 3)
    assert same.outcome == "equivalent"
    assert missing.outcome == "under two seeds"


def test_what_no_margin_holds_is_undecided(arm: Arm) -> None:
    (result,) = judge(declare(("8x0e+8x2e", "8x0e+8x1o"), margin=0.001), {"main": arm})
    assert result.outcome == "undecided"


@pytest.fixture
def latent_arm(arm: Arm) -> Arm:
    """l = 0 has the better structured features, and l = 0, 1 scalars that are as good."""
    for run in arm.runs:
        scatter, plain = 0.001 * (run.seed or 0), run.irreps == "8x0e"
        measures = {
            "latent/all/knn_r2_composition_free": (0.9 if plain else 0.6) + scatter,
            "latent/all/knn_r2_complexity": (0.5001 if plain else 0.5) + scatter,
        }
        if not plain:
            measures["latent/0e/knn_r2_composition_free"] = 0.9
        run.metrics = {0: dict.fromkeys(measures, 0.1), 1: measures}
    return arm


def test_latent_structure_is_better_where_r2_is_larger(latent_arm: Arm) -> None:
    measures = get_args(LatentMeasure)
    contrasts = [
        Contrast(claim="d", arm="main", sets=("8x0e", "8x0e+8x1o"), measure=measure)
        for measure in measures
    ]
    reverse = contrasts[0].model_copy(update={"sets": ("8x0e+8x1o", "8x0e")})
    declaration = Declaration(margin=0.05, claims={"d": "d"}, contrasts=[*contrasts, reverse])
    results = judge(declaration, {"main": latent_arm})
    everything, scalars, complexity, reversed_ = results
    assert everything.pooled is not None
    assert everything.pooled.mean == pytest.approx(0.3)
    assert everything.outcome == "first better"
    assert reversed_.outcome == "second better"
    assert scalars.outcome == complexity.outcome == "equivalent"


def test_contrasts_of_latent_spaces_do_not_widen_those_of_errors(latent_arm: Arm) -> None:
    errors = [Contrast(claim="a", arm="main", sets=("8x0e+8x2e", "8x0e+8x1o"))]
    latent = Contrast(
        claim="d", arm="main", sets=("8x0e", "8x0e+8x1o"), measure="all/knn_r2_complexity"
    )
    alone, beside = (
        judge(
            Declaration(margin=0.0, claims={}, contrasts=[*errors, *[latent] * count]),
            {"main": latent_arm},
        )
        for count in (0, 9)
    )
    assert alone[0] == beside[0]
    assert 0 < alone[0].p_value < beside[1].p_value  # so a common correction would multiply it


def test_estimates_are_written_with_their_unit_and_a_real_minus() -> None:
    ratio = Estimate(math.log(0.8), 0.1, 3, math.log(0.5), math.log(1.055), 0.1)
    assert relative(ratio) == "\N{MINUS SIGN}20 [\N{MINUS SIGN}50, +5.5] %"
    assert signed(Estimate(-0.25, 0.1, 3, -0.5, 0.0004, 0.1)) == (
        "\N{MINUS SIGN}0.250 [\N{MINUS SIGN}0.500, +0.000]"
    )


@pytest.mark.parametrize("ends", [(-1.1, 0.5), (-1.5, 1.3)])
def test_marks_of_the_contrasts_do_not_touch(
    kept: dict[str, Arm], ends: tuple[float, float]
) -> None:
    figure = draw_contrasts(kept)
    axes = figure.axes[0]
    axes.set_xlim(ends)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    labels = [label for label in axes.get_xticklabels() if label.get_text()]
    seen = [label for label in labels if ends[0] <= label.get_position()[0] <= ends[1]]
    boxes = [label.get_window_extent(canvas.get_renderer()) for label in seen]
    assert len(boxes) > 3
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def test_options_choose_the_runs(arm: Arm) -> None:
    contrast = Contrast(
        claim="a", arm="main", sets=("8x0e+8x1o", "8x0e"), where={"data.graph": "radius"}
    )
    declaration = Declaration(margin=0.05, claims={"a": "a claim"}, contrasts=[contrast])
    assert judge(declaration, {"main": arm})[0].outcome == "under two seeds"


def test_every_declared_set_is_planned() -> None:
    planned = {
        file.stem: {
            canonical_irreps(c["model.irreps"])
            for c in configurations(load_sweep_file(file), None, 0)
        }
        for file in (ROOT / "sweeps" / "study").glob("*.yaml")
    }
    planned["cost"] |= {"16x0e+16x1o+16x2e"}  # trained in the arm `width`, with the same options
    assert "16x0e+16x1o+16x2e" in planned["width"]
    declaration = read_declaration()
    for contrast in declaration.contrasts:
        assert contrast.claim in declaration.claims
        assert {canonical_irreps(irreps) for irreps in contrast.sets} <= planned[contrast.arm]


def test_the_document_says_what_the_results_say(kept: dict[str, Arm]) -> None:
    text = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    assert sum(len(arm.runs) for arm in kept.values()) > 0
    tables = {name: make(kept) for name, make in TABLES.items()}
    for name in TABLES:
        assert f"<!-- python -m benchmarks.study {name} -->" in text
    assert updated(text, tables) == text, "run python -m benchmarks.study --write"


def test_every_interval_of_the_prose_stands_in_a_table() -> None:
    text = (ROOT / "RESULTS.md").read_text(encoding="utf-8").replace("−", "-")
    tables = "\n".join(re.findall(r"<!-- python .*?<!-- end -->", text, flags=re.DOTALL))
    prose = re.sub(r"<!-- python .*?<!-- end -->", "", text, flags=re.DOTALL)
    found = intervals(tables)
    # "Better by 19 % [16, 23]" stands for −19 % [−23, −16].
    found |= {(-high, -low) for low, high in found}
    assert intervals(prose)
    assert not intervals(prose) - found


def intervals(text: str) -> set[tuple[float, float]]:
    number = r"([-+]?[\d.]+)"
    return {(float(a), float(b)) for a, b in re.findall(rf"\[{number}, {number}\]", text)}


def test_failed_trials_are_counted_until_they_finish(tmp_path: Path) -> None:
    sweep = load_sweep_file(SWEEPS / "width.yaml")
    keys = [trial_key(sweep.program, sweep.command, one) for one in configurations(sweep, None, 0)]
    for name, key in (("width", keys[0]), ("elsewhere", keys[1])):
        failure = {"version": 1, "key": key, "configuration": {}, "attempts": 1, "exit_code": 1}
        file = tmp_path / name / f"failed-{key}.json"
        file.parent.mkdir()
        file.write_text(json.dumps({**failure, "seconds": 2.0, "tail": ["no memory"]}))
    assert read_arms(tmp_path)["width"].failed == 2
    line = "| `width` | 6 | 0 | 2 | \N{EN DASH} |"
    assert line in TABLES["trials"](read_arms(tmp_path)).splitlines()
    planted_run(tmp_path / "width" / "run", "16x0e", 0, 50.0)
    kept = {"version": 1, "key": keys[0], "configuration": {}, "seconds": 60.0}
    (tmp_path / "width" / "run" / "trial.json").write_text(json.dumps(kept))
    assert read_arms(tmp_path)["width"].failed == 1


def test_a_block_without_a_table_is_an_error() -> None:
    text = "<!-- python -m benchmarks.study nothing -->\n<!-- end -->"
    with pytest.raises(ValueError, match="nothing"):
        updated(text, {})
