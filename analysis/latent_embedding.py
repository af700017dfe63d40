"""Rotation-invariant embeddings of molecules from equivariant node features.

Imports torch, e3nn's irreps and `networks.layered`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from e3nn import o3
from torch import Tensor

from networks.layered import LayeredNetwork


def invariant_channels(pooled_gd: Tensor, irreps: o3.Irreps) -> dict[str, Tensor]:
    """Turn pooled features into numbers that rotation and inversion leave unchanged.

    h[g, c] = t[g, c] for 0e, |t[g, c]| for 0o, and sqrt(sum_m t[g, c, m]^2) for l > 0.

    Parameters
    ----------
    pooled_gd : Tensor
        [g, irreps.dim] features summed over each molecule's atoms.
    irreps : o3.Irreps
        Irreps of the columns. Blocks of the same irrep are joined.

    Returns
    -------
    dict of str to Tensor
        For each irrep, such as ``"1o"``, its [g, c] invariant channels, in the order in which
        the irreps first appear.

    Raises
    ------
    ValueError
        If the number of columns is not `irreps.dim`.
    """
    if pooled_gd.ndim != 2 or pooled_gd.shape[1] != irreps.dim:
        raise ValueError(
            f"features of shape {tuple(pooled_gd.shape)} do not fit {irreps}, which has "
            f"{irreps.dim} columns: pass the irreps of the layer that the features come from"
        )
    parts: dict[str, list[Tensor]] = {}
    for columns, (mul, ir) in zip(irreps.slices(), irreps):
        block_gcm = pooled_gd[:, columns].reshape(-1, mul, ir.dim)
        channels_gc = block_gcm.squeeze(-1) if ir.l == 0 else block_gcm.norm(dim=-1)
        parts.setdefault(str(ir), []).append(channels_gc.abs() if ir.p == -1 else channels_gc)
    return {name: torch.cat(blocks, dim=1) for name, blocks in parts.items()}


def molecule_embedding(
    features_nd: Tensor, irreps: o3.Irreps, batch_n: Tensor, num_graphs: int
) -> dict[str, Tensor]:
    """Sum node features over each molecule and make them invariant, irrep by irrep.

    Parameters
    ----------
    features_nd : Tensor
        [n, irreps.dim] features of one layer.
    irreps : o3.Irreps
        The layer's irreps.
    batch_n : Tensor
        [n] int64, the molecule of each atom.
    num_graphs : int
        Number of molecules g.

    Returns
    -------
    dict of str to Tensor
        For each irrep its [g, c] embedding (see `invariant_channels`).

    Raises
    ------
    ValueError
        If the number of columns is not `irreps.dim`.
    """
    pooled_gd = features_nd.new_zeros(num_graphs, features_nd.shape[1])
    return invariant_channels(pooled_gd.index_add(0, batch_n, features_nd), irreps)


def join_blocks(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Concatenate the embeddings of several batches.

    Parameters
    ----------
    parts : sequence of dict of str to Tensor
        What `molecule_embedding` returned for each batch.

    Returns
    -------
    dict of str to Tensor
        For each irrep its [g, c] embedding over all batches.
    """
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def default_layer(layer_irreps: Sequence[o3.Irreps], reachable: Sequence[dict[str, bool]]) -> int:
    """Choose the last layer with the most l > 0 irreps that reach the output.

    For scalar features alone that is the last layer. With a scalar readout the last layer's l > 0
    blocks never reach the output: they are either not computed or never trained.

    Parameters
    ----------
    layer_irreps : sequence of o3.Irreps
        Output irreps of each layer.
    reachable : sequence of dict of str to bool
        For each layer and irrep, whether it reaches the output.

    Returns
    -------
    int
        Layer, from 0.
    """
    nonscalar = {str(ir) for irreps in layer_irreps for _, ir in irreps if ir.l > 0}
    counts = [sum(reaches.get(name, False) for name in nonscalar) for reaches in reachable]
    return max(range(len(counts)), key=lambda k: (counts[k], k))


def choose_layer(network: LayeredNetwork, layer: int | None) -> int:
    """Check the layer that was asked for, or choose one.

    Parameters
    ----------
    network : LayeredNetwork
    layer : int or None
        From 0; None stands for `default_layer`.

    Returns
    -------
    int
        Layer, from 0.

    Raises
    ------
    ValueError
        If the network has no such layer.
    """
    number = len(network.layer_irreps)
    if layer is None:
        return default_layer(network.layer_irreps, network.reachable)
    if not 0 <= layer < number:
        raise ValueError(
            f"layer is {layer}: the network has layers 0 to {number - 1}; choose one of them or "
            "leave it out"
        )
    return layer
