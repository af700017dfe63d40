"""Words for judgements on irreps."""

import itertools

import pytest

from reporting.compare.judgement import IrrepJudgement, Need, Usage
from reporting.words.irreps import word_judgement


def words(usage: Usage, need: Need) -> str:
    return word_judgement(IrrepJudgement(usage, need))


@pytest.mark.parametrize(
    ("usage", "start"),
    [
        (Usage.USED, "used; whether"),
        (Usage.HARDLY_USED, "hardly used; whether"),
        (Usage.UNDECIDED, "use undecided; whether"),
        (Usage.NOT_MEASURED, "not measured; whether"),
    ],
)
def test_without_a_smaller_set_need_stays_open(usage, start):
    assert words(usage, Need.NOT_TESTED).startswith(start)
    assert words(usage, Need.IN_EVERY_SET) == "every set has it"


def test_need_and_usage_are_told_apart():
    assert words(Usage.USED, Need.HELPFUL) == "worth having"
    assert "hardly used afterwards" in words(Usage.HARDLY_USED, Need.HELPFUL)
    assert words(Usage.USED, Need.NOT_SHOWN).endswith("not shown to be needed")
    assert words(Usage.HARDLY_USED, Need.NOT_SHOWN) == "no sign that it is needed"


def test_every_judgement_has_words():
    for usage, need in itertools.product(Usage, Need):
        assert words(usage, need)
