"""Pictures: nothing overlaps, colours mean the same in every epoch, animations show every epoch."""

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image

from latents.animation import animate
from latents.coloring import coloring
from latents.pictures import compose_epoch, draw_epoch
from records.latents import ELEMENT_COUNTS, Estimate, LatentEpoch, Molecules, Settings

G = 60
DEGREES = ["0e", "1o", "2e", "3o", "4e", "5o", "6e", "7o", "8e"]


def latent(
    irreps: int = 2,
    epoch: int = 3,
    channels: int = 128,
    target: str = "U0",
    is_best: bool = False,
    **settings: Any,
) -> LatentEpoch:
    rng = np.random.default_rng(epoch + 1)
    names = DEGREES[:irreps]
    blocks = ["all", *names]
    error = 10.0 ** rng.uniform(0, 3, size=G)
    score = rng.uniform(10, 60, size=G)
    score[0] = np.nan
    values_g = rng.normal(-76e3, 10e3, size=G)
    text = "+".join(f"{channels}x{name}" for name in names)
    values = Settings(target, "eV", "meV", 1000.0, text, 3, dpi=100, **settings)
    counts = rng.integers(0, 9, (G, 2))
    molecules = Molecules(
        np.arange(G), np.array(["C"] * G), values_g, np.array([1, 6]), counts, values
    )
    metrics = {
        "knn_r2_target": Estimate(0.94, 0.93, 0.95, G),
        "knn_r2_composition_free": Estimate(-0.123, -0.234, -0.045, G),
        "knn_r2_complexity": Estimate(0.5, 0.4, 0.6, G),
    }
    trust = {"trustworthiness": Estimate(0.987, 0.98, 0.99, G)}
    return LatentEpoch(
        epoch=epoch,
        step=1,
        molecules=molecules,
        prediction=values_g + error,
        error=error,
        composition_free_target=values_g - values_g.mean(),
        spatial_score=score,
        layouts={b: rng.normal(size=(G, 2)).clip(-1.8, 1.8).astype(np.float32) for b in blocks},
        channels={b: channels * (irreps if b == "all" else 1) for b in blocks},
        metrics={**dict.fromkeys(blocks, metrics | trust), ELEMENT_COUNTS: metrics},
        problems={},
        is_best=is_best,
    )


def text_boxes(figure: Figure) -> list[tuple[str, Bbox]]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    hidden = set()
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not low <= tick.get_loc() <= high:  # never drawn
                hidden |= {tick.label1, tick.label2}
    texts = [text for text in texts if text not in hidden]
    renderer = canvas.get_renderer()
    return [(t.get_text(), t.get_window_extent(renderer)) for t in texts]


@pytest.mark.parametrize("irreps", [1, 2, 4, 5, 7, 9])
@pytest.mark.parametrize("color_by", ["target", "composition_free", "error"])
def test_no_text_overlaps_or_is_cut_off(irreps: int, color_by: str) -> None:
    options = {"target": "alpha_aniso", "color_by": color_by}  # the longest name
    first = latent(irreps, epoch=-1, **options)
    figure = compose_epoch(latent(irreps, epoch=100, **options), first)
    boxes = text_boxes(figure)
    page = figure.bbox
    for text, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1, text  # noqa: PT018
        assert page.y0 <= box.y0 and box.y1 <= page.y1, text  # noqa: PT018
    for (one, a), (two, b) in combinations(boxes, 2):
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(overlap) <= 0, (one, two)


def test_panels_say_irrep_channels_and_metrics_beside_the_baseline() -> None:
    texts = {text for text, _ in text_boxes(compose_epoch(latent(), latent(epoch=-1)))}
    assert {"all irreps · 256 channels", "0e · 128 channels", "1o · 128 channels"} <= texts
    assert "kNN R² without composition −0.12 [−0.23, −0.04]" in texts
    assert "untrained −0.12, element counts −0.12" in texts
    assert "trustworthiness 0.99" in texts
    assert "U0 (meV)" in texts
    assert any("60 validation molecules" in text for text in texts)
    assert any(text.endswith("epoch 3") for text in texts)


def test_untrained_panels_have_nothing_to_compare_with() -> None:
    baseline = latent(epoch=-1)
    texts = {text for text, _ in text_boxes(compose_epoch(baseline, baseline))}
    assert "element counts −0.12" in texts
    assert any(text.endswith("untrained") for text in texts)


def test_the_best_checkpoint_is_named() -> None:
    texts = {text for text, _ in text_boxes(compose_epoch(latent(is_best=True), latent(epoch=-1)))}
    assert any(text.endswith("best checkpoint (epoch 3)") for text in texts)


def test_a_panel_without_data_says_why() -> None:
    shown = latent()
    shown.layouts["1o"][:] = np.nan
    shown.problems["1o"] = "features are the same for all molecules"
    texts = {text for text, _ in text_boxes(compose_epoch(shown, shown))}
    assert "no data" in texts
    assert "features are the same for all\nmolecules" in texts


@pytest.mark.parametrize(
    ("color_by", "label"),
    [
        ("target", "U0 (meV)"),
        ("composition_free", "U0 without composition (meV)"),
        ("error", "absolute error of U0 (meV)"),
        ("spatial_score", "normalized spatial score"),
    ],
)
def test_a_colour_means_the_same_in_every_epoch(color_by: str, label: str) -> None:
    first, later = latent(epoch=-1, color_by=color_by), latent(epoch=5, color_by=color_by)
    for field in ("prediction", "composition_free_target", "spatial_score"):
        getattr(later, field)[:] = getattr(first, field)
    later.molecules.target[:] = first.molecules.target
    scales = [coloring(epoch, first) for epoch in (first, later)]
    assert scales[0].label == label
    limits = {(scale.norm.vmin, scale.norm.vmax) for scale in scales}
    assert len(limits) == 1


def test_target_colours_are_in_the_reporting_unit() -> None:
    shown = latent()
    np.testing.assert_array_equal(coloring(shown, shown).values, shown.molecules.target)


def test_pictures_and_animation_are_reproducible_and_complete(tmp_path: Path) -> None:
    epochs = [-1, 0, 1]
    pictures = [tmp_path / f"{epoch}.png" for epoch in epochs]
    for epoch, path in zip(epochs, pictures):
        draw_epoch(latent(epoch=epoch), latent(epoch=-1), path)
    again = tmp_path / "again.png"
    draw_epoch(latent(epoch=1), latent(epoch=-1), again)
    assert again.read_bytes() == pictures[-1].read_bytes()
    animate(pictures, tmp_path / "animation.gif")
    with Image.open(tmp_path / "animation.gif") as gif:
        assert gif.n_frames == 3
        durations = []
        for frame in range(3):
            gif.seek(frame)
            durations.append(gif.info["duration"])
        with Image.open(pictures[0]) as picture:
            assert gif.size == picture.size
    assert durations == [500, 500, 3000]


def test_long_animations_are_sped_up(tmp_path: Path) -> None:
    pictures = []
    for number in range(100):
        pictures.append(tmp_path / f"{number}.png")
        picture = Image.new("RGB", (100, 2), "black")
        picture.putpixel((number, 0), (255, 255, 255))
        picture.save(pictures[-1])
    animate(pictures, tmp_path / "animation.gif")
    with Image.open(tmp_path / "animation.gif") as gif:
        assert gif.info["duration"] == 200
