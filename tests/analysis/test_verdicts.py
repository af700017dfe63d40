"""Verdicts are an equivalence test against one per cent of the MAE."""

import pytest

from analysis.verdicts import judge

NAN = float("nan")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.01, 9.0, "missed"),
        (-0.99, 0.99, "negligible"),
        (-9.0, -1.01, "harmful"),
        (-0.5, 1.01, "undecided"),
        (-1.01, 0.5, "undecided"),
        (0.5, 40.0, "undecided"),
        (-50.0, 76.0, "undecided"),
        (NAN, NAN, "undecided"),
    ],
)
def test_the_whole_interval_decides(low: float, high: float, expected: str) -> None:
    assert judge("missed", low, high, mae=100.0, num_molecules=30) == expected


def test_a_positive_finding_is_called_by_its_measure() -> None:
    words = {m: judge(m, 5.0, 9.0, 100.0, 500) for m in ("reliance", "refitted", "probe", "missed")}
    assert list(words.values()) == ["relied on", "not repaired", "informative", "missed"]


def test_few_molecules_and_unreachable_blocks_decide_nothing() -> None:
    assert judge("reliance", 5.0, 9.0, mae=100.0, num_molecules=29) == "undecided"
    assert (
        judge("reliance", 0.0, 0.0, mae=100.0, num_molecules=29, reachable=False) == "unreachable"
    )
