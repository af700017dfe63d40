"""Networks of which it is known what they use, behind the contract of `LayeredNetwork`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import repeat
from typing import Any

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Batch, Data

from analysis.measurement import Scope, TargetScale, measure_utilization
from analysis.missed import FineTuning, missed_errors
from networks.convnet import EquivariantConvNet
from networks.layered import Edit, LayeredNetwork, measuring
from networks.restriction import Kept
from records.names import NETWORK
from records.utilization import PAIR, Effect
from tests.analysis.molecules import random_molecules
from tests.analysis.networks import last_weight, paths, redrawn, small_network

OXYGEN, FLUORINE = 8, 9
Blocks = dict[str, Tensor]
"""Each irrep's features [n, c, m] of a layer."""


class Planted(LayeredNetwork):
    """Features that are written down by hand, and scalars of a second layer made from them.

    The prediction is the sum of these scalars over a molecule's atoms, each with a weight that is
    1 until the network is trained.

    Parameters
    ----------
    irreps : str
        Blocks of the first layer.
    write : callable
        From a batch to each block [n, c, m].
    read : callable
        From the blocks to the second layer's scalars [n, c].
    num_scalars : int
        Number of these, c.
    """

    def __init__(
        self,
        irreps: str,
        write: Callable[[Data], Blocks],
        read: Callable[[Blocks], Tensor],
        num_scalars: int = 1,
    ) -> None:
        parsed, scalars = o3.Irreps(irreps), o3.Irreps(f"{num_scalars}x0e")
        super().__init__(parsed, [parsed, scalars], o3.Irreps("0e+1o+2e"), "0e", parsed)
        self.write = write
        self.read = read
        self.weight = torch.nn.Parameter(torch.ones(num_scalars, dtype=torch.float64))

    def prepare(self, data: Data) -> Data:
        return data

    def run(
        self, prepared: Any, edit: Edit | None = None, start: tuple[int, Tensor] | None = None
    ) -> Tensor:
        first, x = (-1, prepared.pos) if start is None else start
        if first < 0:
            blocks = self.write(prepared)
            x = torch.cat([blocks[str(ir)].flatten(1) for _, ir in self.irreps], dim=1)
            x = edit(0, x) if edit else x
        if first < 1:
            x = self.read(self._split(x))
            x = edit(1, x) if edit else x
        atoms = x @ self.weight
        return atoms.new_zeros(prepared.num_graphs).index_add(0, prepared.batch, atoms)

    def restricted(self, kept: Kept) -> Planted:
        def write(data: Data) -> Blocks:
            blocks = self.write(data)
            return {name: t * bool(kept[0].channels.get(name)) for name, t in blocks.items()}

        smaller = Planted(str(self.irreps), write, self.read, self.weight.numel())
        smaller.load_state_dict(self.state_dict())
        return smaller

    def _split(self, x: Tensor) -> Blocks:
        pieces = x.split([each.dim for each in self.irreps], dim=1)
        return {
            str(ir): piece.unflatten(1, (mul, ir.dim))
            for piece, (mul, ir) in zip(pieces, self.irreps)
        }


# ---- what is written and read -----------------------------------------------------------------


def strength(data: Data) -> Tensor:
    """A positive number of each atom's neighbourhood, the same for its images, [n]."""
    source, target = data.edge_index
    lengths = (data.pos[source] - data.pos[target]).norm(dim=1)
    return torch.zeros(len(data.z), dtype=data.pos.dtype).index_add(0, target, lengths.cos() + 1)


def other_strength(data: Data) -> Tensor:
    """Another such number, which does not follow from `strength`, [n]."""
    source, target = data.edge_index
    lengths = (data.pos[source] - data.pos[target]).norm(dim=1)
    waves = (9 * lengths).sin() + 1
    return torch.zeros(len(data.z), dtype=data.pos.dtype).index_add(0, target, waves)


def direction(data: Data, degree: int) -> Tensor:
    """Spherical harmonics of the sum of the vectors to an atom's neighbours, [n, m]; of norm 1."""
    source, target = data.edge_index
    vectors = torch.zeros_like(data.pos).index_add(0, target, data.pos[source] - data.pos[target])
    harmonics = o3.spherical_harmonics(degree, vectors, normalize=True, normalization="norm")
    return torch.as_tensor(harmonics)


def size(block: Tensor) -> Tensor:
    """Norm of the first channel, [n]."""
    return block[:, 0].square().sum(-1).sqrt()


