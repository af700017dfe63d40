"""Coupling coefficients in float64, whatever the default dtype.

Imports torch and e3nn only.
"""

from __future__ import annotations

from functools import cache

import torch
from e3nn import o3
from torch import Tensor

CPU = torch.device("cpu")


@cache
def coupling(l1: int, l2: int, l3: int, device: torch.device = CPU) -> Tensor:
    """Look up e3nn's real Wigner 3j symbols.

    Parameters
    ----------
    l1, l2, l3 : int
        Degrees that satisfy the triangle inequality.
    device : torch.device
        Device of the result. The symbols are copied there once.

    Returns
    -------
    Tensor
        [2 l1 + 1, 2 l2 + 1, 2 l3 + 1] float64, shared by all callers: do not write into it.
    """
    # The result is cached. Made in inference mode, it could not take part in autograd later.
    with torch.inference_mode(False):
        if device != CPU:
            return coupling(l1, l2, l3).to(device)
        symbols: Tensor = o3.wigner_3j(l1, l2, l3, dtype=torch.float64, device=CPU)
        return symbols
