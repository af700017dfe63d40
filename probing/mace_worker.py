"""MACE in a process of its own, which alone unpickles the model's file.

`probing.mace` starts it as a script, with an interpreter that has mace-torch, and gives it the file
as its argument. A message in either direction is a line of JSON, then as many arrays in NumPy's
format as it lists; nothing is pickled. Imports NumPy, torch and mace only.
"""

from __future__ import annotations

import io
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

Message = tuple[dict[str, Any], list[Any]]


def send(stream: BinaryIO, header: dict[str, Any], arrays: Sequence[Any] = ()) -> None:
    """Write a message."""
    parts = []
    for array in arrays:
        content = io.BytesIO()
        np.save(content, np.ascontiguousarray(array), allow_pickle=False)
        parts.append(content.getvalue())
    stream.write(json.dumps({**header, "sizes_of_arrays": list(map(len, parts))}).encode() + b"\n")
    for part in parts:
        stream.write(part)
    stream.flush()


def receive(stream: BinaryIO) -> Message | None:
    """Read a message; None at the end of the stream."""
    line = stream.readline()
    if not line:
        return None
    header = json.loads(line)
    sizes = header.pop("sizes_of_arrays")
    return header, [np.load(io.BytesIO(stream.read(n)), allow_pickle=False) for n in sizes]


