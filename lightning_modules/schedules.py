"""Learning rate schedules that depend on the step alone.

Imports the standard library only.
"""

from __future__ import annotations

import math


def learning_rate_factor(step: int, warmup_steps: int, total_steps: int | None) -> float:
    """Factor on the learning rate: linear warm-up, then constant or half a cosine down to zero.

    With w = `warmup_steps` and T = `total_steps`, it is (step + 1) / (w + 1) for step < w, and
    then 1, or (1 + cos(pi (step - w) / (T - w))) / 2.

    Parameters
    ----------
    step : int
        Optimizer step from 0.
    warmup_steps : int
        Steps with a smaller rate; 0 for none.
    total_steps : int or None
        Where the cosine ends; None for a constant rate.
    """
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if total_steps is None:
        return 1.0
    progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return 0.5 * (1 + math.cos(math.pi * progress))
