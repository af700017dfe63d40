"""The picture: readable at any number of irreps, right colours, a PNG file."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from figures.utilization_heatmap import compact, draw_heatmap, heatmap_figure
from records.utilization import BlockUtilization, Effect, Utilization

NAMES = ("0e", "1o", "2e", "3o", "4e", "5o", "6e", "7o", "8e")


def utilization(num_irreps: int, num_layers: int = 5) -> Utilization:
    """Numbers as long as they get."""
    rows = []
    for k in range(num_layers + 1):
        layer = f"layer{k}" if k < num_layers else "network"
        for i, name in enumerate(NAMES[:num_irreps]):
            reachable = name == "0e" or k != num_layers - 1
            value = -0.0123 if i % 2 else 104_600.0
            share = 1 / num_irreps if k < num_layers else float("nan")
            effect = Effect(value, 1.1 * value, 0.9 * value, "negligible" if i % 2 else "relied on")
            if not reachable:
                effect = Effect(0.0, 0.0, 0.0, "unreachable")
            rows.append(
                BlockUtilization(
                    *(layer, name, 32, reachable, 1.0, share, 3.0), effects={"reliance": effect}
                )
            )
    if num_irreps > 1:  # pairs have no place in the picture
        rows.append(BlockUtilization("network", "0e&1o", 64, True, effects={}))
    return Utilization(rows, mae=41.3, num_molecules=1000)


@pytest.mark.parametrize("num_irreps", [1, 2, 9])
def test_texts_neither_overlap_nor_leave_the_picture(num_irreps: int) -> None:
    title = "Alpha_aniso before training: MAE 41.3 cal/mol K on 1,000 validation molecules"
    figure = heatmap_figure(utilization(num_irreps), title, "cal/mol K")
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [t for t in figure.findobj(Text) if t.get_text() and t.get_visible()]
    boxes = [t.get_window_extent(renderer) for t in texts if t.axes is None or _is_shown(t)]
    assert len(boxes) > 20
    for box in boxes:
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert figure.bbox.y0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))


def _is_shown(text: Text) -> bool:
    """Ticks of axes that are switched off have texts which are never drawn."""
    axes = text.axes
    ticks = [*axes.get_xticklabels(), *axes.get_yticklabels()]  # type: ignore[union-attr]
    return not any(text is tick for tick in ticks)


def test_cells_are_hatched_where_unreachable_and_only_there() -> None:
    figure = heatmap_figure(utilization(3), "title", "meV")
    hatched = [p for p in figure.findobj(Rectangle) if p.get_hatch()]
    assert sorted({tuple(round(v + 0.5) for v in p.get_xy()) for p in hatched}) == [(1, 4), (2, 4)]
    assert len(hatched) == 4  # in both panels


def test_picture_is_a_png_on_white(tmp_path: Path) -> None:
    path = tmp_path / "picture.tmp"
    draw_heatmap(utilization(2), "title", "meV", path)
    pixels = imread(path, format="png")
    assert pixels.shape[1] > pixels.shape[0] > 400
    assert (pixels[0, :, :3] == 1).all()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (41.3, "+41"),
        (4.13, "+4.1"),
        (-0.413, "−0.41"),
        (0.0413, "+0.041"),
        (1e-9, "0"),
        (999.4, "+999"),
        (999.6, "+1.0k"),
        (104_600, "+105k"),
        (-2.5e6, "−2.5M"),
        (float("nan"), "–"),
    ],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert compact(value, sign=True) == text
