"""`PruningPlan`: what `prune.py` is asked to do.

Imports e3nn only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from e3nn import o3

By = Literal["missed", "nested", "taylor", "magnitude", "random"]
WAYS: tuple[By, ...] = get_args(By)
SHORTLIST = 3
"""Removals that are tried out in a round, where the choice is by what is missed."""
PATIENCE = 2
"""Rounds in a row with too bad a network that end a phase."""
MAX_ROUNDS = 16
"""Rounds per phase, at most."""


@dataclass(frozen=True)
class PruningPlan:
    """Options of pruning.

    Attributes
    ----------
    by : {"missed", "nested", "taylor", "magnitude", "random"}
        How a removal is chosen. ``missed``: by the error after fine-tuning, among the `SHORTLIST`
        that Taylor importance puts first. ``nested``: by the error without any fine-tuning, for
        networks that were trained with irrep dropout. The others do not look at the error.
    fine_tune : float
        Epochs of training per round, over all networks that a round tries out.
    tolerance : float
        Largest increase of the MAE that is recommended, relative.
    max_increase : float
        Largest increase of the validation MAE, relative, of a network out of which more is taken.
    num_molecules : int
        Test molecules, at most.
    irreps : str or None
        What is to stay; then there is one removal only.
    seed : int
        Of the order of training molecules, and of random choices.

    Raises
    ------
    ValueError
        If an option is out of range.
    """

    by: By = "missed"
    fine_tune: float = 0.5
    tolerance: float = 0.02
    max_increase: float = 0.25
    num_molecules: int = 5000
    irreps: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise ValueError(f"--by {self.by} is unknown: choose one of {', '.join(WAYS)}")
        for name, value, smallest in (
            ("--tolerance", self.tolerance, "more than 0, e.g. 0.02 for 2 %"),
            ("--max-increase", self.max_increase, "more than 0, e.g. 0.25 for 25 %"),
        ):
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} is {value:g}: give {smallest}")
        if not 0 <= self.fine_tune < float("inf"):
            raise ValueError(f"--fine-tune is {self.fine_tune:g}: give epochs, 0 or more")
        if self.num_molecules < 2:
            raise ValueError(f"--num-molecules is {self.num_molecules}: give 2 or more")
        if self.seed < 0:
            raise ValueError(f"--seed is {self.seed}: give 0 or more")
        if self.irreps is not None:
            try:
                empty = not o3.Irreps(self.irreps)
            except (ValueError, AssertionError) as error:
                raise ValueError(
                    f"--irreps {self.irreps!r} cannot be parsed: write it in e3nn's notation, e.g. "
                    "8x0e+8x1o"
                ) from error
            if empty:
                raise ValueError("--irreps is empty: name what is to stay, e.g. 8x0e+8x1o")

    def to_json(self) -> dict[str, Any]:
        """Turn into a dictionary."""
        return asdict(self)
