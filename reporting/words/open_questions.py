"""What cannot be concluded from a group of runs yet, one sentence per question.

Imports `reporting.compare` and this package only.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

from reporting.compare.groups import TEST_MAE, Group, IrrepSet
from reporting.compare.irrep_effects import IrrepEffect, irreps_of
from reporting.compare.judgement import differ_in_size, still_falling
from reporting.compare.set_comparison import (
    LARGEST_T,
    RECOMMENDED_SEEDS,
    SIGNIFICANT,
    Difference,
    Relation,
    Standing,
    paired_test_needs,
)
from reporting.compare.statistics import needed_t
from reporting.read.irreps import degree_of, parse_irreps, without_irrep
from reporting.words import formatting
from reporting.words.commands import directory, train_again

LONGER = 2
"""Times as many epochs are proposed where the error still falls."""


def open_questions(
    group: Group,
    rows: Sequence[Standing],
    to_best: Sequence[Difference],
    effects: Sequence[IrrepEffect],
) -> list[str]:
    """List what cannot be concluded yet.

    Parameters
    ----------
    group : Group
    rows : sequence of Standing
        Lowest error first.
    to_best : sequence of Difference
        Error of every other set minus error of the best.
    effects : sequence of IrrepEffect

    Returns
    -------
    list of str
        One or two sentences each, with the command that would settle the question.
    """
    questions = [
        _untested(group),
        _scatter_over_seeds(group),
        _too_few_seeds(group, to_best),
        _undecided_lead(group, to_best),
        _longer_training(group, rows),
        _size_or_irreps(rows),
        _irreps_without_partner(effects),
        runs_left_out(group),
        _differences_in_code(group),
        _no_utilization(rows, effects),
    ]
    return [question for question in questions if question]


def _untested(group: Group) -> str:
    if group.metric == TEST_MAE:
        return ""
    run = group.counted_runs[0]
    command = f"python train.py test --ckpt_path {shlex.quote(str(directory(run)))}"
    return (
        "How sets compare on test molecules: no run was tested, so their best validation MAE is "
        f"shown. For each run: `{command}`"
    )


def _scatter_over_seeds(group: Group) -> str:
    single = [f"`{one.label}`" for one in group.sets if len(one.runs) == 1]
    if len(single) == len(group.sets):
        return (
            "How far results scatter between seeds: one seed gives no interval. For each set: "
            f"{_another_seed(group, group.sets[0])}"
        )
    if single:
        names = formatting.join_first(single)
        first = next(one for one in group.sets if len(one.runs) == 1)
        return (
            f"How far the results of {names} scatter: one seed gives no interval. For each of "
            f"them: {_another_seed(group, first)}"
        )
    if all(len(irrep_set.runs) == 2 for irrep_set in group.sets):
        return (
            "Whether any difference is real: two seeds give very wide intervals, so nothing is "
            f"called established. For each set: {_another_seed(group, group.sets[0])}"
        )
    return ""


def _another_seed(group: Group, irrep_set: IrrepSet) -> str:
    """Write the command that trains a set with a seed that no run has yet."""
    run = irrep_set.runs[0]
    seed = max((one.seed for one in group.counted_runs if one.seed is not None), default=0) + 1
    own = [one.seed for one in irrep_set.runs]
    missing = {one.seed for one in group.counted_runs if one.seed not in (None, *own)}
    seed = min((s for s in missing if s is not None), default=seed)
    options: dict[str, object] = {"seed_everything": seed}
    if group.seeds_draw_splits:
        options["data__split_seed"] = seed
    return f"`{train_again(run, f'{irrep_set.label}-s{seed}', **options)}`"


def _too_few_seeds(group: Group, to_best: Sequence[Difference]) -> str:
    """Recommend more seeds where the paired test could establish next to nothing."""
    needed = paired_test_needs(to_best)
    counts = [d.estimate.count for d in to_best if d.estimate.count > 1]
    if not needed > LARGEST_T or min(counts) >= RECOMMENDED_SEEDS:
        return ""
    better = needed_t(RECOMMENDED_SEEDS - 1, len(to_best), SIGNIFICANT)
    comparisons = f"{len(to_best)} comparison{'s' if len(to_best) > 1 else ''}"
    return (
        f"What holds without assuming that all sets scatter alike: with {min(counts)} seeds and "
        f"{comparisons}, a paired difference must be {needed:.1f} times its standard error. Train "
        f"{RECOMMENDED_SEEDS} seeds, which lowers this to {better:.1f}. For each set and seed: "
        f"{_another_seed(group, group.sets[0])}"
    )


def _undecided_lead(group: Group, to_best: Sequence[Difference]) -> str:
    undecided = [d for d in to_best if d.estimate.has_interval and d.relation is Relation.UNDECIDED]
    if not undecided:
        return ""
    names = formatting.join_first([f"`{d.irrep_set.label}`" for d in undecided])
    return (
        f"Whether the best set is really better than {names}: more seeds are needed, of it and of "
        f"{'them' if len(undecided) > 1 else 'the other'}: "
        f"{_another_seed(group, undecided[0].irrep_set)}"
    )


def _longer_training(group: Group, rows: Sequence[Standing]) -> str:
    runs = group.counted_runs
    falling = sum(still_falling(run) for run in runs)
    if not falling:
        return ""
    return (
        f"The order after longer training: in {falling} of {len(runs)} runs the validation error "
        f"was still falling at the end. For each set: `{_longer(rows[0])}`"
    )


def _longer(row: Standing) -> str:
    run = row.irrep_set.runs[0]
    epochs = LONGER * run.epochs
    return train_again(run, f"{row.irrep_set.label}-{epochs}epochs", trainer__max_epochs=epochs)


def _size_or_irreps(rows: Sequence[Standing]) -> str:
    sizes = [row.irrep_set.parameters for row in rows if row.irrep_set.parameters]
    if not differ_in_size(sizes):
        return ""
    return (
        "What is due to irreps and what is due to size: the sets have "
        f"{formatting.whole(min(sizes))} to {formatting.whole(max(sizes))} parameters. A smaller "
        f"set with about as many parameters as the best: `{_as_large(rows)}`"
    )


def _as_large(rows: Sequence[Standing]) -> str:
    """Give the smallest set more channels; a convolution's weights grow with their square."""
    smallest = min(rows, key=lambda row: row.irrep_set.parameters or math.inf)
    largest = rows[0] if rows[0] is not smallest else max(rows, key=_size)
    ratio = (largest.irrep_set.parameters or 1.0) / (smallest.irrep_set.parameters or 1.0)
    multiplicities = parse_irreps(smallest.irrep_set.irreps)
    wider = "+".join(f"{round(mul * ratio**0.5)}x{ir}" for ir, mul in multiplicities.items())
    return train_again(smallest.irrep_set.runs[0], f"{wider}-wide", model__irreps=wider)


