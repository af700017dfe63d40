"""Speed and memory of the gated network beside NequIP and MACE: ``python -m benchmarks.gated``.

All have the same irreps, layers, radial functions and cutoff, and are given the same batch of QM9's
molecules with all pairs within the cutoff as edges. They take turns, and the table gives medians
over the rounds: milliseconds of a training step (forward pass, loss, backward pass, AdamW) and of
inference, as ratios to the gated network's in the same round, and the peak memory of a training
step, in a process of its own.

``python -m pip install -r benchmarks/requirements.txt`` installs NequIP. MACE needs another version
of e3nn, and so another environment, in which a process takes its turns:
``python -m venv ENV``, ``ENV/bin/pip install -r benchmarks/requirements-mace.txt``, and then
``--mace-python ENV/bin/python``. May import everything; nothing imports it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Protocol, cast

import torch
from torch import nn
from torch_geometric.data import Batch

from benchmarks.gated_peers import Architecture, NequipNetwork
from benchmarks.training_step import CLOCKS, Clock, molecules, peak_memory
from networks.channelwise.choice import KernelName
from networks.gated import GatedNetwork
from records.files import write_text
from records.standard_streams import make_standard_streams_safe

OURS = "gated"
IN_THIS_PROCESS = (OURS, "gated, e3nn", "nequip", "nequip, compiled")
MACE: Mapping[str, int] = {"mace, correlation 1": 1, "mace, correlation 3": 3}
"""Body order of MACE's products less one. Only 1 is the same kind of network; 3 is its default."""
VARIANTS = (*IN_THIS_PROCESS, *MACE)
WORKER = Path(__file__).with_name("mace_worker.py")


class Contestant(Protocol):
    """A network that takes turns with others."""

    def train(self) -> float:
        """Run a training step; return its seconds."""

    def infer(self) -> float:
        """Predict; return the seconds."""

    def memory(self) -> float:
        """Peak memory of training steps above what there was before, MB."""

    def parameters(self) -> float:
        """Count the parameters."""


class NetworkHere:
    """A network in this process.

    Parameters
    ----------
    network : nn.Module
        Called with a batch.
    batch : Batch
        Molecules with standardized targets.
    clock : {"wall", "cpu"}
        Which time is measured.
    """

    def __init__(self, network: nn.Module, batch: Batch, clock: Clock) -> None:
        self.network, self.batch, self.read = network, batch, CLOCKS[clock]
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True)

    def _step(self, batch: Batch | None = None) -> None:
        batch = self.batch if batch is None else batch
        self.optimizer.zero_grad(set_to_none=True)
        nn.functional.mse_loss(self.network(batch), batch.y).backward()
        self.optimizer.step()

    def train(self) -> float:
        """Run a training step; return its seconds."""
        start = self.read()
        self._step()
        return self.read() - start

    @torch.no_grad()
    def infer(self) -> float:
        """Predict; return the seconds."""
        start = self.read()
        self.network(self.batch)
        return self.read() - start

    def memory(self) -> float:
        """Peak memory of training steps above what there was before, MB."""
        self._step(molecules("radius", 2))  # loads or compiles what later steps use
        found = peak_memory(self._step)
        return found["peak"] - found["baseline"]

    def parameters(self) -> float:
        """Count the parameters."""
        return float(sum(p.numel() for p in self.network.parameters()))


