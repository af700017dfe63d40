"""Numbers in heatmaps can be read: a contrast of at least 4.5 on every shade."""

from __future__ import annotations

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex

from records.contrast import contrast, readable_on, relative_luminance
from reporting.plots.palette import SEQUENTIAL, sequential


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [  # from WebAIM's contrast checker
        ("#ffffff", "#000000", 21.0),
        ("#777777", "#ffffff", 4.48),
        ("#0072b2", "#ffffff", 5.19),
        ("#5aa2cf", "#444444", 3.5),
    ],
)
def test_known_ratios(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio, abs=0.02)
    assert contrast(other, one) == contrast(one, other)


@given(st.integers(0, 256**3 - 1))
def test_black_or_white_can_be_read_on_any_colour(number: int) -> None:
    color = f"#{number:06x}"
    assert contrast(color, readable_on(color)) >= 4.5
    assert 0 <= relative_luminance(color) <= 1


def test_the_scale_of_the_report_is_interpolated_as_a_plot_does_it() -> None:
    scale = mpl.colors.LinearSegmentedColormap.from_list("scale", SEQUENTIAL, N=1001)
    for position in (0.0, 0.1, 0.25, 0.5, 0.73, 0.999, 1.0):
        ours = [int(sequential(position)[start : start + 2], 16) for start in (1, 3, 5)]
        theirs = [int(to_hex(scale(position))[start : start + 2], 16) for start in (1, 3, 5)]
        assert ours == pytest.approx(theirs, abs=1)