class Worker:
    """A model, cut into its layers.

    Its layers are the outputs of its products. The energy is a constant of the structure and the
    readouts of every layer:

        E = e_0 + sum over layers k of readout_k(x_k),  x_k = layer_k(x_{k-1})

    Parameters
    ----------
    path : str
        File that MACE's training has written.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        torch.serialization.add_safe_globals([slice])  # e3nn 0.4.4 reads its constants with it
        # MACE pickles whole modules, which contain code that torch.fx has generated, so the file
        # cannot be read as data only. `probing.mace` asks for the user's word before that.
        self.model: Any = torch.load(path, map_location="cpu", weights_only=False).eval()
        kind = type(self.model).__name__
        if kind not in ("MACE", "ScaleShiftMACE"):
            raise ValueError(f"it holds a {kind}: MACE and ScaleShiftMACE are supported")
        if len(getattr(self.model, "heads", None) or ["Default"]) > 1:
            raise ValueError(f"it has several heads ({', '.join(self.model.heads)}): choose one")
        if hasattr(self.model, "joint_embedding"):
            raise ValueError("it embeds more than elements, which is not supported")
        self.model.requires_grad_(False)
        self.dtype = next(self.model.parameters()).dtype
        self.elements = self.model.atomic_numbers.tolist()
        self.graphs: list[dict[str, Tensor]] = []

    def describe(self) -> dict[str, Any]:
        """Say what irreps the model has."""
        model = self.model
        return {
            "layers": [str(product.linear.irreps_out) for product in model.products],
            "edges": str(model.spherical_harmonics.irreps_out),
            "embedding": str(model.node_embedding.linear.irreps_out),
            "elements": self.elements,
            "cutoff": float(model.r_max),
            "dtype": str(self.dtype).removeprefix("torch."),
            "parameters": sum(p.numel() for p in model.parameters()),
        }

    def prepare(self, z: Tensor, vectors: Tensor, edges: Tensor, batch: Tensor) -> Tensor:
        """Embed a batch; return the constant energy of each structure, [g]."""
        model, count = self.model, int(batch.max()) + 1
        vectors = vectors.to(self.dtype)
        lengths = vectors.norm(dim=1, keepdim=True)
        attrs = (z[:, None] == torch.tensor(self.elements)).to(self.dtype)
        heads = torch.zeros_like(z)
        radial, cutoff = model.radial_embedding(lengths, attrs, edges, model.atomic_numbers)
        graph = {
            "attrs": attrs,
            "x": model.node_embedding(attrs),
            "harmonics": model.spherical_harmonics(vectors),
            "radial": radial,
            "edges": edges,
            "batch": batch,
            "heads": heads,
        }
        if cutoff is not None:
            graph["cutoff"] = cutoff
        self.graphs.append(graph)
        constant_n = model.atomic_energies_fn(attrs)[torch.arange(len(z)), heads].to(self.dtype)
        pair_n = torch.zeros_like(constant_n)
        if hasattr(model, "pair_repulsion"):
            pair_n = model.pair_repulsion_fn(lengths, attrs, edges, model.atomic_numbers)
        if hasattr(model, "scale_shift"):
            pair_n = model.scale_shift(pair_n, heads)
        energy: Tensor = constant_n.new_zeros(count).index_add(0, batch, constant_n + pair_n)
        return energy

    def layer(self, graph: dict[str, Tensor], k: int, x: Tensor) -> Tensor:
        """Compute the output of layer k from that of the layer before it."""
        more = {"cutoff": graph.get("cutoff"), "first_layer": k == 0}
        x, skip = self.model.interactions[k](
            node_attrs=graph["attrs"],
            node_feats=x,
            edge_attrs=graph["harmonics"],
            edge_feats=graph["radial"],
            edge_index=graph["edges"],
            **more,
        )
        out: Tensor = self.model.products[k](node_feats=x, sc=skip, node_attrs=graph["attrs"])
        return out

    def readout(self, graph: dict[str, Tensor], k: int, x: Tensor) -> Tensor:
        """Compute what layer k adds to each structure's energy, [g]."""
        model, batch = self.model, graph["batch"]
        count = int(batch.max()) + 1
        readouts = list(model.readouts)
        if len(readouts) == 1:  # of the last layer alone
            readouts = [None] * (len(model.products) - 1) + readouts
        if readouts[k] is None:
            return x.new_zeros(count) + 0 * x.sum()
        energy_n = readouts[k](x, graph["heads"])[:, 0]
        if hasattr(model, "scale_shift"):
            shift_n = model.scale_shift(torch.zeros_like(energy_n), graph["heads"])
            energy_n = model.scale_shift(energy_n, graph["heads"]) - shift_n
        energy: Tensor = energy_n.new_zeros(count).index_add(0, batch, energy_n)
        return energy

    def answer(self, header: dict[str, Any], arrays: list[Any]) -> list[Any]:
        """Do what a message asks for."""
        operation = header["do"]
        if operation == "energies":
            return [self.own_energies(header["sizes"], *arrays)]
        tensors = [torch.from_numpy(array) for array in arrays]
        if operation == "prepare":
            return [self.prepare(*tensors).numpy()]
        graph = self.graphs[header["graph"]]
        x = (tensors[0] if tensors else graph["x"]).to(self.dtype)
        compute = self.layer if operation.startswith("layer") else self.readout
        if not operation.endswith("gradient"):
            with torch.no_grad():
                return [compute(graph, header["k"], x).numpy()]
        x.requires_grad_()
        with torch.enable_grad():
            out = compute(graph, header["k"], x)
            (gradient,) = torch.autograd.grad(out, x, tensors[1].to(out.dtype))
        return [gradient.numpy()]

    def own_energies(self, sizes: list[int], z: Any, pos: Any, cell: Any, pbc: Any) -> Any:
        """Compute energies (eV) with MACE's own calculator, which loads the file itself."""
        from ase import Atoms
        from mace.calculators import MACECalculator

        dtype = str(self.dtype).removeprefix("torch.")
        calculator = MACECalculator(model_paths=self.path, device="cpu", default_dtype=dtype)
        energies, first = [], 0
        for g, size in enumerate(sizes):
            last = first + size
            atoms = Atoms(z[first:last], pos[first:last], cell=cell[g], pbc=pbc[g])
            atoms.calc = calculator
            energies.append(atoms.get_potential_energy())
            first = last
        return np.array(energies)


def main() -> None:
    """Answer messages until the stream ends."""
    warnings.filterwarnings("ignore")
    sys.path.remove(str(Path(__file__).parent))  # where `mace` is another module
    torch.set_num_threads(int(sys.argv[2]))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing else may write among the answers
    try:
        worker = Worker(sys.argv[1])
        send(answers, worker.describe())
    # A foreign file may raise anything.
    except Exception as error:
        send(answers, {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"})
        return
    while (message := receive(requests)) is not None:
        try:
            send(answers, {}, worker.answer(*message))
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
            send(answers, {"error": reason})


if __name__ == "__main__":
    if not Path(sys.argv[1]).is_file():
        sys.exit(f"no file {sys.argv[1]}")
    main()
