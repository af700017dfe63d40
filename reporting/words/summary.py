"""The comparison in plain words: the best set, what each irrep is worth, what stays open.

Texts mark names with backquotes and emphasis with double asterisks. Imports this package only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from reporting.compare.comparison import Difference, Standing, rivals, standings
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.worth import Worth, worths
from reporting.read.irreps import degree, without
from reporting.read.runs import Run
from reporting.words import formatting
from reporting.words.irreps import describe_irrep, irreps_of

STILL_FALLING = 0.02
"""Relative gain over the last fifth of the epochs from which a curve counts as still falling."""
LEARNED = 0.5
"""Fraction of the mean predictor's error below which a network counts as having learned."""
MOST_NAMED = 8
"""Sets named in one sentence."""
SIMILAR_SIZE = 1.2
"""Ratio of parameter counts up to which sets count as equally large."""


@dataclass
class Summary:
    """What a group of runs shows, in words.

    Attributes
    ----------
    best, irreps, seeds, unknown : list of str
        Which set is best; what each irrep is worth; how many seeds; what cannot be concluded yet.
    """

    best: list[str] = field(default_factory=list)
    irreps: list[str] = field(default_factory=list)
    seeds: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def summarize(group: Group, reference: IrrepSet | None) -> Summary:
    """Say what a group of runs shows.

    Parameters
    ----------
    group : Group
    reference : IrrepSet or None
        What the sets are compared with; None if there are no sets.

    Returns
    -------
    Summary
    """
    if reference is None:
        return Summary(
            best=["No run of this group has finished, so there is nothing to compare yet."],
            unknown=[_unfinished(group)] if group.left_out else [],
        )
    rows = standings(group, reference)
    lead = rivals(group, rows[0].irrep_set)
    measured = worths(group)
    return Summary(
        best=_best(group, rows, lead, reference),
        irreps=[describe_irrep(group.unit, name, measured) for name in irreps_of(measured)],
        seeds=[_seeds(group)],
        unknown=_unknown(group, rows, lead, measured),
    )


def error_name(group: Group) -> str:
    """Name of the error that a group is compared by.

    Parameters
    ----------
    group : Group

    Returns
    -------
    str
        ``test MAE`` or ``validation MAE``.
    """
    return "test MAE" if group.metric == "test/mae" else "validation MAE"


# ---- the best set ---------------------------------------------------------------------------


def _best(
    group: Group, rows: Sequence[Standing], lead: Sequence[Difference], reference: IrrepSet
) -> list[str]:
    best = rows[0]
    name = f"`{best.irrep_set.label}`"
    value = f"{formatting.mean(best.mae)} {group.unit}"
    if len(rows) == 1:
        return [
            f"Only one set of irreps has finished: {name}, {error_name(group)} **{value}** "
            f"({_over(best)}). There is nothing to compare it with."
        ]
    texts = [f"{name} has the lowest {error_name(group)}: **{value}** ({_over(best)})."]
    if best.difference is not None:
        texts.append(_against(group, best, best.difference, reference))
    return texts + _lead(group, best, rows[1], lead)


def _over(row: Standing) -> str:
    if not row.mae.has_interval:
        return row.mae.why_no_interval
    return f"mean of {row.mae.count} seeds, 95 % interval {formatting.interval(row.mae)}"


def _lead(group: Group, best: Standing, second: Standing, lead: Sequence[Difference]) -> list[str]:
    if not any(difference.estimate.has_interval for difference in lead):
        gap = formatting.plain(second.mae.mean - best.mae.mean, 2)
        return [
            f"The next is `{second.irrep_set.label}`, {gap} {group.unit} behind. No two sets share "
            "two seeds, so the order may be chance."
        ]
    worse = [d for d in lead if d.established and d.estimate.mean > 0]
    close = [d for d in lead if not d.established]
    if not close:
        return ["Every other set is worse, established after correction for their number."]
    texts = [f"Not told apart from it by these seeds: {_listed(close, group.unit)}."]
    if worse:
        texts.append(f"Established as worse: {_listed(worse, group.unit)}.")
    return texts


def _listed(differences: Sequence[Difference], unit: str) -> str:
    ordered = sorted(differences, key=lambda d: d.estimate.mean)
    return _some(
        [
            f"`{d.irrep_set.label}` ({formatting.mean(d.estimate, sign=True)} {unit})"
            for d in ordered
        ]
    )


def _some(texts: Sequence[str]) -> str:
    """List the first few."""
    more = len(texts) - MOST_NAMED
    if more <= 1:
        return ", ".join(texts)
    return f"{', '.join(texts[:MOST_NAMED])} and {more} more"


def _against(group: Group, best: Standing, difference: Difference, reference: IrrepSet) -> str:
    gain = -difference.estimate.mean
    share = gain / (best.mae.mean + gain) if best.mae.mean + gain > 0 else math.nan
    text = (
        f"That is {formatting.plain(gain, 3)} {group.unit} ({formatting.percent(share)}) less than "
        f"`{reference.label}`"
    )
    if not difference.estimate.has_interval:
        return f"{text}, from one seed."
    verdict = "established" if difference.established else "not established"
    low, high = -difference.estimate.high, -difference.estimate.low
    decimals = formatting.decimals_for(difference.estimate)
    return (
        f"{text} (95 % interval {formatting.fixed(low, decimals)} to {formatting.fixed(high, decimals)}, "
        f"paired by seed; {verdict} after correction for the number of sets)."
    )


