"""Numbers as text."""

import math

import pytest

from reporting.compare.statistics import mean_interval
from reporting.words import formatting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8380.26, "8,380"),
        (45.236, "45.24"),
        (0.012346, "0.01235"),
        (-3.0, "−3.000"),
        (1.5e9, "1,500,000,000"),
        (0.0, "0"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_plain(value, text):
    assert formatting.plain(value) == text


def test_digits_follow_the_interval():
    estimate = mean_interval([44.0, 45.0, 46.7])
    assert formatting.plus_minus(estimate).replace(formatting.SPACE, " ") == "45.2 ± 3.4"
    assert formatting.interval(estimate) == "41.8 to 48.6"
    assert formatting.interval(mean_interval([45.0])) == "one seed: no interval exists"
    assert formatting.plus_minus(mean_interval([45.236])) == "45.2"


def test_signs_and_zero():
    assert formatting.fixed(0.04, 1, sign=True) == "0.0"
    assert formatting.fixed(-0.04, 1) == "0.0"
    assert formatting.fixed(2.0, 1, sign=True) == "+2.0"


@pytest.mark.parametrize(
    ("seconds", "text"), [(42, "42 s"), (210, "3.5 min"), (7560, "2.1 h"), (180000, "2.1 d")]
)
def test_durations(seconds, text):
    assert formatting.duration(seconds).replace(formatting.SPACE, " ") == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0002, "< 0.001"), (0.0321, "0.032"), (0.5, "0.50"), (math.nan, "–")]
)
def test_p_values(value, text):
    assert formatting.p_value(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.784, "78 %"), (0.0512, "5.1 %"), (0.0, "0 %"), (1e-5, "0 %")]
)
def test_percentages(value, text):
    assert formatting.percent(value).replace(formatting.SPACE, " ") == text