class MaceElsewhere:
    """MACE in a process with another interpreter, see `benchmarks.mace_worker`.

    Parameters
    ----------
    python : Path
        An interpreter that has mace-torch.
    settings : dict
        For the worker.
    """

    def __init__(self, python: Path, settings: dict[str, Any]) -> None:
        command = [str(python), "-W", "ignore", str(WORKER), json.dumps(settings)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def _ask(self, question: str) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(question, file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(
                f"MACE's process ended with code {self.process.wait()}; its message is above"
            )
        return float(json.loads(answer))

    def train(self) -> float:
        """Run a training step; return its seconds."""
        return self._ask("train")

    def infer(self) -> float:
        """Predict; return the seconds."""
        return self._ask("infer")

    def memory(self) -> float:
        """Peak memory of training steps above what there was before, MB."""
        return self._ask("memory")

    def parameters(self) -> float:
        """Count the parameters."""
        return self._ask("parameters")


class Arena:
    """Builds the networks that are compared.

    Parameters
    ----------
    architecture : Architecture
        What they have in common.
    batch_size : int
        Molecules per batch.
    clock : {"wall", "cpu"}
        Which time is measured.
    mace_python : Path or None
        Interpreter for MACE.
    folder : Path
        Where the molecules are saved for MACE.
    """

    def __init__(
        self,
        architecture: Architecture,
        batch_size: int,
        clock: Clock,
        mace_python: Path | None,
        folder: Path,
    ) -> None:
        self.architecture, self.clock, self.mace_python = architecture, clock, mace_python
        self.batch = molecules("radius", batch_size)
        self.saved = folder / "batch.pt"
        names = ("z", "pos", "edge_index", "batch", "ptr", "y")
        torch.save({name: self.batch[name] for name in names}, self.saved)

    def build(self, variant: str) -> Contestant:
        """Build one of `VARIANTS`."""
        if variant in MACE:
            assert self.mace_python is not None
            settings = self.architecture.options() | {
                "batch": str(self.saved),
                "clock": self.clock,
                "correlation": MACE[variant],
                "threads": torch.get_num_threads(),
            }
            return MaceElsewhere(self.mace_python, settings)
        torch.manual_seed(0)
        network: nn.Module
        if variant.startswith("nequip"):
            network = NequipNetwork(self.architecture, compiled=variant == "nequip, compiled")
        else:
            kernel: KernelName = "auto" if variant == OURS else "e3nn"
            network = GatedNetwork(kernel=kernel, **self.architecture.options())
        return NetworkHere(network, self.batch, self.clock)


def time_all(contestants: Mapping[str, Contestant], rounds: int) -> dict[str, dict[str, Any]]:
    """Let all take turns.

    Parameters
    ----------
    contestants : mapping
        By variant; the gated network is among them.
    rounds : int
        Number of turns. A turn is a training step and an inference of every network.

    Returns
    -------
    dict
        By variant: ``parameters``, ``first_s`` (seconds of the first step, which compiles), and
        seconds of all later ones, ``train_s`` and ``infer_s``.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, contestant in contestants.items():
        first = contestant.train()
        contestant.infer()
        found[name] = {"parameters": contestant.parameters(), "first_s": first}
        found[name] |= {"train_s": [], "infer_s": []}
        print(f"{name}: first step {first:.1f} s", file=sys.stderr, flush=True)
    for _ in range(rounds):
        for name, contestant in contestants.items():
            found[name]["train_s"].append(contestant.train())
            found[name]["infer_s"].append(contestant.infer())
    return found


def table(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Write the figures as a Markdown table.

    Parameters
    ----------
    found : mapping
        From `time_all`, with ``memory_mb`` added.
    """
    lines = [
        "| network | parameters | first step s | training step ms | × | inference ms | × "
        "| peak memory MB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, f in found.items():
        cells = [name, f"{f['parameters']:,.0f}", f"{f['first_s']:.1f}"]
        for key in ("train_s", "infer_s"):
            ratio = median(t / ours for t, ours in zip(f[key], found[OURS][key]))
            cells += [f"{1e3 * median(f[key]):.0f}", f"{ratio:.2f}"]
        lines.append("| " + " | ".join([*cells, f"{f['memory_mb']:.0f}"]) + " |")
    return "\n".join(lines)


def _memory_elsewhere(variant: str, arguments: Sequence[str]) -> float:
    """Measure the memory of a network in a process of its own, without what others left behind."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gated", *arguments]
    done = subprocess.run(
        [*command, "--memory-of", variant], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(json.loads(done.stdout.splitlines()[-1]))


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; refuse MACE without its interpreter."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, metavar="NAME")
    parser.add_argument("--mace-python", type=Path, help="interpreter that has mace-torch")
    parser.add_argument("--irreps", default=Architecture.irreps)
    parser.add_argument("--layers", type=int, default=Architecture.num_layers)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--clock",
        choices=list(CLOCKS),
        default="wall",
        help="measure the time that passes (default) or CPU time, where others use the machine",
    )
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    parser.add_argument("--memory-of", choices=VARIANTS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.variants is None:
        options.variants = [*IN_THIS_PROCESS, *(MACE if options.mace_python else ())]
    if options.mace_python is None and set(options.variants) & set(MACE):
        parser.error(
            "MACE needs an environment of its own: python -m venv ENV; ENV/bin/pip install -r "
            "benchmarks/requirements-mace.txt; then give --mace-python ENV/bin/python"
        )
    if OURS not in options.variants:
        options.variants.insert(0, OURS)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line; by default, that of the program.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parse(arguments)
    warnings.filterwarnings("ignore")  # NequIP compiles with what torch deprecates
    architecture = Architecture(irreps=options.irreps, num_layers=options.layers)
    with tempfile.TemporaryDirectory() as folder:
        arena = Arena(
            architecture,
            options.batch_size,
            cast(Clock, options.clock),
            options.mace_python,
            Path(folder),
        )
        if options.memory_of is not None:
            print(json.dumps(arena.build(options.memory_of).memory()))
            return
        contestants = {name: arena.build(name) for name in options.variants}
        found = time_all(contestants, options.rounds)
        for name in options.variants:
            found[name]["memory_mb"] = _memory_elsewhere(name, arguments)
    size = f"{arena.batch.num_graphs} molecules, {arena.batch.edge_index.shape[1]} edges"
    print(f"{options.irreps}, {options.layers} layers, {size}, {torch.get_num_threads()} threads, ")
    print(f"{options.clock} time, {options.rounds} rounds\n\n{table(found)}")
    if options.json is not None:
        write_text(options.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    make_standard_streams_safe()
    main()
