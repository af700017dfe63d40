"""Distributions of a removal's effect on the errors of molecules, to simulate coverage with.

Errors e and changes d give effects |e + d| - |e|, as removals do.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

NAMES = ("near zero", "near zero, heavy tails", "heavy tails", "lognormal", "rare")


def student_t(degrees: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw from Student's t, float64."""
    normal = torch.randn(degrees + 1, *shape, generator=generator, dtype=torch.float64)
    return normal[0] / normal[1:].square().mean(0).sqrt()


def effects(name: str, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Draw the effects of several blocks on the molecules of several samples.

    Blocks of a sample share the molecules' errors, so that their effects are correlated where
    changes are large.

    Parameters
    ----------
    name : str
        One of `NAMES`.
    shape : tuple of int
        Samples, molecules and blocks.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    Tensor
        Of the given shape, float64.
    """
    error = student_t(4, (*shape[:2], 1), generator)
    if name == "near zero":
        normal = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        error = normal[0][..., :1]
        return (error + 0.05 * normal[1]).abs() - error.abs()
    if name == "near zero, heavy tails":
        return (error + 0.05 * student_t(3, shape, generator)).abs() - error.abs()
    if name == "heavy tails":
        return (error + student_t(3, shape, generator)).abs() - error.abs()
    if name == "lognormal":
        return torch.randn(shape, generator=generator, dtype=torch.float64).exp()
    if name == "rare":  # one molecule in ten
        is_touched = torch.rand(shape, generator=generator, dtype=torch.float64) < 0.1
        change = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
        return is_touched * (1 + 0.3 * change[0]) + 0.01 * change[1]
    raise ValueError(f"there are no effects called {name!r}: choose one of {', '.join(NAMES)}")


@cache
def true_mean(name: str) -> float:
    """Average 4 million effects."""
    generator = torch.Generator().manual_seed(99)
    parts = [effects(name, (1, 500_000, 4), generator).mean() for _ in range(2)]
    return float(torch.stack(parts).mean())
