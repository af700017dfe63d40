"""One complete training step on real QM9 molecules, for the benchmarks to time.

May import everything; only other benchmarks import it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric.data import Batch

from benchmarks import memory
from lightning_modules.qm9_datamodule import QM9DataModule
from networks.convnet import EquivariantConvNet

Variant = Literal["e3nn", "e3nn compiled", "fast"]
"""The network as published with e3nn's own layers; with these layers as fast as a user can set them
up, which is compiled and without paths that cannot reach the readout; this project's default."""
Clock = Literal["wall", "cpu"]
CLOCKS: Mapping[Clock, Callable[[], float]] = {
    "wall": time.perf_counter,
    "cpu": time.process_time,
}
"""Time that passes, and CPU time, which does not count what other programs take."""
_OPTIONS: Mapping[Variant, Mapping[str, Any]] = {
    "e3nn": {"convolution": "e3nn", "trim_unreachable": False},
    "e3nn compiled": {"convolution": "e3nn"},
    "fast": {},
}
RADIUS = 5.0
"""Cutoff of the radius graph, angstrom."""


@dataclass(frozen=True)
class Row:
    """A network and a graph to be timed, with targets for the fast convolution.

    Attributes
    ----------
    graph : {"bonds", "radius"}
        Edges of the molecules.
    degrees : tuple of int
        Degrees of the features, natural parity.
    channels : int
        Multiplicity of each degree.
    speedup : float, optional
        Target for the speed-up over e3nn's layers as published.
    speedup_compiled : float, optional
        Target for the speed-up over e3nn's layers, compiled, while malloc keeps memory.
    memory : float, optional
        Target for the ratio of peak memory (beyond the baseline) to that of e3nn's layers.
    """

    graph: str
    degrees: tuple[int, ...]
    channels: int
    speedup: float | None = None
    speedup_compiled: float | None = None
    memory: float | None = None

    @property
    def name(self) -> str:
        """Name of the row, for example ``bonds-0,1,2x32``."""
        return f"{self.graph}-{','.join(map(str, self.degrees))}x{self.channels}"

    @property
    def irreps(self) -> str:
        """Feature irreps, for example ``32x0e+32x1o+32x2e``."""
        return "+".join(f"{self.channels}x{degree}{'eo'[degree % 2]}" for degree in self.degrees)


def molecules(graph: str, batch_size: int, device: str = "cpu") -> Batch:
    """Collate the first molecules of the standard training part.

    Parameters
    ----------
    graph : {"bonds", "radius"}
        Edges of the molecules.
    batch_size : int
        Number of molecules.
    device : str
        Device of the batch.

    Returns
    -------
    Batch
        ``y`` is standardized, float32.
    """
    data = QM9DataModule(graph=graph, cutoff=RADIUS)
    data.setup()
    batch = data.batch(data.splits["train"][:batch_size])
    batch.y = ((batch.y - data.target_mean) / data.target_std).float()
    return batch.to(device)


def training_step(row: Row, variant: Variant, batch: Batch) -> Callable[[], torch.Tensor]:
    """Build a network and its optimizer.

    Parameters
    ----------
    row : Row
        Network.
    variant : {"e3nn", "e3nn compiled", "fast"}
        Its layers. Where compiled code would fall back to the interpreter, its step fails.
    batch : Batch
        Molecules.

    Returns
    -------
    callable
        Runs forward pass, loss, backward pass and AdamW on that batch; returns the loss.
    """
    torch.manual_seed(0)
    network = EquivariantConvNet(row.irreps, **_OPTIONS[variant]).to(batch.pos.device)
    if variant == "e3nn compiled":
        torch._dynamo.config.fail_on_recompile_limit_hit = True
        network.compile_tensor_products()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.mse_loss(network(batch), batch.y)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


class CountOperations(TorchDispatchMode):
    """Counts the multiplications and additions of matrix products while it is active.

    Attributes
    ----------
    operations : int
        Number counted so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and count it if it is a matrix product."""
        factors = {"mm": 0, "bmm": 0, "addmm": 1, "addmm_": 1, "baddbmm": 1, "baddbmm_": 1}
        first = factors.get(func.overloadpacket.__name__)
        if first is not None:
            a, b = args[first], args[first + 1]
            self.operations += 2 * a.numel() * b.shape[-1]
        return func(*args, **(kwargs or {}))


def sgemm_rate(seconds: float = 0.5) -> float:
    """Measure the speed of matrix products in single precision.

    Parameters
    ----------
    seconds : float
        How long to measure.

    Returns
    -------
    float
        Best GFLOP/s of a product of two 1024 x 1024 matrices.
    """
    a, b, best = torch.randn(1024, 1024), torch.randn(1024, 1024), float("inf")
    out, end = torch.empty(1024, 1024), time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * 1024**3 / best / 1e9


def peak_memory(step: Callable[[], Any]) -> dict[str, float]:
    """Measure the peak memory of three steps in this process.

    Parameters
    ----------
    step : callable
        What is measured.

    Returns
    -------
    dict
        ``baseline`` (network, data and libraries) and ``peak`` resident memory, MB.
    """
    # A backward pass of something small starts autograd's threads and loads its libraries.
    torch.nn.Linear(8, 8)(torch.randn(8, 8)).sum().backward()
    baseline = memory.reset_peak()
    for _ in range(3):
        step()
    return {"baseline": baseline, "peak": memory.peak()}
