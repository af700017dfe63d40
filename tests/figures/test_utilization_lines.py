"""What the terminal says of every irrep."""

from __future__ import annotations

import pytest

from figures.utilization_lines import utilization_lines
from records.utilization import BlockUtilization, Effect, Utilization

NAN = float("nan")


def utilization(value: float = 41.2, half: float = 6.0) -> Utilization:
    effects = {"reliance": Effect(value, value - half, value + half, "relied on")}
    rows = [
        BlockUtilization("layer3", "1o", 32, True, effects=effects),
        BlockUtilization("network", "0e", 32, True, effects=effects),
        BlockUtilization("network", "3o", 32, False),
        BlockUtilization("network", "1o&2e", 64, True, effects=effects),
    ]
    return Utilization(rows, mae=123.456, num_molecules=1000)


def test_lines_name_irrep_measure_verdict_effect_and_baseline() -> None:
    assert utilization_lines(utilization(), "meV", utilization(2.2, 0.04)).splitlines() == [
        "0e (set to its mean; not to be ranked beside l > 0)",
        "  reliance    +41 meV [35, 47]  relied on  (untrained +2.20)",
        "3o: unreachable",
        "1o and 2e",
        "  reliance    +41 meV [35, 47]  relied on  (untrained +2.20)",
    ]


@pytest.mark.parametrize(
    ("value", "half", "expected"),
    [
        (-0.2, 3.0, "0 D [-3, 3]"),
        (-12.0, 3.0, "-12 D [-15, -9]"),
        (0.00123, 0.0004, "+0.0012 D [0.0008, 0.0016]"),
        (12345.6, 100.0, "+12,346 D [12,246, 12,446]"),
        (0.0, 0.0, "0 D [0, 0]"),
        (1.0, NAN, "+1 D [nan, nan]"),
    ],
)
def test_numbers_have_the_digits_that_the_interval_supports(
    value: float, half: float, expected: str
) -> None:
    line = utilization_lines(utilization(value, half), "D").splitlines()[1]
    assert line == f"  reliance    {expected}  relied on"
