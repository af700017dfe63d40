"""What can grow: the sizes of every axis, and who measures them.

Measuring imports what it needs late, so that the program that only starts the measurements stays
small. May import everything but the programs.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scale.costs import Cost, Meter


@dataclass(frozen=True)
class Axis:
    """Something that grows.

    Attributes
    ----------
    title : str
        Words for it.
    unit : str
        What is counted, plural.
    sizes : tuple of int
        In steps of 2.
    measure : str
        ``module:function`` below this package. The function takes a `Meter` and an empty folder.
    """

    title: str
    unit: str
    sizes: tuple[int, ...]
    measure: str


RUNS = (16, 32, 64, 128, 256, 512, 1024)
ATOMS = tuple(2**k for k in range(7, 15))
MOLECULES = (16_354, 32_708, 65_416, 130_831)
"""An eighth of QM9's molecules, and so on."""
TRAINING = (13_750, 27_500, 55_000, 110_000)
"""An eighth of the standard training part, and so on."""

AXES: dict[str, Axis] = {
    "molecules": Axis("QM9", "molecules", MOLECULES, "molecules:measure_neighbors"),
    "training": Axis("training on QM9", "molecules", TRAINING, "molecules:measure_training"),
    "report": Axis("one comparison", "runs", RUNS, "runs:measure_report"),
    "groups": Axis("comparisons of 16 runs", "runs", RUNS, "runs:measure_groups"),
    "sweep": Axis("`sweep.py`", "trials", RUNS, "runs:measure_sweep"),
    "atoms": Axis("one structure", "atoms", ATOMS, "structures:measure_reading"),
    "convnet": Axis("one structure, `convnet`", "atoms", ATOMS, "structures:measure_convnet"),
    "gated": Axis("one structure, `gated`", "atoms", ATOMS, "structures:measure_gated"),
}


def measure(name: str, size: int, number: int, folder: Path) -> list[Cost]:
    """Measure an axis at one size, in this process.

    Parameters
    ----------
    name : str
        Key of `AXES`.
    size : int
        How far it has grown.
    number : int
        Which repetition.
    folder : Path
        For files, empty.
    """
    module, _, function = AXES[name].measure.partition(":")
    meter = Meter(name, size, number, [])
    getattr(importlib.import_module(f"benchmarks.scale.{module}"), function)(meter, folder)
    return meter.costs