def scalars(data: Data) -> Tensor:
    return strength(data)[:, None, None]


def vectors(data: Data) -> Tensor:
    return strength(data)[:, None, None] * direction(data, 1)[:, None]


def tensors(data: Data) -> Tensor:
    return strength(data)[:, None, None] * direction(data, 2)[:, None]


def fluorinated(batch: Batch, every: int = 20) -> Batch:
    """Put one fluorine atom into every n-th molecule, and none into the others."""
    batch = batch.clone()
    batch.z[batch.z == FLUORINE] = OXYGEN
    batch.z[batch.ptr[:-1][::every]] = FLUORINE
    return batch


def is_fluorine(data: Data) -> Tensor:
    mask: Tensor = (data.z == FLUORINE).to(data.pos)
    return mask[:, None, None]


def sum_of_both(blocks: Blocks) -> Tensor:
    """Scalars and the size of the vectors, one channel each."""
    return torch.stack([blocks["0e"][:, 0, 0], size(blocks["1o"])], dim=1)


def powerful() -> Planted:
    def write(data: Data) -> Blocks:
        return {"0e": scalars(data), "1o": 1e6 * direction(data, 1)[:, None]}

    return Planted("1x0e+1x1o", write, lambda blocks: blocks["0e"][:, 0])


def needed_for_fluorine() -> Planted:
    def write(data: Data) -> Blocks:
        return {"0e": scalars(data), "1o": is_fluorine(data) * vectors(data)}

    return Planted("1x0e+1x1o", write, sum_of_both, 2)


def duplicated() -> Planted:
    def write(data: Data) -> Blocks:
        return {"0e": scalars(data), "1o": vectors(data)}

    return Planted("1x0e+1x1o", write, sum_of_both, 2)


def write_independent(data: Data) -> Blocks:
    other = other_strength(data)[:, None, None] * direction(data, 1)[:, None]
    return {"0e": scalars(data), "1o": other}


def independent() -> Planted:
    return Planted("1x0e+1x1o", write_independent, sum_of_both, 2)


def unread() -> Planted:
    return Planted("1x0e+1x1o", write_independent, lambda blocks: blocks["0e"][:, 0])


def _vectors_and_tensors(read: Callable[[Tensor, Tensor], Tensor]) -> Planted:
    def write(data: Data) -> Blocks:
        return {"0e": torch.zeros_like(scalars(data)), "1o": vectors(data), "2e": tensors(data)}

    def both(blocks: Blocks) -> Tensor:
        return read(size(blocks["1o"]), size(blocks["2e"]))[:, None] + blocks["0e"][:, 0]

    return Planted("1x0e+1x1o+1x2e", write, both)


def either() -> Planted:
    return _vectors_and_tensors(torch.maximum)


def both() -> Planted:
    return _vectors_and_tensors(torch.mul)


def harmful() -> Planted:
    def write(data: Data) -> Blocks:
        return {"0e": scalars(data), "1o": direction(data, 1)[:, None]}

    def noisy(blocks: Blocks) -> Tensor:
        return blocks["0e"][:, 0] + (5.0 * blocks["1o"][:, 0, :1]).sin()

    return Planted("1x0e+1x1o", write, noisy)


def fed_by_edges() -> LayeredNetwork:
    """The published network, whose embedding has scalars only, reading nothing but vectors."""
    network = small_network("3x0e+3x1o", num_layers=2, trim=False)
    with torch.no_grad():
        for name_in, _, columns in paths(network, 1):
            if name_in == "0e":
                last_weight(network, 1)[:, columns] = 0.0
    return network


# ---- random networks with paths cut between blocks --------------------------------------------

CUT_LAYERS = 4
CUT_SEEDS = range(8)
CUT_IRREPS = ("3x0e+2x1o+2x2e", "2x0e+2x1o+2x3o", "2x0e+2x1o+2x1e+2x2e")
Block = tuple[int, str]


@cache
def uncut(irreps: str, num_layers: int = CUT_LAYERS) -> EquivariantConvNet:
    return small_network(irreps, num_layers=num_layers, trim=False)


