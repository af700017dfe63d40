"""Latent layouts as data for the page: molecules once, coordinates as 16-bit integers.

Imports NumPy, `records` and this package only.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from records.latents import ALL, LatentEpoch
from reporting.html.structures import draw_all
from reporting.read.latents import LatentLayouts, read_layouts
from reporting.read.runs import ReportError, Run

Json = dict[str, Any]
MAX_MOLECULES = 2000
"""Most molecules shown per run."""
LAYOUT_BYTES = 500_000
"""Space for all layouts of a page. The more layouts there are, the fewer molecules each shows."""
MAX_DRAWINGS = 4000
"""Most structures drawn on a page. Further molecules are shown by their SMILES alone."""
MAX_COORDINATE = 65535
BYTES_PER_POINT = 16 / 3
"""Two 16-bit coordinates in base 64."""


@dataclass
class LatentData:
    """Everything that the page's latent panels need. Runs share what is the same for them.

    Attributes
    ----------
    drawings : list of str
        Structures, as the content of SVG elements.
    molecules : dict of str to dict
        Sets of molecules by a digest: SMILES, target, spatial score, index of the drawing.
    runs : dict of str to dict
        Layouts and predictions by the run's key on the page.
    problems : list of str
        One line for each file that could not be read.
    """

    drawings: list[str] = field(default_factory=list)
    molecules: dict[str, Json] = field(default_factory=dict)
    runs: dict[str, Json] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def pack_layouts(runs: Sequence[tuple[str, Run]], skip_broken: bool = False) -> LatentData:
    """Pack the layouts of runs before and after training.

    Parameters
    ----------
    runs : sequence of tuple of str and Run
        Key on the page, and run. Runs without layouts are left out.
    skip_broken : bool
        Whether a damaged file is listed under `LatentData.problems` instead of being an error.

    Raises
    ------
    ReportError
        If a file is damaged.
    """
    data = LatentData()
    found: dict[str, LatentLayouts] = {}
    for key, run in runs:
        try:
            layouts = read_layouts(run)
        except ReportError as error:
            if not skip_broken:
                raise
            data.problems.append(str(error))
            continue
        if layouts is not None:
            found[key] = layouts
    limit = _molecules_per_layout(sum(layouts.count for layouts in found.values()))
    drawing_of: dict[str, int] = {}
    for key, layouts in found.items():
        rows = _evenly_spaced(len(layouts.trained.error), limit)
        data.runs[key] = _pack_run(layouts, rows)
        data.runs[key]["molecules"] = _add_molecules(data, layouts.trained, rows, drawing_of)
    data.drawings = draw_all(list(drawing_of))
    return data


def _molecules_per_layout(layouts: int) -> int:
    return min(MAX_MOLECULES, max(1, int(LAYOUT_BYTES / BYTES_PER_POINT / max(1, layouts))))


def _evenly_spaced(count: int, limit: int) -> NDArray[np.int64]:
    """Choose evenly spaced rows: the same ones in all runs with the same number of molecules."""
    return np.unique(np.linspace(0, count - 1, min(count, limit)).astype(np.int64))


def _pack_run(layouts: LatentLayouts, rows: NDArray[np.int64]) -> Json:
    trained, untrained = layouts.trained, layouts.untrained
    # If there is a single irrep, it has the same layout as all irreps together: shown once.
    names = [ALL] if len(trained.layouts) == 2 else list(trained.layouts)
    blocks = {}
    for name in names:
        before = None if untrained is None else untrained.layouts.get(name)
        blocks[name] = _pack_block(
            trained.layouts[name][rows], None if before is None else before[rows]
        )
        blocks[name]["problem"] = trained.problems.get(name, "")
    settings = trained.molecules.settings
    return {
        "epoch": trained.epoch,
        "layer": settings.layer,
        "unit": settings.reporting_unit,
        "target": settings.target,
        "prediction": _encode_floats(trained.prediction[rows]),
        "blocks": blocks,
    }


def _pack_block(after: NDArray[np.float32], before: NDArray[np.float32] | None) -> Json:
    """Pack both layouts of a block on the same axes, as UMAP gave them a common frame."""
    both = [layout for layout in (after, before) if layout is not None]
    points = np.concatenate([layout[np.isfinite(layout).all(axis=1)] for layout in both])
    if not len(points):
        return {"after": None, "before": None}
    low, extent = points.min(axis=0), np.ptp(points, axis=0)
    span = float(extent.max()) or 1.0
    corner = low + extent / 2 - span / 2
    return {
        "after": _encode_points(after, corner, span),
        "before": None if before is None else _encode_points(before, corner, span),
    }


def _encode_points(
    layout: NDArray[np.float32], corner: NDArray[np.float32], span: float
) -> str | None:
    if not np.isfinite(layout).all():
        return None
    scaled = np.rint((layout - corner) / span * MAX_COORDINATE).clip(0, MAX_COORDINATE)
    return _base64(scaled.astype("<u2"))


def _add_molecules(
    data: LatentData, trained: LatentEpoch, rows: NDArray[np.int64], drawing_of: dict[str, int]
) -> str:
    """Add the molecules of a run unless an earlier run has the same; return their key."""
    molecules = trained.molecules
    digest = hashlib.sha256(molecules.idx[rows].tobytes() + molecules.target[rows].tobytes())
    key = digest.hexdigest()[:12]
    if key in data.molecules:
        return key
    smiles = [str(text) for text in molecules.smiles[rows]]
    for text in smiles:
        if text not in drawing_of and len(drawing_of) < MAX_DRAWINGS:
            drawing_of[text] = len(drawing_of)
    data.molecules[key] = {
        "smiles": smiles,
        "drawing": [drawing_of.get(text, -1) for text in smiles],
        "target": _encode_floats(molecules.target[rows]),
        "score": _encode_floats(trained.spatial_score[rows]),
    }
    return key


def _encode_floats(values: NDArray[np.float64]) -> str:
    return _base64(values.astype("<f4"))


def _base64(values: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
