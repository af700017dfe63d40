"""The findings of a comparison: the best set, what each irrep is worth, what remains open.

Sentences mark names with backquotes and emphasis with double asterisks. Imports
`reporting.compare` and this package only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from reporting.compare.baselines import compare_with_baselines
from reporting.compare.groups import Group, IrrepSet
from reporting.compare.irrep_effects import irrep_effects, irreps_of
from reporting.compare.judgement import BestSetJudgement, Lead, judge_best_set
from reporting.compare.recommendation import recommend
from reporting.compare.set_comparison import (
    MARGIN,
    Difference,
    Standing,
    compare_with_best,
    standings,
)
from reporting.words import formatting
from reporting.words.baselines import describe_learning
from reporting.words.irreps import describe_irrep
from reporting.words.open_questions import open_questions, runs_left_out
from reporting.words.recommendation import describe_recommendation
from reporting.words.titles import error_name


@dataclass
class Findings:
    """What a group of runs shows, in sentences.

    Attributes
    ----------
    learning : list of str
        Whether the networks have learned enough for their irreps to be judged.
    too_little_learned : bool
        Whether even the best set has not.
    best : list of str
        Which set has the lowest error, and by how much.
    recommendation : str
        The cheapest set that is as good; empty if nothing can be recommended.
    irreps : list of str
        What each irrep is worth.
    seeds : list of str
        How many seeds there are.
    unknown : list of str
        What cannot be concluded yet.
    """

    learning: list[str] = field(default_factory=list)
    too_little_learned: bool = False
    best: list[str] = field(default_factory=list)
    recommendation: str = ""
    irreps: list[str] = field(default_factory=list)
    seeds: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    @property
    def opening(self) -> list[str]:
        """Everything in one list: whether the networks can be judged, which set is best, why."""
        return [*(self.learning if self.too_little_learned else []), *self.answer, *self.reasons]

    @property
    def answer(self) -> list[str]:
        """What is said first, before the picture: the best set, and the recommended one."""
        return [text for text in (self.best[0], self.recommendation) if text]

    @property
    def reasons(self) -> list[str]:
        """What is said after the picture; a warning that nothing can be judged stands above it."""
        learning = [] if self.too_little_learned else self.learning
        return [*self.best[1:], *learning, *self.seeds]


def describe_findings(group: Group, reference: IrrepSet | None) -> Findings:
    """Describe what a group of runs shows.

    Parameters
    ----------
    group : Group
    reference : IrrepSet or None
        The set that the others are compared with; None if there are no sets.
    """
    if reference is None:
        return Findings(
            best=["No run of this group has finished, so there is nothing to compare yet."],
            unknown=[text for text in [runs_left_out(group)] if text],
        )
    rows = standings(group, reference)
    to_best = compare_with_best(group, rows[0].irrep_set)
    effects = irrep_effects(group)
    learning = compare_with_baselines(group)
    too_little = learning is not None and not learning.learned_enough(rows[0].irrep_set)
    return Findings(
        learning=describe_learning(group, learning, rows),
        too_little_learned=too_little,
        best=_best_set(group, rows, to_best, reference),
        recommendation="" if too_little else describe_recommendation(recommend(rows, to_best)),
        irreps=[describe_irrep(group.unit, irrep, effects) for irrep in irreps_of(effects)],
        seeds=[_number_of_seeds(group)],
        unknown=open_questions(group, rows, to_best, effects),
    )


def _best_set(
    group: Group, rows: Sequence[Standing], to_best: Sequence[Difference], reference: IrrepSet
) -> list[str]:
    best = rows[0]
    name = f"`{best.irrep_set.label}`"
    value = f"{formatting.mean(best.mae)} {group.unit}"
    if len(rows) == 1:
        return [
            f"Only one set of irreps has finished: {name}, {error_name(group)} **{value}** "
            f"({_precision(best)}). There is nothing to compare it with."
        ]
    texts = [f"{name} has the lowest {error_name(group)}: **{value}** ({_precision(best)})."]
    if best.difference is not None:
        texts.append(_gain_over_reference(group, best, best.difference, reference))
    return texts + _lead(group, rows, judge_best_set(to_best))


def _precision(row: Standing) -> str:
    if not row.mae.has_interval:
        return formatting.NO_INTERVAL
    return f"mean of {row.mae.count} seeds, 95 % interval {formatting.interval(row.mae)}"


def _lead(group: Group, rows: Sequence[Standing], judgement: BestSetJudgement) -> list[str]:
    if judgement.lead is Lead.NO_COMMON_SEEDS:
        best, second, *_ = rows
        gap = formatting.plain(second.mae.mean - best.mae.mean, 2)
        return [
            f"The next is `{second.irrep_set.label}`, {gap} {group.unit} behind. No two sets share "
            "two seeds, so the order may be chance."
        ]
    if judgement.lead is Lead.CLEAR:
        return [
            "Every other set is worse, established after correction for the number of comparisons."
        ]
    texts = []
    if judgement.undecided:
        texts.append(
            "These seeds do not separate it from the following sets: "
            f"{_list_differences(judgement.undecided, group.unit)}."
        )
    if judgement.equivalent:
        texts.append(
            f"Equivalent to it within {formatting.within(MARGIN)}: "
            f"{_list_differences(judgement.equivalent, group.unit)}."
        )
    if judgement.worse:
        texts.append(f"Established as worse: {_list_differences(judgement.worse, group.unit)}.")
    return texts


def _list_differences(differences: Sequence[Difference], unit: str) -> str:
    ordered = sorted(differences, key=lambda difference: difference.estimate.mean)
    return formatting.join_first(
        [
            f"`{d.irrep_set.label}` ({formatting.mean(d.estimate, sign=True)} {unit})"
            for d in ordered
        ]
    )


def _gain_over_reference(
    group: Group, best: Standing, difference: Difference, reference: IrrepSet
) -> str:
    gain = -difference.estimate.mean
    before = best.mae.mean + gain
    share = gain / before if before > 0 else math.nan
    text = (
        f"That is {formatting.plain(gain, 3)} {group.unit} ({formatting.percent(share)}) less than "
        f"`{reference.label}`"
    )
    if not difference.estimate.has_interval:
        return f"{text}, from one seed."
    verdict = "established" if difference.established else "not established"
    decimals = formatting.decimals_for(difference.estimate)
    low, high = (
        formatting.fixed(-end, decimals)
        for end in (difference.estimate.high, difference.estimate.low)
    )
    return (
        f"{text} (95 % interval {low} to {high} from the scatter pooled over all sets; {verdict} "
        "after correction for the number of sets)."
    )


def _number_of_seeds(group: Group) -> str:
    counts = [len(irrep_set.runs) for irrep_set in group.sets]
    sets = f"{len(counts)} set{'s' if len(counts) > 1 else ''} of irreps"
    if len(set(counts)) > 1:
        text = f"{min(counts)} to {max(counts)} seeds in each of {sets}"
    else:
        seeds = "One seed" if counts[0] == 1 else f"{counts[0]} seeds"
        text = f"{seeds} in {'each of ' if len(counts) > 1 else ''}{sets}"
    if max(counts) == 1:
        return f"{text}."
    if group.seeds_draw_splits:
        return (
            f"{text}. Seeds draw new weights, batches and splits; runs of the same seed share a "
            "split, so they are paired."
        )
    return f"{text}. Seeds draw new weights and batches; all runs share one split."
