"""A MACE model behind the contract; MACE itself runs in another process.

mace-torch needs another version of e3nn than this project, so it has an environment of its own
(``benchmarks/requirements-mace.txt``). Model files are pickles: only that process unpickles them,
and what it sends is read as plain arrays. Imports NumPy, torch, e3nn, ASE, PyG and this package.
"""

from __future__ import annotations

import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from ase import Atoms
from e3nn import o3
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch_geometric.data import Data

from networks.geometry import cell_shifts, edge_vectors
from networks.layered import Edit, LayeredNetwork, Prepared
from probing.mace_worker import receive, send
from probing.model import ENERGY, ProbedModel

PREFIX = "mace:"
WORKER = Path(__file__).with_name("mace_worker.py")
INSTALL = (
    "python -m venv ENV; ENV/bin/pip install -r benchmarks/requirements-mace.txt; then give "
    "--mace-python ENV/bin/python"
)


class MaceProcess:
    """The process in which MACE runs.

    Parameters
    ----------
    python : Path
        An interpreter that has mace-torch.
    path : Path
        The model's file.

    Attributes
    ----------
    about : dict
        What the model is, see `probing.mace_worker.Worker.describe`.

    Raises
    ------
    ValueError
        If the process cannot be started, or the file cannot be read.
    """

    def __init__(self, python: Path, path: Path) -> None:
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        command = [str(python), str(WORKER), str(path), str(torch.get_num_threads())]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._messages,
                start_new_session=True,  # Ctrl-C is for this process, which then ends that one
            )
        except OSError as error:
            self._messages.close()
            raise ValueError(f"--mace-python {python} cannot be started ({error})") from error
        self._finalizer = weakref.finalize(self, _end, self._process, self._messages)
        self.about, _ = self._read()

    def ask(self, header: dict[str, Any], arrays: Sequence[Any] = ()) -> list[Any]:
        """Send a message, and wait for the answer's arrays."""
        assert self._process.stdin is not None
        try:
            send(self._process.stdin, header, arrays)  # type: ignore[arg-type]
        except BrokenPipeError:
            raise self._failure() from None
        return self._read()[1]

    def _read(self) -> tuple[dict[str, Any], list[Any]]:
        assert self._process.stdout is not None
        message = receive(self._process.stdout)  # type: ignore[arg-type]
        if message is None:
            raise self._failure()
        if "error" in message[0]:
            raise ValueError(f"the MACE model cannot be used ({message[0]['error']})")
        return message

    def _failure(self) -> ValueError:
        code = self._process.wait()
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").strip().splitlines()
        last = lines[-1][:200] if lines else "it says nothing"
        return ValueError(f"MACE's process ended with code {code} ({last}): {INSTALL}")


