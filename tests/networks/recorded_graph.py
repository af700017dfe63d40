"""`torch.cuda.make_graphed_callables` on a CPU: a graph is the list of recorded operations.

Replaying runs them again on the same tensors, as a GPU does. What the host has computed meanwhile
does not reach them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from networks import cuda_graph
from tests.networks.operation_log import WAITING


class RecordedGraph:
    """Stands in for `torch.cuda.CUDAGraph`."""

    made: list[RecordedGraph]

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, list[Any]]] = []
        self.replays = 0
        self.made.append(self)

    def replay(self) -> None:
        """Run every operation again, and write its results where they were."""
        self.replays += 1
        with torch.no_grad(), torch._C._AutoDispatchBelowAutograd():
            for func, args, kwargs, outputs in self.operations:
                for old, new in zip(outputs, tree_leaves(func(*args, **kwargs))):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class _Capture(TorchDispatchMode):
    """Stands in for `torch.cuda.graph`."""

    def __init__(self, graph: RecordedGraph, pool: Any = None) -> None:
        super().__init__()
        self.graph = graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        assert name not in WAITING, f"{name} waits for the device, which a recording cannot"
        outputs = func(*args, **kwargs)
        self.graph.operations.append((func, args, kwargs, tree_leaves(outputs)))
        return outputs


@contextlib.contextmanager
def graphs_on_the_cpu() -> Iterator[list[RecordedGraph]]:
    """Let `networks.cuda_graph` record on a CPU; yield the graphs that are made."""

    def record(network: Any, batch: Any) -> Any:
        module = cuda_graph._OnBatch(network, batch)
        return torch.cuda.make_graphed_callables(module, (batch.pos,), allow_unused_input=True)

    def nothing(*args: Any, **kwargs: Any) -> Any:
        return contextlib.nullcontext()

    RecordedGraph.made = []
    with contextlib.ExitStack() as stack:
        for name, stand_in in (
            ("torch.cuda.CUDAGraph", RecordedGraph),
            ("torch.cuda.graph", _Capture),
            ("torch.cuda.stream", nothing),
            ("torch.cuda.Stream", nothing),
            ("torch.cuda.synchronize", nothing),
            ("torch.cuda.graphs.graph_pool_handle", lambda: None),
            ("networks.cuda_graph._record", record),
        ):
            stack.enter_context(mock.patch(name, stand_in))
        yield RecordedGraph.made
