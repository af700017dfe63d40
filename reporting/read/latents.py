"""Latent layouts of runs, packed for the page: molecules once, layouts as 16-bit numbers.

Imports NumPy, `records.latents` (files only) and this package.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from records.latents import ALL, LatentEpoch, epoch_path, epochs_in, read_epoch
from records.names import UNTRAINED
from reporting.html.structures import draw_all
from reporting.read.runs import ReportError, Run

Json = dict[str, Any]
MAX_MOLECULES = 2000
"""Molecules shown of one run, at most."""
LAYOUT_BYTES = 7_000_000
"""Room for all layouts of a page; with more or wider runs, fewer molecules are shown of each."""
MAX_DRAWINGS = 4000
"""Structures drawn on a page; further molecules are shown by their SMILES alone."""
STEPS = 65535
BYTES_A_POINT = 16 / 3
"""Two 16-bit coordinates in base 64."""


@dataclass
class LatentPack:
    """All that the page's latent panels need, shared between runs where it is the same.

    Attributes
    ----------
    drawings : list of str
        Structures as content of SVG elements.
    molecules : dict of str to dict
        Sets of molecules by a digest: SMILES, target, spatial score, number of the drawing.
    runs : dict of str to dict
        Layouts and predictions by the run's key.
    problems : list of str
        Files that could not be read, in one line each.
    """

    drawings: list[str] = field(default_factory=list)
    molecules: dict[str, Json] = field(default_factory=dict)
    runs: dict[str, Json] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def pack(runs: Sequence[tuple[str, Run]], skip_broken: bool = False) -> LatentPack:
    """Pack the first and the last epoch's layouts of runs.

    Parameters
    ----------
    runs : sequence of tuple of str and Run
        Key on the page, and run; those without latents are left out.
    skip_broken : bool
        Whether a damaged file is a problem told on the page instead of an error.

    Returns
    -------
    LatentPack

    Raises
    ------
    ReportError
        If a file is damaged.
    """
    packed = LatentPack()
    read: list[tuple[str, LatentEpoch, LatentEpoch | None]] = []
    for key, run in runs:
        try:
            read += [(key, *epochs) for epochs in [_epochs(run)] if epochs is not None]
        except ReportError as error:
            if not skip_broken:
                raise
            packed.problems.append(str(error))
    limit = _limit([(last, first) for _, last, first in read])
    numbers: dict[str, int] = {}
    for key, last, first in read:
        rows = _rows(len(last.error), limit)
        packed.runs[key] = _pack_run(last, first, rows)
        _share_molecules(packed, packed.runs[key], last, rows, numbers)
    packed.drawings = draw_all(list(numbers))
    return packed


def _epochs(run: Run) -> tuple[LatentEpoch, LatentEpoch | None] | None:
    """Last epoch's layouts and, if there are any, the untrained network's."""
    if run.path is None:
        return None
    directory = run.path / "latents"
    epochs = epochs_in(directory)
    if not epochs or epochs[-1] == UNTRAINED:
        return None
    try:
        last = read_epoch(epoch_path(directory, epochs[-1]))
        first = read_epoch(epoch_path(directory, UNTRAINED)) if UNTRAINED in epochs else None
    except (OSError, ValueError) as error:
        raise ReportError(f"{' '.join(str(error).split())}, or use --skip-broken") from error
    if first is not None and not np.array_equal(first.molecules.idx, last.molecules.idx):
        first = None
    return last, first


def _limit(read: Sequence[tuple[LatentEpoch, LatentEpoch | None]]) -> int:
    layouts = sum(len(epoch.layouts) for pair in read for epoch in pair if epoch is not None)
    return min(MAX_MOLECULES, max(1, int(LAYOUT_BYTES / BYTES_A_POINT / max(1, layouts))))


def _rows(count: int, limit: int) -> NDArray[np.int64]:
    """Evenly spaced rows; the same in all runs with as many molecules."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.int64))


def _pack_run(last: LatentEpoch, first: LatentEpoch | None, rows: NDArray[np.int64]) -> Json:
    settings = last.molecules.settings
    blocks = {}
    # With a single irrep, all together is that irrep: shown once.
    names = [ALL] if len(last.layouts) == 2 else list(last.layouts)
    for name, layout in ((name, last.layouts[name]) for name in names):
        before = first.layouts.get(name) if first is not None else None
        blocks[name] = _pack_block(layout[rows], None if before is None else before[rows])
        blocks[name]["problem"] = last.problems.get(name, "")
    return {
        "epoch": last.epoch,
        "layer": settings.layer,
        "unit": settings.reporting_unit,
        "target": settings.target,
        "prediction": _floats(last.prediction[rows]),
        "blocks": blocks,
    }


def _pack_block(after: NDArray[np.float32], before: NDArray[np.float32] | None) -> Json:
    """Both layouts on the axes of both, as they share a frame."""
    both = [layout for layout in (after, before) if layout is not None]
    known = np.concatenate([layout[np.isfinite(layout).all(axis=1)] for layout in both])
    if not len(known):
        return {"after": None, "before": None}
    low, span = known.min(axis=0), float(np.ptp(known, axis=0).max()) or 1.0
    centre = low + np.ptp(known, axis=0) / 2
    corner = centre - span / 2
    return {
        "after": _coordinates(after, corner, span),
        "before": None if before is None else _coordinates(before, corner, span),
    }


def _coordinates(
    layout: NDArray[np.float32], corner: NDArray[np.float32], span: float
) -> str | None:
    if not np.isfinite(layout).all():
        return None
    scaled = np.rint((layout - corner) / span * STEPS).clip(0, STEPS)
    return _base64(scaled.astype("<u2"))


def _share_molecules(
    packed: LatentPack,
    entry: Json,
    last: LatentEpoch,
    rows: NDArray[np.int64],
    numbers: dict[str, int],
) -> None:
    """Put the run's molecules in, once for all runs that have the same."""
    molecules = last.molecules
    digest = hashlib.sha256(molecules.idx[rows].tobytes() + molecules.target[rows].tobytes())
    entry["molecules"] = key = digest.hexdigest()[:12]
    if key in packed.molecules:
        return
    smiles = [str(text) for text in molecules.smiles[rows]]
    for text in smiles:
        if text not in numbers and len(numbers) < MAX_DRAWINGS:
            numbers[text] = len(numbers)
    packed.molecules[key] = {
        "smiles": smiles,
        "drawing": [numbers.get(text, -1) for text in smiles],
        "target": _floats(molecules.target[rows]),
        "score": _floats(last.spatial_score[rows]),
    }


def _floats(values: NDArray[np.float64]) -> str:
    return _base64(values.astype("<f4"))


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
