"""Taking blocks away: what their values become, and predictions of the network so edited.

Imports torch, e3nn, `networks.layered` and this package only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from e3nn import o3
from torch import Tensor

from analysis.utilization import block_columns, is_invariant, split_blocks
from networks.layered import LayeredNetwork, Prepared

NUM_ROTATIONS = 64
"""Random orientations that resampled blocks are given; each atom gets one of them."""
Values = Sequence[Mapping[str, Tensor]]
"""Per layer and irrep, [n, columns]: what the block of each node becomes."""


@dataclass(frozen=True)
class Removed:
    """What the network makes of features without some blocks.

    Attributes
    ----------
    prediction : Tensor
        [g] or [g, m] standardized.
    last : Tensor
        [n, layer_irreps[-1].dim] output of the last layer; right in what the readout takes.
    """

    prediction: Tensor
    last: Tensor


def can_have_effect(network: LayeredNetwork, k: int, name: str) -> bool:
    """Whether the irreps alone leave open that layer k's block changes the prediction.

    Parameters
    ----------
    network : LayeredNetwork
        Network.
    k : int
        Layer, from 0.
    name : str
        Irrep, e.g. ``1o``.

    Returns
    -------
    bool
        False if no path leads to the output, or no path fills the block, which is then zero.
    """
    return network.reachable[k].get(name, False) and network.filled[k].get(name, False)


def run_without(
    network: LayeredNetwork,
    prepared: Prepared,
    features: Sequence[Tensor],
    blocks: Iterable[tuple[int, str]],
    values: Values,
) -> Removed:
    """Run the network with blocks replaced as they appear.

    Only the layers behind the first replaced one run. None does if the last layer keeps nothing
    of what the readout takes, as without ``0e`` for a scalar.

    Parameters
    ----------
    network : LayeredNetwork
        Network.
    prepared : Prepared
        The batch.
    features : sequence of Tensor
        Each layer's intact output [n, dim].
    blocks : iterable of (int, str)
        Layer and irrep of each block that is replaced; at least one.
    values : Values
        What blocks become.

    Returns
    -------
    Removed
    """
    names: dict[int, list[str]] = {}
    for k, name in blocks:
        names.setdefault(k, []).append(name)
    last: list[Tensor] = []

    def edit(k: int, x: Tensor) -> Tensor:
        for name in names.get(k, ()):
            columns = block_columns(network.layer_irreps[k])[name].to(x.device)
            x = x.index_copy(1, columns, values[k][name].to(x.dtype))
        last[:] = [x]
        return x

    last_layer = len(network.layer_irreps) - 1
    taken = {str(ir) for _, ir in network.irreps_readout}
    present = set(block_columns(network.layer_irreps[last_layer]))
    start = last_layer if taken & present <= set(names.get(last_layer, ())) else min(names)
    prediction = network.run(prepared, edit=edit, start=(start, edit(start, features[start])))
    return Removed(prediction, last[0])


def invariant_means(features: Sequence[Sequence[Tensor]], network: LayeredNetwork) -> Values:
    """Average every block over all nodes and over O(3).

    Averaged over rotations and inversion, every irrep but ``0e`` is zero. For ``0e`` it is the
    mean over all nodes, of whatever element, channel by channel.

    Parameters
    ----------
    features : sequence of sequence of Tensor
        Batch by batch, each layer's [n, dim].
    network : LayeredNetwork
        Network.

    Returns
    -------
    Values
        [1, columns] for each block, which `expanded` spreads over the nodes of a batch.
    """
    found = []
    for k, irreps in enumerate(network.layer_irreps):
        x = torch.cat([each[k] for each in features])
        found.append(
            {
                name: _invariant_mean(x[:, columns.to(x.device)], name)
                for name, columns in block_columns(irreps).items()
            }
        )
    return found


def _invariant_mean(block: Tensor, name: str) -> Tensor:
    if not is_invariant(name):
        return torch.zeros_like(block[:1])
    return block.double().mean(0, keepdim=True).to(block.dtype)


def expanded(values: Values, num_nodes: int) -> Values:
    """Give every node of a batch the same values.

    Parameters
    ----------
    values : Values
        [1, columns] for each block.
    num_nodes : int
        Nodes n of the batch.

    Returns
    -------
    Values
        [n, columns] views.
    """
    return [{name: v.expand(num_nodes, -1) for name, v in layer.items()} for layer in values]


def choose_donors(element: Tensor, molecule: Tensor, generator: torch.Generator) -> Tensor:
    """Draw for every atom an atom of the same element in another molecule.

    Atoms of an element are drawn without replacement as far as possible: a random order of them is
    dealt out, and atoms that met one of their own molecule are dealt again.

    Parameters
    ----------
    element, molecule : Tensor
        [n] int64, on the CPU.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    Tensor
        [n] int64 donors. An atom whose element occurs in its own molecule only is its own donor.
    """
    donors = torch.arange(element.numel())
    for z in element.unique():
        atoms = (element == z).nonzero()[:, 0]
        if molecule[atoms].unique().numel() < 2:
            continue
        drawn = atoms[torch.randperm(len(atoms), generator=generator)]
        while bool((clash := molecule[drawn] == molecule[atoms]).any()):
            again = torch.randint(len(atoms), (int(clash.sum()),), generator=generator)
            drawn[clash] = atoms[again]
        donors[atoms] = drawn
    return donors


def resampled_values(
    features: Sequence[Sequence[Tensor]],
    network: LayeredNetwork,
    donors: Tensor,
    generator: torch.Generator,
) -> Values:
    """Give every atom the blocks of its donor, in a random orientation.

    An atom's orientation is the same for all blocks and layers. Orientations are proper rotations.

    Parameters
    ----------
    features : sequence of sequence of Tensor
        Batch by batch, each layer's [n, dim].
    network : LayeredNetwork
        Network.
    donors : Tensor
        [n over all batches] from `choose_donors`.
    generator : torch.Generator
        Source of randomness.

    Returns
    -------
    Values
        [n over all batches, columns] for each block.
    """
    quaternions = torch.randn(NUM_ROTATIONS, 4, generator=generator, dtype=torch.float64)
    rotations = o3.quaternion_to_matrix(quaternions / quaternions.norm(dim=1, keepdim=True))
    turn = torch.randint(NUM_ROTATIONS, (donors.numel(),), generator=generator)
    found: list[dict[str, Tensor]] = []
    matrices: dict[str, Tensor] = {}
    for k, irreps in enumerate(network.layer_irreps):
        x = torch.cat([each[k] for each in features])
        taken = x.index_select(0, donors.to(x.device))
        layer = {}
        for name, t in split_blocks(taken, irreps).items():
            if name not in matrices:
                matrices[name] = o3.Irrep(name).D_from_matrix(rotations).to(x)
            of_atom = matrices[name].index_select(0, turn.to(x.device))
            layer[name] = torch.einsum("nij,ncj->nci", of_atom, t).flatten(1)
        found.append(layer)
    return found
