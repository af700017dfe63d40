"""Predictions of a network from which a block of features has been taken out.

Imports torch and this package only.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from analysis.utilization import block_columns
from networks.layered import LayeredNetwork


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
    network: LayeredNetwork, k: int, name: str, x: Tensor, mean: Tensor, geometry: Any
) -> Tensor:
    """Predictions when one layer's block is replaced; only the layers behind it run.

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
    geometry : Geometry
        Of the batch.

    Returns
    -------
    Tensor
        [g] standardized predictions.
    """
    columns = block_columns(network.layer_irreps[k])[name].to(x.device)
    return network.predict_from(k, replace_block(x, columns, mean), geometry)


def predict_without_irrep(
    network: LayeredNetwork, name: str, x: Tensor, means: list[dict[str, Tensor]], geometry: Any
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
    means : list of dict of str to Tensor
        Each layer's replacements [c, m], by irrep name; those of the intact network.
    geometry : Geometry
        Of the batch.

    Returns
    -------
    Tensor
        [g] standardized predictions.
    """
    last = len(network.layer_irreps) - 1
    for k, irreps in enumerate(network.layer_irreps):
        if k > 0:
            x = network.layer(k, x, geometry)
        if name in means[k]:
            x = replace_block(x, block_columns(irreps)[name].to(x.device), means[k][name])
    return network.predict_from(last, x, geometry)
