"""Edits of features for `LayeredNetwork.run`, and predictions of networks so edited.

Imports torch, `networks.layered` and this package only.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from analysis.utilization import block_columns
from networks.layered import LayeredNetwork, Prepared


def replace_block(x: Tensor, columns: Tensor, value: Tensor) -> Tensor:
    """Features with one block the same at every node.

    Parameters
    ----------
    x : Tensor
        [n, dim]; left as it is.
    columns : Tensor
        [c * m] int64, the block's columns (`block_columns`).
    value : Tensor
        [c, m].

    Returns
    -------
    Tensor
        [n, dim].
    """
    return x.index_copy(1, columns, value.reshape(1, -1).expand(x.shape[0], -1))


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


def predict_without_block(
    network: LayeredNetwork, k: int, name: str, x: Tensor, mean: Tensor, prepared: Prepared
) -> Tensor:
    """Predictions when one layer's block is replaced; only the later layers run.

    Parameters
    ----------
    network : LayeredNetwork
        Network.
    k : int
        Layer, from 0.
    name : str
        Irrep, e.g. ``1o``.
    x : Tensor
        [n, layer_irreps[k].dim] intact output of layer k, residual included.
    mean : Tensor
        [c, m] what the block is replaced by at every node.
    prepared : Prepared
        The batch.

    Returns
    -------
    Tensor
        [g] standardized predictions.
    """
    columns = block_columns(network.layer_irreps[k])[name].to(x.device)
    return network.run(prepared, start=(k, replace_block(x, columns, mean)))


def predict_without_irrep(
    network: LayeredNetwork,
    name: str,
    x: Tensor,
    means: Sequence[dict[str, Tensor]],
    prepared: Prepared,
) -> Tensor:
    """Predictions when an irrep is replaced at the output of every layer that has it.

    Parameters
    ----------
    network : LayeredNetwork
        Network.
    name : str
        Irrep, e.g. ``1o``.
    x : Tensor
        [n, layer_irreps[0].dim] intact output of layer 0.
    means : sequence of dict of str to Tensor
        Each layer's replacements [c, m], by irrep name; those of the intact network.
    prepared : Prepared
        The batch.

    Returns
    -------
    Tensor
        [g] standardized predictions.
    """

    def without(k: int, x: Tensor) -> Tensor:
        if name not in means[k]:
            return x
        columns = block_columns(network.layer_irreps[k])[name].to(x.device)
        return replace_block(x, columns, means[k][name])

    return network.run(prepared, edit=without, start=(0, without(0, x)))
