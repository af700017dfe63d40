"""Make the pictures of the documents anew: ``python -m benchmarks.pictures``.

``docs/report.png`` is the upper part of the page of ``results/reading``. ``docs/pruning.png`` is
drawn from ``results/pruning/front.csv``, and ``docs/probe.png`` from ``results/probe/7net-l3i5``.
The pictures of a latent space are those of a run of ``sweeps/quickstart.yaml``, if one is given.
Needs Chromium and its driver.

May import everything but the programs.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from matplotlib import image

from figures.pruned_front import draw_front
from figures.utilization_heatmap import draw_heatmap
from probing.program import heatmap_title
from records.files import replacing
from records.probing import read_probing
from records.pruning import read_front
from records.standard_streams import make_standard_streams_safe
from reporting.build import write_report
from tests.browser import take_picture

ROOT = Path(__file__).parent.parent
WIDTH, HEIGHT = 1200, 1828
"""Pixels of the picture of the page, which goes on below."""


def picture_of_report(runs: Path, picture: Path) -> None:
    """Save the upper part of the page that compares some runs.

    Parameters
    ----------
    runs : Path
        Directory with run directories.
    picture : Path
        PNG file.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = write_report([runs.relative_to(Path.cwd())], folder / "report.html")
        take_picture(page, folder / "whole.png", WIDTH)
        pixels = image.imread(folder / "whole.png")[:HEIGHT]  # [height, width, 3 or 4]
        with replacing(picture) as temporary:
            image.imsave(temporary, pixels, format="png")


def picture_of_pruning(front: Path, picture: Path) -> None:
    """Draw a front that ``prune.py`` has written.

    Parameters
    ----------
    front : Path
        CSV file.
    picture : Path
        PNG file.

    Raises
    ------
    ValueError
        If there is no such file.
    """
    found = read_front(front)
    if found is None:
        raise ValueError(f"{front} is missing: copy front.csv from a folder of prune.py")
    title = f"{found.of[0]}, pruned by {found.by}: test MAE with 95 % intervals over molecules"
    with replacing(picture) as temporary:
        draw_front(found, title, temporary)


def picture_of_probing(table: Path, picture: Path) -> None:
    """Draw the heatmap of a table that ``probe.py`` has written.

    Parameters
    ----------
    table : Path
        CSV file.
    picture : Path
        PNG file.
    """
    found = read_probing(table)
    with replacing(picture) as temporary:
        draw_heatmap(found.utilization, heatmap_title(found), found.unit, temporary, found.quantity)


def pictures_of_latents(run: Path, folder: Path) -> None:
    """Copy a run's pictures of the latent space before training and after its last epoch.

    Parameters
    ----------
    run : Path
        Run directory.
    folder : Path
        Gets ``latent_untrained.png`` and ``latent_trained.png``.
    """
    epochs = sorted((run / "latents").glob("epoch_*.png"), key=_epoch)
    for picture, name in ((epochs[0], "untrained"), (epochs[-1], "trained")):
        with replacing(folder / f"latent_{name}.png") as temporary:
            shutil.copyfile(picture, temporary)


def _epoch(path: Path) -> int:
    return int(path.stem.partition("_")[2])


def main() -> None:
    """Read the options and make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latents-of", type=Path, help="a run directory")
    parser.add_argument("--output", type=Path, default=ROOT / "docs", help="folder")
    arguments = parser.parse_args()
    picture_of_report(Path.cwd() / "results" / "reading", arguments.output / "report.png")
    picture_of_pruning(ROOT / "results/pruning/front.csv", arguments.output / "pruning.png")
    picture_of_probing(ROOT / "results/probe/7net-l3i5/probe.csv", arguments.output / "probe.png")
    if arguments.latents_of:
        pictures_of_latents(arguments.latents_of, arguments.output)


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