# ---- seeds, and what stays open -------------------------------------------------------------


def _seeds(group: Group) -> str:
    counts = [len(known.runs) for known in group.sets]
    sets = f"{len(counts)} set{'s' if len(counts) > 1 else ''} of irreps"
    if len(set(counts)) > 1:
        return f"{min(counts)} to {max(counts)} seeds in each of {sets}."
    seeds = "one seed" if counts[0] == 1 else f"{counts[0]} seeds"
    return f"{seeds.capitalize()} in {'each of ' if len(counts) > 1 else ''}{sets}."


def _unknown(
    group: Group,
    rows: Sequence[Standing],
    lead: Sequence[Difference],
    measured: Sequence[Worth],
) -> list[str]:
    found = [
        _few_seeds(group),
        _not_learned(group, rows),
        _close(lead),
        _falling(group),
        _sizes(rows),
        _without_partner(group, measured),
        _unfinished(group),
        _origins(group),
    ]
    if group.metric != "test/mae":
        found.insert(0, "No run was tested, so sets are compared by their best validation MAE.")
    if not any(worth.verdicts for worth in measured):
        found.append("Utilization was not measured, so nothing is known of what networks use.")
    return [text for text in found if text]


def _few_seeds(group: Group) -> str:
    single = [f"`{known.label}`" for known in group.sets if len(known.runs) == 1]
    if len(single) == len(group.sets):
        return "How far results scatter between seeds: one seed gives no interval. Train more."
    if single:
        return f"How far the results of {_some(single)} scatter: one seed gives no interval."
    if all(len(known.runs) == 2 for known in group.sets):
        return "Any difference: two seeds give very wide intervals; nothing is called established."
    return ""


def _not_learned(group: Group, rows: Sequence[Standing]) -> str:
    base = group.sets[0].runs[0].number("test/mae_of_mean")
    best = rows[0].mae.mean
    if group.metric != "test/mae" or base is None or best < LEARNED * base:
        return ""
    return (
        f"What well-trained networks do: the best error, {formatting.plain(best, 3)} {group.unit}, is "
        f"not far below the {formatting.plain(base, 3)} {group.unit} of predicting the mean. These "
        "networks have learned too little for their irreps to tell much."
    )


def _close(lead: Sequence[Difference]) -> str:
    close = [d for d in lead if d.estimate.has_interval and not d.established]
    if not close:
        return ""
    names = _some([f"`{d.irrep_set.label}`" for d in close])
    return f"Whether the best set is really better than {names}: these seeds do not tell."


def _falling(group: Group) -> str:
    runs = [run for known in group.sets for run in known.runs]
    falling = sum(still_falling(run) for run in runs)
    if not falling:
        return ""
    return (
        f"The order after longer training: in {falling} of {len(runs)} runs the validation error "
        "was still falling at the end."
    )


def still_falling(run: Run) -> bool:
    """Whether a run's validation error was still falling when training ended.

    Parameters
    ----------
    run : Run

    Returns
    -------
    bool
        True if its lowest value in the last fifth of the epochs is lower than before by more than
        `STILL_FALLING`.
    """
    curve = [
        row["val/mae"] for row in run.trained_rows() if math.isfinite(row.get("val/mae", math.nan))
    ]
    last = max(1, len(curve) // 5)
    if len(curve) <= last:
        return False
    return min(curve[-last:]) < (1 - STILL_FALLING) * min(curve[:-last])


def _sizes(rows: Sequence[Standing]) -> str:
    sizes = [row.irrep_set.parameters for row in rows if row.irrep_set.parameters]
    if len(sizes) < 2 or max(sizes) <= SIMILAR_SIZE * min(sizes):
        return ""
    return (
        "What is due to irreps and what to size: the sets have "
        f"{formatting.whole(min(sizes))} to {formatting.whole(max(sizes))} parameters."
    )


def _without_partner(group: Group, measured: Sequence[Worth]) -> str:
    names = [
        name
        for name in irreps_of(measured)
        if degree(name) > 0
        and not any(w.retrained is not None for w in measured if w.irrep == name)
    ]
    if not names:
        return ""
    named = ", ".join(f"`{name}`" for name in names)
    wanted = next(
        without(worth.irrep_set.irreps, worth.irrep) for worth in measured if worth.irrep in names
    )
    return (
        f"Which of {named} are needed: no otherwise equal set was trained without them (e.g. "
        f"`{wanted}`), and ablation says only what a trained network relies on."
    )


def _unfinished(group: Group) -> str:
    count = len(group.left_out)
    if not count:
        return ""
    runs = "1 run that is" if count == 1 else f"{count} runs that are"
    return f"What {runs} unfinished, failed or repeated would add (listed below, in no mean)."


def _origins(group: Group) -> str:
    runs = [run for known in group.sets for run in known.runs]
    commits = {str(run.summary.get("git_commit", "unknown")) for run in runs}
    versions = {str(sorted((run.summary.get("versions") or {}).items())) for run in runs}
    if len(commits) < 2 and len(versions) < 2:
        return ""
    what = [f"{len(commits)} commits"] * (len(commits) > 1)
    what += [f"{len(versions)} sets of package versions"] * (len(versions) > 1)
    return f"Whether the code played a part: these runs come from {' and '.join(what)}."
