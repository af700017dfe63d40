"""What a computation would do on an accelerator, recorded on a CPU."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITING = {
    "_local_scalar_dense",
    "bincount",
    "equal",
    "is_nonzero",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "unique_consecutive",
    "unique_dim",
    "_unique2",
}
"""Operations for which CUDA copies the result, or its size, to the host."""


class OperationLog(TorchDispatchMode):
    """Records operations with the shapes and devices of their inputs, and which would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.operations: list[tuple[Any, ...]] = []
        self.devices: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        # Scalars on the host are arguments of the kernel and are not copied.
        tensors = [each for each in tree_leaves(args) if isinstance(each, Tensor)]
        self.operations.append((name, *(tuple(each.shape) for each in tensors)))
        self.devices |= {each.device.type for each in tensors if each.dim() > 0}
        by_mask = name in ("index", "index_put", "index_put_") and any(
            isinstance(i, Tensor) and i.dtype in (torch.bool, torch.uint8) for i in args[1] or ()
        )
        if by_mask or name in WAITING:
            self.waits.append(name)
        return func(*args, **(kwargs or {}))