@cache
def plant(irreps: str, seed: int) -> tuple[EquivariantConvNet, set[Block]]:
    """A network with random paths cut between blocks, and the blocks that still matter.

    A block matters if live paths, or residuals, lead from the embedding to it and from it to the
    readout. Worked out here by walking over the blocks, without the network.
    """
    network = redrawn(uncut(irreps), seed)
    generator = torch.Generator().manual_seed(seed)
    edges: set[tuple[Block, Block]] = set()
    with torch.no_grad():
        for k in range(CUT_LAYERS):
            for name_in, name_out, columns in paths(network, k):
                if k > 0 and torch.rand((), generator=generator) < 0.6:
                    last_weight(network, k)[:, columns] = 0.0
                else:
                    edges.add(((k - 1, name_in), (k, name_out)))
    names = [str(ir) for _, ir in network.irreps]
    edges |= {((k - 1, name), (k, name)) for k in range(1, CUT_LAYERS) for name in names}
    filled, used = {(-1, "0e")}, {(CUT_LAYERS - 1, "0e")}
    for _ in range(CUT_LAYERS):
        filled |= {end for start, end in edges if start in filled}
        used |= {start for start, end in edges if end in used}
    return network, filled & used


@dataclass(frozen=True)
class JudgedBlock:
    """A row of a random network: what its verdict on the reliance must be, and what it is."""

    layer: str
    irrep: str
    expected: str
    verdict: str


def judged_blocks(irreps: str, seed: int, count: int = 200) -> list[JudgedBlock]:
    """Judge all blocks of a random network by targets that it predicts almost exactly."""
    network, matters = plant(irreps, seed)
    batch = _molecules(count, 0).clone()
    with torch.no_grad():
        batch.y = network(batch)
    noise = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch.y = batch.y + 1e-6 * batch.y.std() * noise
    scope = Scope(resampled=False)
    with measuring(network):
        found = measure_utilization(network, [batch], TargetScale(), scope=scope, num_bootstrap=200)
    names = {name for _, name in matters}
    judged = []
    for row in found.rows:
        is_used, is_reachable = bool(names & set(row.irrep.split(PAIR))), True
        if row.layer != NETWORK:
            k = int(row.layer[-1])
            is_used, is_reachable = (k, row.irrep) in matters, network.reachable[k][row.irrep]
        expected = "relied on" if is_used else "negligible" if is_reachable else "unreachable"
        verdict = row.effects["reliance"].verdict
        judged.append(JudgedBlock(row.layer, row.irrep, expected, verdict))
    return judged


@cache
def _molecules(count: int, seed: int) -> Batch:
    return random_molecules(count, seed=seed, dtype=torch.float64)


# ---- truths ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """A planted network, and what must be said of its blocks.

    Attributes
    ----------
    name : str
        What is planted.
    build : callable
        Makes the network.
    expected : mapping
        From irrep (or pair) and measure to the verdict.
    layer : str
        Whose rows are judged.
    target : callable, optional
        From a batch to the targets, but for noise; by default what the network predicts.
    noise : float
        Standard deviation of the targets' noise, in that of the targets.
    missed : tuple of int, optional
        Degree that is left out before the network is trained on.
    """

    name: str
    build: Callable[[], LayeredNetwork]
    expected: Mapping[tuple[str, str], str]
    layer: str = NETWORK
    target: Callable[[Batch], Tensor] | None = None
    noise: float = 0.01
    missed: tuple[int, ...] | None = None


def pooled(atoms: Tensor, batch: Batch) -> Tensor:
    """Sum over each molecule's atoms, from [n] to [g]."""
    return atoms.new_zeros(batch.num_graphs).index_add(0, batch.batch, atoms)


def sum_of_strengths(batch: Batch) -> Tensor:
    return pooled(strength(batch) + other_strength(batch), batch)


