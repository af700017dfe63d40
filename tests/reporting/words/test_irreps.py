"""Words for judgements on irreps."""

import itertools

import pytest

from reporting.compare.judgement import IrrepJudgement, Missing, Need, Usage
from reporting.words.irreps import word_judgement


def words(usage: Usage, need: Need, missing: Missing = Missing.NOT_MEASURED) -> str:
    return word_judgement(IrrepJudgement(usage, missing, need))


@pytest.mark.parametrize(
    ("usage", "start"),
    [
        (Usage.USED, "relied on; whether"),
        (Usage.HARDLY_USED, "hardly relied on; whether"),
        (Usage.UNDECIDED, "reliance undecided; whether"),
        (Usage.NOT_MEASURED, "not measured; whether"),
    ],
)
def test_without_a_smaller_set_need_stays_open(usage, start):
    assert words(usage, Need.NOT_TESTED).startswith(start)
    assert words(usage, Need.IN_EVERY_SET) == "every set has it"


def test_need_and_reliance_are_told_apart():
    assert words(Usage.USED, Need.HELPFUL) == "worth having"
    assert "hardly relied on afterwards" in words(Usage.HARDLY_USED, Need.HELPFUL)
    assert words(Usage.USED, Need.NOT_SHOWN).endswith("not shown to be needed")
    assert words(Usage.HARDLY_USED, Need.NOT_SHOWN) == "no sign that it is needed"


def test_what_is_missed_says_more_than_what_is_relied_on():
    assert words(Usage.USED, Need.HELPFUL, Missing.MISSED) == "worth having, and missed"
    assert words(Usage.USED, Need.NOT_TESTED, Missing.NOT_MISSED).startswith("not missed; whether")
    assert words(Usage.USED, Need.NOT_SHOWN, Missing.NOT_MISSED) == "no sign that it is needed"
    said = words(Usage.HARDLY_USED, Need.NOT_SHOWN, Missing.MISSED)
    assert said == "missed where it is present, but not shown to be needed"


def test_every_judgement_has_words():
    for usage, missing, need in itertools.product(Usage, Missing, Need):
        assert words(usage, need, missing)
