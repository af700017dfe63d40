"""Measures of what one block of features, an irrep of one layer, carries and does.

All are invariant under rotation, inversion and translation of the molecules. Symbols: t[n, c, m]
is a block's feature at node n, channel c, component m; l is its degree, p its parity.
Imports torch and e3nn only.
"""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor


def block_columns(irreps: o3.Irreps) -> dict[str, Tensor]:
    """Columns of a feature matrix that belong to each irrep.

    A block of C channels of degree l takes C (2l + 1) columns, channel by channel.

    Parameters
    ----------
    irreps : o3.Irreps
        Of the features. Blocks of the same irrep are taken together.

    Returns
    -------
    dict of str to Tensor
        Irrep name (``1o``) to int64 column indices, in order of first appearance.
    """
    columns: dict[str, list[Tensor]] = {}
    for (_, ir), block in zip(irreps, irreps.slices()):
        columns.setdefault(str(ir), []).append(torch.arange(block.start, block.stop))
    return {name: torch.cat(parts) for name, parts in columns.items()}


def split_blocks(x: Tensor, irreps: o3.Irreps) -> dict[str, Tensor]:
    """Features of each irrep by channel and component.

    Parameters
    ----------
    x : Tensor
        [n, irreps.dim].
    irreps : o3.Irreps
        Of the features.

    Returns
    -------
    dict of str to Tensor
        Irrep name to [n, c, m].
    """
    return {
        name: x[:, columns.to(x.device)].reshape(x.shape[0], -1, o3.Irrep(name).dim)
        for name, columns in block_columns(irreps).items()
    }


def is_invariant(name: str) -> bool:
    """Whether an irrep is unchanged by rotation and inversion, which only ``0e`` is.

    Parameters
    ----------
    name : str
        Irrep, e.g. ``1o``.

    Returns
    -------
    bool
    """
    return bool(o3.Irrep(name) == o3.Irrep("0e"))


def power(t: Tensor) -> Tensor:
    """Mean square of a block: mean over n, c, m of t[n, c, m]^2.

    Parameters
    ----------
    t : Tensor
        [n, c, m].

    Returns
    -------
    Tensor
        Scalar, float64; NaN without nodes or channels.
    """
    return t.double().square().mean()


def power_share(powers: dict[str, float]) -> dict[str, float]:
    """Each block's part of the layer's power, P_b / sum_b' P_b'.

    `power` is per component, so a degree is not favoured for having more of them.

    Parameters
    ----------
    powers : dict of str to float
        Irrep name to `power`, all blocks of one layer.

    Returns
    -------
    dict of str to float
        They sum to 1; all NaN if the layer is zero.
    """
    total = sum(powers.values())
    return {name: p / total if total > 0 else float("nan") for name, p in powers.items()}


def effective_channels(t: Tensor, center: bool = False) -> Tensor:
    """Participation ratio of the channels' second moments, between 1 and C.

    G[c, c'] = mean_n sum_m t[n, c, m] t[n, c', m] / (2l + 1);  C_eff = (tr G)^2 / tr(G^2).

    1 if all channels are copies of one another up to a factor, C if they are uncorrelated and
    equally strong; invariant under an orthogonal mixing of channels.

    Parameters
    ----------
    t : Tensor
        [n, c, m].
    center : bool
        Subtract the mean over n first. Do so for ``0e``, whose constant part carries nothing.

    Returns
    -------
    Tensor
        Scalar, float64; NaN for a block that is zero (for `center`: constant to rounding).
    """
    t = t.double()
    size = t.square().mean()
    if center:
        t = t - t.mean(0)
    flat_xc = t.transpose(1, 2).reshape(-1, t.shape[1])
    moments_cc = flat_xc.T @ flat_xc / flat_xc.shape[0]
    trace = moments_cc.trace()
    # Below the rounding of float32 features there is nothing left to analyse.
    is_rounding = trace / t.shape[1] <= size * 1e-12
    ratio = trace.square() / moments_cc.square().sum()
    return torch.where(is_rounding, torch.nan, ratio)


def contribution(t: Tensor, gradient: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
    """Gradient times activation of a block, molecule by molecule.

    c_g = sum_{n in g, c, m} t[n, c, m] dy_g / dt[n, c, m], where y_g is the molecule's prediction.
    In a network that is linear in its features, this is exactly what the prediction loses when the
    block is set to zero; elsewhere, it is so to first order.

    Parameters
    ----------
    t, gradient : Tensor
        [n, c, m] features, and derivative of each molecule's own prediction.
    batch : Tensor
        [n] int64, the molecule of each node.
    num_graphs : int
        Number of molecules g.

    Returns
    -------
    Tensor
        [g] float64, in units of the prediction.
    """
    product_n = (t.double() * gradient.double()).sum((1, 2))
    return product_n.new_zeros(num_graphs).index_add(0, batch, product_n)