def _end(process: subprocess.Popen[bytes], messages: IO[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout, messages):
        if stream is not None:
            with suppress(BrokenPipeError):  # of what was not read any more
                stream.close()


class _Elsewhere(torch.autograd.Function):
    """One step of the model in the other process, with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mace: MaceProcess, what: str, graph: int, k: int) -> Tensor:
        ctx.asked = mace, {"do": f"{what} gradient", "graph": graph, "k": k}
        ctx.save_for_backward(x)
        (out,) = mace.ask({"do": what, "graph": graph, "k": k}, [_array(x)])
        return torch.from_numpy(out).to(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        mace, header = ctx.asked
        (x,) = ctx.saved_tensors
        (found,) = mace.ask(header, [_array(x), _array(gradient)])
        return torch.from_numpy(found).to(x), None, None, None, None


@dataclass
class MaceGraphs:
    """A batch that the other process has embedded.

    Attributes
    ----------
    number : int
        Its number there.
    constant : Tensor
        [g] energies that do not depend on features.
    batch : Tensor
        [n] int64, the molecule of each node.
    num_graphs : int
        Number of molecules g.
    intact : list of Tensor
        [g] each, what the readout of each layer adds to the intact energy.
    """

    number: int
    constant: Tensor
    batch: Tensor
    num_graphs: int
    intact: list[Tensor] = field(default_factory=list)


class MaceNetwork(LayeredNetwork):
    """MACE: its layers are the outputs of its products, each with a readout of its own.

    Where `run` starts behind a layer, the readouts of the layers before it are those of the intact
    model. Products couple a layer's features with one another, so every irrep of every layer but
    the last can change the prediction.

    Parameters
    ----------
    mace : MaceProcess
        The model.
    """

    def __init__(self, mace: MaceProcess) -> None:
        about = mace.about
        layers = [o3.Irreps(text) for text in about["layers"]]
        irreps = max(layers, key=lambda each: each.dim)
        super().__init__(
            irreps, layers, o3.Irreps(about["edges"]), "1x0e", about["embedding"], gated=True
        )
        for blocks, each in zip(self.filled, layers):
            blocks.update({name: name in {str(ir) for _, ir in each} for name in blocks})
        self.reachable = [dict(blocks) for blocks in self.filled]
        self.reachable[-1] = {name: name == "0e" for name in self.reachable[-1]}
        self.cutoff = float(about["cutoff"])
        dtype = torch.float64 if about["dtype"] == "float64" else torch.float32
        # Tells precision and device; the weights are in the other process.
        self.marker = nn.Parameter(torch.zeros((), dtype=dtype))
        self._mace = mace
        self._graphs = 0

    def prepare(self, data: Data) -> MaceGraphs:
        """Embed a batch in the other process; see `LayeredNetwork.prepare`."""
        vectors = edge_vectors(data.pos, data.edge_index)
        batch = data.batch if data.batch is not None else torch.zeros_like(data.z)
        if "edge_shift" in data:
            graph = batch.index_select(0, data.edge_index[1])
            vectors = vectors + cell_shifts(data.cell, data.edge_shift, graph)
        arrays = [_array(data.z), _array(-vectors), _array(data.edge_index), _array(batch)]
        (constant,) = self._mace.ask({"do": "prepare"}, arrays)
        self._graphs += 1
        count = int(data.num_graphs or 1)
        return MaceGraphs(self._graphs - 1, torch.from_numpy(constant), batch, count)

    def run(
        self, prepared: Prepared, edit: Edit | None = None, start: tuple[int, Tensor] | None = None
    ) -> Tensor:
        """Predict energies, [g] eV; see `LayeredNetwork.run`."""
        assert isinstance(prepared, MaceGraphs)
        if start is not None and not prepared.intact:
            self._run(prepared, None, None)
        return self._run(prepared, edit, start)

    def _run(
        self, prepared: MaceGraphs, edit: Edit | None, start: tuple[int, Tensor] | None
    ) -> Tensor:
        energy = prepared.constant.to(self.marker)
        readouts: list[Tensor] = []
        first, x = (0, None) if start is None else start
        for j in range(first):
            energy = energy + prepared.intact[j].to(energy)
        for k in range(first, len(self.layer_irreps)):
            if k > first or start is None:
                x = self._layer(prepared, k, x)
                x = edit(k, x) if edit is not None else x
            assert x is not None
            readouts.append(self._elsewhere(x, "readout", prepared, k))
            energy = energy + readouts[-1]
        if edit is None and start is None:
            prepared.intact = [each.detach() for each in readouts]
        return energy

    def _layer(self, prepared: MaceGraphs, k: int, x: Tensor | None) -> Tensor:
        if x is None:
            header = {"do": "layer", "graph": prepared.number, "k": k}
            (out,) = self._mace.ask(header)
            return torch.from_numpy(out).to(self.marker)
        return self._elsewhere(x, "layer", prepared, k)

    def _elsewhere(self, x: Tensor, what: str, prepared: MaceGraphs, k: int) -> Tensor:
        found: Tensor = _Elsewhere.apply(x, self._mace, what, prepared.number, k)  # type: ignore[no-untyped-call]
        return found


def load_mace(name: str, python: Path | None, trust_pickle: bool = False) -> ProbedModel:
    """Load a model of MACE.

    Parameters
    ----------
    name : str
        File that MACE's training has written. It is a pickle, which may hold code: it is run in
        the other process, so only files of trusted origin may be given.
    python : Path or None
        An interpreter that has mace-torch.
    trust_pickle : bool
        Whether the user vouches for the file.

    Raises
    ------
    ValueError
        If there is no such file or interpreter, nobody vouches for the file, or the model is of
        another kind. The file is opened last.
    """
    path = Path(name)
    if not path.is_file():
        raise ValueError(f"there is no file {name}: give a model of MACE's training")
    if python is None:
        raise ValueError(f"MACE needs an environment of its own: {INSTALL}")
    if not trust_pickle:
        raise ValueError(
            f"{name} is a pickle, which may run any code when MACE opens it: give --trust-pickle "
            "if you trust where it comes from"
        )
    process = MaceProcess(python, path)
    network = MaceNetwork(process)
    return ProbedModel(
        name=f"{PREFIX}{name}",
        network=network,
        target=ENERGY,
        cutoff=network.cutoff,
        elements=frozenset(map(int, process.about["elements"])),
        own_energies=lambda structures: _own_energies(process, structures),
    )


def _own_energies(process: MaceProcess, structures: Sequence[Atoms]) -> list[float]:
    header = {"do": "energies", "sizes": [len(atoms) for atoms in structures]}
    arrays = [
        np.concatenate([atoms.numbers for atoms in structures]),
        np.concatenate([atoms.positions for atoms in structures]),
        np.stack([atoms.cell.array for atoms in structures]),
        np.stack([atoms.pbc for atoms in structures]),
    ]
    (energies,) = process.ask(header, arrays)
    return [float(energy) for energy in energies]


def _array(values: Tensor) -> Any:
    return values.detach().cpu().numpy()
