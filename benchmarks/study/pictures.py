"""The pictures of RESULTS.md: ``python -m benchmarks.study --pictures docs``.

Imports matplotlib, `benchmarks.study` and `reporting`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from benchmarks.study.arms import Arm, find_set
from benchmarks.study.contrasts import TEST_MAE, Outcome, Result, judge, read_declaration
from benchmarks.study.tables import MEASURED_SETS
from benchmarks.study.words import short
from records.files import replacing
from reporting.compare.baselines import compare_with_baselines

COLORS: Mapping[Outcome, str] = {
    "first better": "#1b6ca8",
    "second better": "#b3471d",
    "equivalent": "#4a7a3a",
    "undecided": "#6b6b6b",
}
RATIOS = (-75, -50, -25, 0, 50, 100, 200)
"""Marked relative differences in per cent."""


def draw_errors(arms: Mapping[str, Arm]) -> Figure:
    """Draw the test MAE of every run, set by set, for the arms `main` and `raw`.

    Parameters
    ----------
    arms : mapping of str to Arm
    """
    names = ["main", "raw"]
    titles = {"main": "target without composition", "raw": "raw target, as published"}
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2, sharey=True), names):
        _errors_of_arm(axes, arms, name)
        axes.set_title(titles[name], fontsize=10)
    figure.axes[0].set_ylabel("test MAE of U0, meV")
    return figure


def _errors_of_arm(axes: Axes, arms: Mapping[str, Arm], name: str) -> None:
    planned = list(dict.fromkeys(run.irreps for run in arms[name].runs))
    found = [one for irreps in planned if (one := find_set(arms, name, {}, irreps)) is not None]
    found.sort(key=lambda one: (len(one[1].degrees), one[1].degrees))
    for position, (group, irrep_set) in enumerate(found):
        errors = list(group.errors_by_seed(irrep_set).values())
        axes.plot([position] * len(errors), errors, "o", color=COLORS["first better"], alpha=0.7)
    learning = compare_with_baselines(found[0][0]) if found else None
    if learning is not None:
        level = learning.best.mae.mean
        axes.axhline(level, color="#6b6b6b", linestyle="--", linewidth=1)
        axes.annotate(
            "no network: element and bond counts",
            (0.02, level),
            xycoords=("axes fraction", "data"),
            va="bottom",
            fontsize=8,
        )
    axes.set_yscale("log")
    ticks = (20, 50, 100, 200, 500)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    labels = [short(irrep_set.irreps).partition(" (")[0] for _, irrep_set in found]
    axes.set_xticks(range(len(found)), labels, rotation=30, ha="right", fontsize=8)
    axes.set_xlabel("degrees l")


def draw_contrasts(arms: Mapping[str, Arm]) -> Figure:
    """Draw the contrasts of test MAEs that have results, with their pooled 95 % intervals.

    Parameters
    ----------
    arms : mapping of str to Arm
    """
    declaration = read_declaration()
    results = [
        result
        for result in judge(declaration, arms)
        if result.pooled is not None and result.contrast.measure == TEST_MAE
    ]
    figure = Figure(figsize=(8.0, 1.2 + 0.27 * len(results)), layout="constrained")
    axes = figure.subplots()
    for row, result in enumerate(results):
        _interval(axes, row, result)
    margin = math.log1p(declaration.margin)
    axes.axvspan(-margin, margin, color="#dddddd", zorder=0)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(results)), [_label(result) for result in results], fontsize=8)
    axes.set_ylim(len(results) - 0.5, -0.5)
    axes.xaxis.set_major_locator(FixedLocator([math.log1p(r / 100) for r in RATIOS]))
    axes.xaxis.set_major_formatter(FuncFormatter(_relative))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("test MAE of the first set relative to the second (grey: equivalent)")
    for outcome, color in COLORS.items():
        axes.plot([], [], "o", color=color, label=outcome)
    figure.legend(fontsize=8, loc="outside lower center", ncols=len(COLORS))
    return figure


def _relative(log_ratio: float, _: int) -> str:
    percent = round(100 * math.expm1(log_ratio))
    return f"{percent:+d} %" if percent else "equal"


def _interval(axes: Axes, row: int, result: Result) -> None:
    if result.pooled is None:
        return
    color = COLORS[result.outcome]
    axes.plot([result.pooled.low, result.pooled.high], [row, row], color=color, linewidth=1.6)
    axes.plot([result.pooled.mean], [row], "o", color=color, markersize=5)


def _label(result: Result) -> str:
    contrast = result.contrast
    where = "".join(f", {value}" for value in contrast.where.values())
    first, second = (short(irreps) for irreps in contrast.sets)
    return f"({contrast.claim}) {contrast.arm}{where}: {first} / {second}"


def save_pictures(arms: Mapping[str, Arm], folder: Path) -> list[Path]:
    """Write ``results_errors.png`` and ``results_contrasts.png``.

    Parameters
    ----------
    arms : mapping of str to Arm
    folder : Path

    Returns
    -------
    list of Path

    Raises
    ------
    ValueError
        If there are no results of the arm `main`.
    """
    if find_set(arms, "main", {}, MEASURED_SETS[0]) is None:
        raise ValueError("the arm main has no results: python sweep.py sweeps/study/main.yaml")
    files = []
    for name, draw in (("errors", draw_errors), ("contrasts", draw_contrasts)):
        path = folder / f"results_{name}.png"
        with replacing(path) as temporary:
            draw(arms).savefig(temporary, format="png", dpi=130)
        files.append(path)
    return files
