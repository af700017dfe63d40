"""How much of the networks' errors composition explains: rows and their table.

`benchmarks.composition_errors` measures them. Imports `benchmarks.study` and `reporting`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.study.arms import RESULTS
from benchmarks.study.words import markdown, short
from reporting.compare.statistics import mean_of_finite
from reporting.words.formatting import plain

FILE = RESULTS / "composition_errors.csv"
TARGETS = {"mean": "raw", "composition": "without composition"}
"""What a run's reference makes of its target, in the order of the table."""


@dataclass(frozen=True)
class CompositionErrors:
    """A network's test MAE and what composition leaves of it, in the unit of its target."""

    reference: str
    """Key of `TARGETS`."""
    irreps: str
    seed: int
    run: str
    molecules: int
    mae: float
    after_linear: float
    """After a cross-validated linear fit of the errors to element counts."""
    after_formula: float
    """After the mean error of the other test molecules with the same formula."""


def composition_table(rows: Sequence[CompositionErrors]) -> str:
    """Write means over seeds as a Markdown table, the raw target first.

    Parameters
    ----------
    rows : sequence of CompositionErrors
    """
    places = list(TARGETS)
    sets: dict[tuple[str, str], list[CompositionErrors]] = {}
    for row in sorted(rows, key=lambda r: (places.index(r.reference), len(r.irreps), r.irreps)):
        sets.setdefault((row.reference, row.irreps), []).append(row)
    lines = [
        [
            TARGETS[reference],
            short(irreps),
            str(len(of_set)),
            *(
                plain(mean_of_finite([getattr(row, name) for row in of_set]))
                for name in ("mae", "after_linear", "after_formula")
            ),
        ]
        for (reference, irreps), of_set in sets.items()
    ]
    corrections = ["after a linear fit to element counts:", "after the mean of the same formula:"]
    header = ["target", "degrees (channels)", "seeds:", "test MAE, meV:", *corrections]
    return markdown(header, lines)
