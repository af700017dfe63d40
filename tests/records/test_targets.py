"""Descriptions of targets agree with the data set's own."""

from qm9.targets import TARGETS
from records.targets import DESCRIPTIONS, describe_target


def test_every_target_of_the_data_set_is_described_as_there():
    assert {name: describe_target(name) for name in TARGETS} == {
        target.name: target.description for target in TARGETS.values()
    }


def test_other_targets_have_no_description():
    assert describe_target("unheard of") == ""
    assert all(DESCRIPTIONS.values())
