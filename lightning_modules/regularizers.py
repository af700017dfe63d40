"""Penalties on how a network uses its irreps: a group lasso, and balance of power across irreps.

Both know a network only through `LayeredNetwork`. Imports torch, e3nn and `networks` only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from e3nn import o3
from torch import Tensor, nn

from networks.layered import LayeredNetwork

FLOOR = 1e-6
"""Smallest power that counts, relative to the mean over a layer's irreps."""


def check_regularizers(
    group_lasso: float, power_balance: float, irrep_dropout: str, cuda_graph: bool
) -> None:
    """Refuse penalties with unusable weights, or beside options that exclude them.

    Parameters
    ----------
    group_lasso, power_balance, irrep_dropout, cuda_graph
        As given to `EquivariantRegressor`.

    Raises
    ------
    ValueError
        Says what was given and what to use.
    """
    for name, weight in (("group_lasso", group_lasso), ("power_balance", power_balance)):
        if not 0 <= weight < float("inf"):
            raise ValueError(f"{name} is {weight}: it must be 0 or a positive number, e.g. 0.01")
        if weight and cuda_graph:
            raise ValueError(
                f"{name} adds to the loss of a step, and cuda_graph replays a step without it: "
                "leave model.cuda_graph at false"
            )
    if power_balance and irrep_dropout != "none":
        raise ValueError(
            f"power_balance needs the features of the whole network, which irrep_dropout "
            f"{irrep_dropout} does not compute at every step: choose one of the two"
        )


class GroupLasso(nn.Module):
    """A penalty that pushes all weights which write a block of features to zero together.

    Every irrep of degree above 0 in every layer is a group of the n weights that write it
    (`LayeredNetwork.block_parameters`), if it is filled and reachable. The penalty is

        sum over groups of sqrt(n) |weights|  /  sum over groups of n,

    with the Euclidean norm: the root mean square of each group's weights, averaged over all
    weights. It is about 1 for initial weights, which e3nn draws with unit variance. (Yuan and Lin,
    Journal of the Royal Statistical Society B 68, 49, 2006.)

    Parameters
    ----------
    network : LayeredNetwork
        Offers `block_parameters`.

    Raises
    ------
    ValueError
        If the network has no irreps of degree above 0 that matter.
    """

    def __init__(self, network: LayeredNetwork) -> None:
        super().__init__()
        names = {id(parameter): name for name, parameter in network.named_parameters()}
        self._groups: list[list[tuple[str, str]]] = []
        for k, blocks in enumerate(_live_blocks(network)):
            for irrep in (name for name, _ in blocks if o3.Irrep(name).l > 0):
                written = [w for w in network.block_parameters(k, irrep) if w.writes]
                group = []
                for number, weights in enumerate(written):
                    buffer = f"columns_{k}_{irrep}_{number}"
                    self.register_buffer(buffer, weights.columns.clone(), persistent=False)
                    group.append((names[id(weights.parameter)], buffer))
                if group:
                    self._groups.append(group)
        if not self._groups:
            raise ValueError(
                f"group_lasso penalizes irreps of degree above 0, and {network.irreps} has none "
                "that reaches the output: add some, or leave group_lasso at 0"
            )

    def forward(self, network: LayeredNetwork) -> Tensor:
        """Compute the penalty.

        Parameters
        ----------
        network : LayeredNetwork
            The one given before, or a copy of it.

        Returns
        -------
        Tensor
            [] differentiable; where all weights of a group are zero, its gradient there is zero.
        """
        norms, count = [], 0
        for group in self._groups:
            weights = torch.cat(
                [
                    network.get_parameter(name).index_select(-1, self.get_buffer(buffer)).flatten()
                    for name, buffer in group
                ]
            )
            norms.append(len(weights) ** 0.5 * torch.linalg.vector_norm(weights))
            count += len(weights)
        return torch.stack(norms).sum() / count


class PowerBalance:
    """A penalty on irreps that carry more power than others of the same layer.

    The power of an irrep is the mean square of its components over channels and over the atoms of a
    molecule, which no rotation changes. The penalty of a layer is the logarithm of the ratio of
    the arithmetic to the geometric mean of its irreps' powers: 0 if all are equal, and invariant
    under a common scale. It is averaged over layers with several filled and reachable irreps, and
    over molecules. Powers are counted from `FLOOR` times their mean upwards, so that an irrep that
    is exactly zero costs a finite penalty.

    Parameters
    ----------
    network : LayeredNetwork
        Network.

    Raises
    ------
    ValueError
        If no layer has several irreps that matter.
    """

    def __init__(self, network: LayeredNetwork) -> None:
        self._blocks = [
            [columns for _, columns in blocks] if len(blocks) > 1 else []
            for blocks in _live_blocks(network)
        ]
        if not any(self._blocks):
            raise ValueError(
                f"power_balance compares the irreps of a layer, and no layer of {network.irreps} "
                "has several that reach the output: add some, or leave power_balance at 0"
            )

    def __call__(self, features: Sequence[Tensor], molecule: Tensor, num_graphs: int) -> Tensor:
        """Compute the penalty.

        Parameters
        ----------
        features : sequence of Tensor
            Of each layer, [n, dim].
        molecule : Tensor
            [n] int64, the molecule of each atom.
        num_graphs : int
            Molecules g.

        Returns
        -------
        Tensor
            [] differentiable.
        """
        penalties = []
        for x, blocks in zip(features, self._blocks):
            if blocks:
                atoms = torch.stack([x[:, columns].square().mean(1) for columns in blocks], dim=1)
                sums = atoms.new_zeros(num_graphs, len(blocks)).index_add(0, molecule, atoms)
                penalties.append(_imbalance(sums))
        return torch.stack(penalties).mean()


def _imbalance(power: Tensor) -> Tensor:
    """Average the logarithm of arithmetic over geometric mean: [g, b] -> []."""
    mean = power.mean(dim=1, keepdim=True).clamp_min(torch.finfo(power.dtype).tiny)
    return ((1 + FLOOR) / (power / mean + FLOOR)).log().mean()


def _live_blocks(network: LayeredNetwork) -> Iterator[list[tuple[str, slice]]]:
    """List the irreps of each layer that are filled and reachable, with their columns."""
    for irreps, filled, reachable in zip(network.layer_irreps, network.filled, network.reachable):
        yield [
            (str(ir), columns)
            for (mul, ir), columns in zip(irreps, irreps.slices())
            if mul and filled[str(ir)] and reachable[str(ir)]
        ]
