"""Judgements on irreps, sets and training, for every case."""

from collections import Counter
from dataclasses import replace

import pytest

from reporting.compare.groups import IrrepSet
from reporting.compare.irrep_effects import IrrepEffect, MeasuredEffect
from reporting.compare.judgement import (
    IrrepJudgement,
    Lead,
    Missing,
    Need,
    Usage,
    differ_in_size,
    judge_best_set,
    judge_irrep,
    still_falling,
)
from reporting.compare.set_comparison import Difference
from reporting.compare.statistics import mean_interval

SMALL, LARGE = IrrepSet("16x0e", "0e", []), IrrepSet("16x0e+16x1o", "0e+1o", [])
WORSE_WITHOUT, BETTER_WITHOUT = [10.0, 10.1, 9.9], [-10.0, -10.1, -9.9]
NO_DIFFERENCE, ONE_SEED = [-1.0, 1.0, 0.1], [5.0]


def difference(values: list[float]) -> Difference:
    estimate = mean_interval(values)
    return Difference(SMALL, LARGE, estimate, estimate.p_value)


def effect(retrained: list[float] | None, used: int, total: int, undecided: int = 0) -> IrrepEffect:
    """Make the effect of an irrep that `used` of `total` measured networks rely on."""
    return IrrepEffect(
        irrep_set=LARGE,
        irrep="1o",
        reliance=None,
        relative_reliance=0.1,
        untrained_reliance=0.0,
        verdicts=Counter(
            {"relied on": used, "undecided": undecided, "negligible": total - used - undecided}
        ),
        retrained=None if retrained is None else difference(retrained),
    )


@pytest.mark.parametrize(
    ("used", "total", "usage"),
    [
        (0, 0, Usage.NOT_MEASURED),
        (0, 3, Usage.HARDLY_USED),
        (1, 2, Usage.HARDLY_USED),
        (2, 3, Usage.USED),
    ],
)
def test_an_irrep_is_used_if_most_networks_use_it(used, total, usage):
    assert judge_irrep("1o", [effect(None, used, total)]).usage is usage


def test_intervals_that_decide_nothing_leave_usage_open():
    assert judge_irrep("1o", [effect(None, 1, 4, undecided=2)]).usage is Usage.UNDECIDED
    assert judge_irrep("1o", [effect(None, 3, 4, undecided=1)]).usage is Usage.USED
    assert judge_irrep("1o", [effect(None, 0, 4, undecided=1)]).usage is Usage.HARDLY_USED


def test_networks_of_all_sets_are_counted_together():
    assert judge_irrep("1o", [effect(None, 3, 3), effect(None, 0, 4)]).usage is Usage.HARDLY_USED


@pytest.mark.parametrize(
    ("retrained", "need"),
    [
        ([None], Need.NOT_TESTED),
        ([ONE_SEED], Need.ONE_SEED),
        ([NO_DIFFERENCE], Need.NOT_SHOWN),
        ([WORSE_WITHOUT], Need.HELPFUL),
        ([WORSE_WITHOUT, NO_DIFFERENCE], Need.HELPFUL),
        ([BETTER_WITHOUT, NO_DIFFERENCE], Need.HARMFUL),
        ([WORSE_WITHOUT, BETTER_WITHOUT], Need.MIXED),
    ],
)
def test_an_irrep_is_needed_if_training_without_it_is_established_as_worse(retrained, need):
    effects = [effect(values, 3, 3) for values in retrained]
    assert judge_irrep("1o", effects) == IrrepJudgement(Usage.USED, Missing.NOT_MEASURED, need)


@pytest.mark.parametrize(
    ("verdicts", "missing"),
    [
        ({}, Missing.NOT_MEASURED),
        ({"missed": 2, "undecided": 1}, Missing.MISSED),
        ({"negligible": 1, "harmful": 1, "missed": 1}, Missing.NOT_MISSED),
        ({"missed": 1, "undecided": 1}, Missing.UNDECIDED),
    ],
)
def test_an_irrep_is_missed_if_most_networks_miss_it(verdicts, missing):
    effects = {"missed": MeasuredEffect(mean_interval([1.0]), Counter(verdicts))}
    found = replace(effect(None, 3, 3), effects=effects)
    assert judge_irrep("1o", [found]).missing is missing


def test_scalars_are_in_every_set():
    assert judge_irrep("0e", [effect(None, 3, 3)]).need is Need.IN_EVERY_SET


@pytest.mark.parametrize(
    ("values", "lead"),
    [
        ([ONE_SEED, ONE_SEED], Lead.NO_COMMON_SEEDS),
        ([WORSE_WITHOUT, WORSE_WITHOUT], Lead.CLEAR),
        ([WORSE_WITHOUT, NO_DIFFERENCE], Lead.CONTESTED),
        ([WORSE_WITHOUT, ONE_SEED], Lead.CONTESTED),
    ],
)
def test_the_lead_is_clear_if_every_other_set_is_worse(values, lead):
    judgement = judge_best_set([difference(v) for v in values])
    assert judgement.lead is lead
    assert len(judgement.worse) == values.count(WORSE_WITHOUT)
    assert len(judgement.worse) + len(judgement.undecided) == len(values)


def test_a_flat_curve_is_not_falling(sweep_group):
    run = sweep_group.sets[0].runs[0]
    assert still_falling(run)
    flat = {epoch: {**row, "val/mae": 1.0} for epoch, row in run.metrics.items()}
    changed = type(run)(**{**vars(run), "metrics": flat})
    assert not still_falling(changed)


def test_sizes_differ_beyond_a_fifth():
    assert not differ_in_size([])
    assert not differ_in_size([100.0, 119.0])
    assert differ_in_size([100.0, 121.0])