def _size(row: Standing) -> float:
    return row.irrep_set.parameters or 0.0


def _irreps_without_partner(effects: Sequence[IrrepEffect]) -> str:
    tested = {effect.irrep for effect in effects if effect.retrained is not None}
    irreps = [irrep for irrep in irreps_of(effects) if degree_of(irrep) > 0 and irrep not in tested]
    if not irreps:
        return ""
    named = ", ".join(f"`{irrep}`" for irrep in irreps)
    example = next(effect for effect in effects if effect.irrep in irreps)
    smaller = without_irrep(example.irrep_set.irreps, example.irrep)
    run, name = example.irrep_set.runs[0], f"without-{example.irrep}"
    return (
        f"Which of {named} are needed: no otherwise equal set was trained without them, and "
        "removing them shows only what a trained network relies on. For example: "
        f"`{train_again(run, name, model__irreps=smaller)}`"
    )


def runs_left_out(group: Group) -> str:
    """Say that some runs are in no mean; empty if all are counted.

    Parameters
    ----------
    group : Group
    """
    count = len(group.left_out)
    if not count:
        return ""
    runs = "1 run that is" if count == 1 else f"{count} runs that are"
    return (
        f"What {runs} unfinished, failed or repeated would add: listed below, but not counted in "
        "any mean. The command that started a run continues it."
    )


def _differences_in_code(group: Group) -> str:
    runs = group.counted_runs
    commits = {run.summary.git_commit or "unknown" for run in runs}
    versions = {tuple(sorted(run.summary.versions.items())) for run in runs}
    origins = [f"{len(commits)} commits"] if len(commits) > 1 else []
    if len(versions) > 1:
        origins.append(f"{len(versions)} sets of package versions")
    if not origins:
        return ""
    return f"Whether the code played a part: these runs come from {' and '.join(origins)}."


def _no_utilization(rows: Sequence[Standing], effects: Sequence[IrrepEffect]) -> str:
    if any(effect.reliance is not None for effect in effects):
        return ""
    best = rows[0].irrep_set
    command = train_again(best.runs[0], f"{best.label}-measured", utilization__enabled="true")
    return (
        f"Which irreps the networks use: their utilization was not measured. For each set: "
        f"`{command}`"
    )
