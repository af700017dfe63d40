"""The bars are the record's numbers, and their labels do not leave the picture."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.container import BarContainer
from PIL import Image

from analysis.decomposition import degree_label, subsets
from figures.nested_bars import draw_nested, nested_figure
from records.nested import Estimate, NestedEpoch


def nested(count: int) -> NestedEpoch:
    maes = {
        degree_label(s): Estimate(100.0 / (1 + len(s)), 80.0 / (1 + len(s)), 130.0 / (1 + len(s)))
        for s in subsets(range(1, count + 1))
    }
    shapley = {degree: Estimate(4.0 - degree, 3.0 - degree, 6.0) for degree in range(1, count + 1)}
    return NestedEpoch(maes, shapley, 500)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_bars_are_the_numbers_of_the_record(count: int) -> None:
    epoch = nested(count)
    figure = nested_figure(epoch, "U0 after epoch 3", "meV")
    for axes, estimates in zip(figure.axes, (epoch.mae.values(), epoch.shapley.values())):
        (bars,) = (c for c in axes.containers if isinstance(c, BarContainer))
        assert [bar.get_width() for bar in bars] == [e.value for e in estimates]
        (line,) = (c for c in axes.collections if hasattr(c, "get_segments"))
        ends = [(segment[0][0], segment[1][0]) for segment in line.get_segments()]
        assert ends == [pytest.approx((e.low, e.high)) for e in estimates]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"[{name}]" for name in epoch.mae]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_nothing_is_drawn_over_the_border(count: int) -> None:
    figure = nested_figure(nested(count), "U0 after epoch 3: every subset", "meV")
    figure.canvas.draw()
    width, height = figure.bbox.size
    texts = [t for axes in figure.axes for t in (*axes.get_yticklabels(), *axes.texts)]
    for text in [*texts, *figure.texts, *(axes.title for axes in figure.axes)]:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y0 >= 0
        assert box.y1 <= height


def test_one_molecule_without_intervals_is_drawn(tmp_path: Path) -> None:
    unknown = Estimate(3.0, float("nan"), float("nan"))
    draw_nested(NestedEpoch({"0": unknown}, {}, 1), "title", "meV", tmp_path / "bars.png")
    with Image.open(tmp_path / "bars.png") as picture:
        assert picture.width > picture.height