TRUTHS = (
    Truth(
        "huge constant power, no effect",
        powerful,
        {
            ("1o", "reliance"): "negligible",
            ("1o", "resampled"): "negligible",
            ("1o", "refitted"): "negligible",
            ("0e", "reliance"): "relied on",
        },
    ),
    Truth(
        "needed for fluorine only, in one molecule of 20",
        needed_for_fluorine,
        {
            ("1o", "reliance"): "relied on",
            ("1o", "refitted"): "not repaired",
        },
    ),
    Truth(
        "l = 1 is a duplicate of l = 0",
        duplicated,
        {
            ("1o", "reliance"): "relied on",
            ("1o", "refitted"): "negligible",
            ("1o", "probe"): "negligible",
            ("1o", "missed"): "negligible",
        },
        noise=0.1,
        missed=(1,),
    ),
    Truth(
        "l = 1 holds what l = 0 does not",
        independent,
        {
            ("1o", "reliance"): "relied on",
            ("1o", "refitted"): "not repaired",
            ("1o", "missed"): "missed",
        },
        noise=0.1,
        missed=(1,),
    ),
    Truth(
        "l = 1 holds what the readout does not read",
        unread,
        {
            ("1o", "reliance"): "negligible",
            ("1o", "refitted"): "negligible",
            ("1o", "probe"): "informative",
        },
        target=sum_of_strengths,
        noise=0.1,
    ),
    Truth(
        "l = 1 or l = 2 is enough",
        either,
        {
            ("1o", "reliance"): "negligible",
            ("2e", "reliance"): "negligible",
            ("1o&2e", "reliance"): "relied on",
            ("1o&2e", "interaction"): "more than the sum",
        },
    ),
    Truth(
        "l = 1 and l = 2 are both needed",
        both,
        {
            ("1o", "reliance"): "relied on",
            ("2e", "reliance"): "relied on",
            ("1o&2e", "reliance"): "relied on",
            ("1o&2e", "interaction"): "less than the sum",
        },
    ),
    Truth(
        "l = 1 adds noise to the prediction",
        harmful,
        {("1o", "reliance"): "harmful"},
        target=lambda batch: pooled(strength(batch), batch),
    ),
    Truth(
        "only the edges' harmonics feed l = 1, which alone is read",
        fed_by_edges,
        {("1o", "reliance"): "relied on"},
        layer="layer0",
    ),
)
"""Truths about blocks of hand-written networks."""


def planted_batches(truth: Truth, network: LayeredNetwork, count: int = 200) -> list[Batch]:
    """Make molecules to measure on, and as many for training, with the truth's targets."""
    batches = []
    generator = torch.Generator().manual_seed(0)
    for seed in (1, 2):
        batch = fluorinated(random_molecules(count, seed=seed, dtype=torch.float64))
        with torch.no_grad():
            clean = network(batch) if truth.target is None else truth.target(batch)
        draw = torch.randn(count, generator=generator, dtype=torch.float64)
        batch.y = clean + truth.noise * clean.std() * draw
        batches.append(batch)
    return batches


def measured_effects(truth: Truth, count: int = 200) -> tuple[dict[tuple[str, str], Effect], float]:
    """Measure a planted network.

    Parameters
    ----------
    truth : Truth
        What is planted.
    count : int
        Molecules to measure on, and as many for training.

    Returns
    -------
    effects : dict
        By irrep and measure, of the rows of `truth.layer`.
    mae : float
        Of the intact network.
    """
    network = truth.build()
    batch, training = planted_batches(truth, network, count)
    missed = None
    if truth.missed is not None:
        tuning = FineTuning(lambda: repeat(training), steps=300, lr=0.05)
        errors = missed_errors(
            network, network.kept, [batch], TargetScale(), tuning, [truth.missed]
        )
        missed = {frozenset(truth.missed): errors[truth.missed] - errors[()]}
    with measuring(network):
        found = measure_utilization(
            network, [batch], TargetScale(), [training], seed=3, missed=missed
        )
    rows = [row for row in found.rows if row.layer == truth.layer]
    return {(row.irrep, m): e for row in rows for m, e in row.effects.items()}, found.mae


@cache
def _untrained() -> EquivariantConvNet:
    return small_network("3x0e+2x1o+2x2e", num_layers=2)


def untrained_verdicts(count: int, seed: int) -> set[str]:
    """Judge a network of random weights by targets that have nothing to do with it.

    The predictions' standard deviation is a tenth of the targets', so that no block changes the
    MAE by more than the margin.

    Parameters
    ----------
    count : int
        Molecules to measure on, and as many for training.
    seed : int
        Seed of weights and targets.

    Returns
    -------
    set of str
        Verdicts on all effects that are not exactly zero.
    """
    network = redrawn(_untrained(), seed)
    batches = [_molecules(count, part).clone() for part in (0, 1)]
    with torch.no_grad():
        predicted = network(batches[0])
    generator = torch.Generator().manual_seed(seed)
    for batch in batches:
        draw = torch.randn(count, generator=generator, dtype=torch.float64)
        batch.y = predicted.mean() + 10 * predicted.std() * draw
    with measuring(network):
        found = measure_utilization(
            network, batches[:1], TargetScale(), batches[1:], num_bootstrap=500, seed=seed
        )
    return {e.verdict for row in found.rows for e in row.effects.values() if e.low < e.high}
