"""The tables of RESULTS.md as Markdown.

Imports `benchmarks.study`, `records` and `reporting`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from benchmarks.result_rows import ResultRows
from benchmarks.study.arms import RESULTS, Arm, find_set, groups
from benchmarks.study.composition import FILE, CompositionErrors, composition_table
from benchmarks.study.contrasts import TEST_MAE, Contrast, Result, judge, read_declaration
from benchmarks.study.latents import LATENT_MEASURES, latents_table
from benchmarks.study.words import markdown, relative, short, signed
from benchmarks.tensor_targets import tables as rank_tables
from records.names import OPERATIONS
from records.utilization import MEASURES as VERDICTS
from records.utilization import Measure
from reporting.compare.baselines import compare_with_baselines
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.irrep_effects import (
    IrrepEffect,
    MeasuredEffect,
    PairEffect,
    irrep_effects,
    pair_effects,
)
from reporting.compare.nested_subsets import nested_subsets
from reporting.compare.statistics import Estimate, mean_interval, mean_of_finite
from reporting.read.runs import find_runs, read_run
from reporting.words.formatting import duration, mean, p_value, plain, plus_minus, whole

CONTRAST_HEADER = [
    *("arm", "first", "second", "seeds:"),
    *("difference, pooled:", "own scatter:", "p (Holm):", "outcome"),
]
MEASURES: Sequence[Measure] = ("missed", "refitted", "resampled", "reliance", "probe")
MEASURED_SETS = (
    "8x0e+8x1o+8x2e",
    "8x0e+8x1o+8x2e+8x3o+8x4e",
    "8x0e+8x3o+8x4e+8x5o+8x6e",
    "8x0e+8x1o+8x2e+8x3o+8x4e+8x5o+8x6e",
)
MEASURED_GATED = ("8x0e+8x1o+8x2e", "8x0e+8x1o+8x2e+8x3o")


def trials_table(arms: Mapping[str, Arm]) -> str:
    """List what was planned, what has run, and what has failed."""
    rows = [
        _trials(f"`{arm.name}`", arm.planned, len(arm.runs), arm.failed, arm.seconds)
        for arm in arms.values()
    ]
    total = list(arms.values())
    planned, finished = sum(arm.planned for arm in total), sum(len(arm.runs) for arm in total)
    failed, seconds = sum(arm.failed for arm in total), sum(arm.seconds for arm in total)
    rows.append(_trials("all", planned, finished, failed, seconds))
    header = ["arm", "trials planned:", "finished:", "failed:", "time, as far as recorded:"]
    return markdown(header, rows)


def _trials(name: str, planned: int, finished: int, failed: int, seconds: float) -> list[str]:
    return [name, str(planned), str(finished), str(failed), duration(seconds or None)]


def errors_table(arms: Mapping[str, Arm]) -> str:
    """List what every set costs, and its test MAE."""
    rows = []
    for name, arm in arms.items():
        own = {run.path for run in arm.runs}
        for group in groups(arms):
            for irrep_set in group.sets:
                if any(run.path in own for run in irrep_set.runs):
                    rows.append([f"`{name}`", conditions(group, name), *_errors(group, irrep_set)])
    header = ["arm", "", "degrees (channels)", "parameters:", "10⁶ multiply-adds:"]
    header += ["seeds:", "test MAE, meV:", "SD:", "best baseline:"]
    return markdown(header, rows)


def _errors(group: Group, irrep_set: IrrepSet) -> list[str]:
    values = list(group.errors_by_seed(irrep_set).values())
    estimate = mean_interval(values)
    learning = compare_with_baselines(group)
    best = learning.best.mae.mean if learning else None
    operations = mean_of_finite(run.number(OPERATIONS) or math.nan for run in irrep_set.runs)
    return [
        short(irrep_set.irreps),
        whole(irrep_set.parameters),
        plain(operations / 1e6, 3),
        str(estimate.count),
        plus_minus(estimate),
        plain(estimate.sd, 2),
        plain(best, 3),
    ]


def conditions(group: Group, arm: str) -> str:
    """Name what distinguishes the groups of one arm."""
    options = group.configuration
    if arm == "data":
        return f"{options['data.train_size']:,} molecules"
    return str(options["data.graph"]) if arm == "graph" else ""


def contrasts_table(arms: Mapping[str, Arm]) -> str:
    """List all declared contrasts of test MAEs and how they came out."""
    results = [r for r in judge(read_declaration(), arms) if r.contrast.measure == TEST_MAE]
    return markdown(["claim", *CONTRAST_HEADER], [_contrast_row(result) for result in results])


def structure_table(arms: Mapping[str, Arm]) -> str:
    """List all declared contrasts of latent spaces and how they came out."""
    results = [r for r in judge(read_declaration(), arms) if r.contrast.measure != TEST_MAE]
    return markdown(["R² of", *CONTRAST_HEADER], [_contrast_row(result) for result in results])


def _contrast_row(result: Result) -> list[str]:
    contrast = result.contrast
    name = (
        f"({contrast.claim})" if contrast.measure == TEST_MAE else LATENT_MEASURES[contrast.measure]
    )
    start = [name, _arm(contrast), *(short(irreps) for irreps in contrast.sets)]
    if result.pooled is None or result.own is None:
        return [*start, "", "", "", "", result.outcome]
    write = relative if contrast.measure == TEST_MAE else signed
    return [
        *start,
        str(result.pooled.count),
        write(result.pooled),
        write(result.own),
        p_value(result.p_value),
        result.outcome,
    ]


def _arm(contrast: Contrast) -> str:
    where = ", ".join(
        f"{value:,} molecules" if isinstance(value, int) else str(value)
        for value in contrast.where.values()
    )
    return f"`{contrast.arm}`{where and f', {where}'}"


def measures_table(arms: Mapping[str, Arm]) -> str:
    """Compare what the measures say of the same irreps, means over seeds in meV.

    Of two irreps at once, only those are listed whose set was also trained without both.
    """
    rows = []
    for arm, sets in (("main", MEASURED_SETS), ("gated", MEASURED_GATED)):
        for irreps in sets:
            found = find_set(arms, arm, {}, irreps)
            if found is not None:
                effects: list[IrrepEffect | PairEffect] = [
                    *(effect for effect in irrep_effects(found[0]) if effect.irrep != "0e"),
                    *(pair for pair in pair_effects(found[0]) if pair.retrained is not None),
                ]
                rows += [_measures(arm, e) for e in effects if e.irrep_set is found[1]]
    header = ["arm", "degrees (channels)", "irrep", "seeds:", "retrained:"]
    return markdown([*header, *(f"{name}:" for name in MEASURES)], rows)


def _measures(arm: str, effect: IrrepEffect | PairEffect) -> list[str]:
    retrained = None if effect.retrained is None else effect.retrained.estimate
    irreps = (effect.irrep,) if isinstance(effect, IrrepEffect) else effect.irreps
    return [
        f"`{arm}`",
        short(effect.irrep_set.irreps),
        " and ".join(irreps),
        str(len(effect.irrep_set.runs)),
        plus_minus(retrained, sign=True),
        *(_measure(name, effect.effects.get(name)) for name in MEASURES),
    ]


def _measure(name: Measure, effect: MeasuredEffect | None) -> str:
    """Write a mean, with the verdicts that do not say that the error grows without the irrep."""
    if effect is None:
        return mean(None)
    runs = effect.verdicts.total()
    other = [
        verdict if count == runs else f"{verdict} in {count} of {runs}"
        for verdict, count in effect.verdicts.items()
        if verdict != VERDICTS[name]
    ]
    return mean(effect.estimate, sign=True) + (f" ({', '.join(other)})" if other else "")


def nested_table(arms: Mapping[str, Arm]) -> str:
    """Compare subsets inside nested networks with separate trainings of the same degrees."""
    rows = []
    for group in groups({"nested": arms["nested"]}):
        for nested in nested_subsets(group):
            for degrees, estimate in nested.mae.items():
                apart = _apart(arms, degrees)
                rows.append(
                    [short(nested.irrep_set.irreps), degrees, plus_minus(estimate), mean(apart)]
                )
    header = ["network", "subset", "nested, validation MAE:", "apart, test MAE:"]
    return markdown(header, rows)


def _apart(arms: Mapping[str, Arm], degrees: str) -> Estimate | None:
    irreps = "+".join(f"8x{degree}{'eo'[int(degree) % 2]}" for degree in degrees.split(","))
    found = find_set(arms, "main", {}, irreps)
    if found is None:
        return None
    return mean_interval(list(found[0].errors_by_seed(found[1]).values()))


def ranks_table(_: Mapping[str, Arm]) -> str:
    """Compare what degrees are worth to scalars, vectors and tensors."""
    return rank_tables([read_run(folder) for folder in find_runs([RESULTS / "tasks_small"])])


def kept_composition_table(_: Mapping[str, Arm]) -> str:
    """Say how much of the networks' errors composition explains."""
    return composition_table(ResultRows(CompositionErrors, FILE).rows)


TABLES: Mapping[str, Callable[[Mapping[str, Arm]], str]] = {
    "trials": trials_table,
    "errors": errors_table,
    "contrasts": contrasts_table,
    "measures": measures_table,
    "latents": latents_table,
    "structure": structure_table,
    "composition": kept_composition_table,
    "nested": nested_table,
    "ranks": ranks_table,
}
"""The tables by the name that the command line takes."""
