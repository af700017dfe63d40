"""`PruningState`: which rounds of pruning are done, in ``state.json``.

Imports `records` and this package only.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pruning.plan import PruningPlan
from records.files import write_json

FREE = ("tolerance", "max_increase")
"""Options that may differ when pruning goes on: rounds that are done stay as they are."""


@dataclass(frozen=True)
class PointState:
    """One network that was made.

    Attributes
    ----------
    number : int
        0 for the intact one.
    parent : int or None
        The point from which it was made.
    phase : str
        See `records.pruning.PrunedPoint`.
    removal : str
        What this round took out.
    steps : int
        Optimizer steps since the intact network.
    kept : list
        See `networks.restriction.kept_to_json`.
    val_increase : float
        Relative increase of the validation MAE over the intact network trained on alike.
    tried : list of str
        What else this round has tried to take out of the same network, and this removal.
    """

    number: int
    parent: int | None
    phase: str
    removal: str
    steps: int
    kept: list[dict[str, Any]]
    val_increase: float
    tried: list[str] = field(default_factory=list)


@dataclass
class PruningState:
    """All points so far, kept in a JSON file that is rewritten whole.

    Attributes
    ----------
    path : Path
        The file.
    plan : dict
        Options of pruning.
    digests : list of str
        SHA-256 of each run's checkpoint.
    points : list of PointState
    ended : list of str
        Phases in which nothing more can be taken out.
    logged : int
        Number of points that W&B has been given.
    """

    path: Path
    plan: dict[str, Any]
    digests: list[str]
    points: list[PointState] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    logged: int = 0

    @classmethod
    def open(cls, folder: Path, plan: PruningPlan, digests: Sequence[str]) -> PruningState:
        """Read the state in a folder, or begin one.

        Raises
        ------
        ValueError
            If it is damaged, or belongs to other options or checkpoints.
        """
        state = cls(folder / "state.json", plan.to_json(), list(digests))
        if not state.path.exists():
            return state
        try:
            found = json.loads(state.path.read_text(encoding="utf-8"))
            known = cls(
                state.path,
                dict(found["plan"]),
                list(found["digests"]),
                [PointState(**point) for point in found["points"]],
                list(found["ended"]),
                int(found["logged"]),
            )
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{state.path} is damaged: start over with --fresh") from error
        if known.digests != state.digests:
            raise ValueError(
                f"{folder} was made from other checkpoints: start over with --fresh, or give "
                "another --output"
            )
        changed = [
            f"{key} {known.plan.get(key)} -> {value}"
            for key, value in state.plan.items()
            if key not in FREE and known.plan.get(key) != value
        ]
        if changed:
            raise ValueError(
                f"{folder} was made with other options ({', '.join(changed)}): start over with "
                "--fresh, or give another --output"
            )
        known.plan = state.plan
        return known

    def add(self, point: PointState) -> None:
        """Append a point and write the file."""
        self.points.append(point)
        self._write()

    def end(self, phase: str) -> None:
        """Note that nothing more can be taken out in a phase, and write the file."""
        self.ended.append(phase)
        self._write()

    def note_logged(self) -> None:
        """Note that W&B has been given all points, and write the file."""
        self.logged = len(self.points)
        self._write()

    def _write(self) -> None:
        write_json(
            self.path,
            {
                "plan": self.plan,
                "digests": self.digests,
                "points": [asdict(point) for point in self.points],
                "ended": self.ended,
                "logged": self.logged,
            },
        )
