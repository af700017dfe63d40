"""Run with an interpreter that has mace-torch: ``make FILE`` or ``without FILE STRUCTURES``."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parent.parent.parent
SETTINGS: dict[str, Any] = {
    "irreps": "8x0e+8x1o",
    "cutoff": 4.0,
    "num_radial": 4,
    "num_layers": 2,
    "neighbor_norm": 3.0,
    "correlation": 2,
    "radial_hidden": 8,
}


def make(path: str) -> None:
    """Write a small MACE with random weights."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.mace_worker import build

    model: Any = build(SETTINGS)
    model.scale_shift.scale.fill_(3.0)
    model.scale_shift.shift.fill_(0.2)
    torch.save(model, path)


def without(path: str, structures: str) -> None:
    """Print energies with the vectors of the first layer at zero, by a hook on MACE's product."""
    from ase.io import read
    from mace.calculators import MACECalculator

    calculator: Any = MACECalculator(model_paths=path, device="cpu", default_dtype="float32")

    def hook(module: Any, args: Any, x: Any) -> Any:
        return torch.cat([x[:, :8], torch.zeros_like(x[:, 8:])], dim=1)

    calculator.models[0].products[0].register_forward_hook(hook)
    energies = []
    for atoms in read(structures, ":"):
        atoms.calc = calculator
        energies.append(atoms.get_potential_energy())
    print(json.dumps(energies))


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    sys.path.remove(str(Path(__file__).parent))
    {"make": make, "without": without}[sys.argv[1]](*sys.argv[2:])
