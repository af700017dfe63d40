"""Measures of what one block of features, an irrep of one layer, carries and does.

All are invariant under rotation, inversion and translation of the molecules. Symbols: t[n, c, m]
is a block's feature at node n, channel c, component m; l is its degree, p its parity.
Imports torch and e3nn only.
"""

from __future__ import annotations

import torch
from e3nn import o3
from torch import Tensor

from records.utilization import Verdict

UNUSED_BELOW = 0.01
"""A block is unused if its removal raises the MAE by less than this part of it."""


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
    return o3.Irrep(name) == o3.Irrep("0e")


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


def attribution(t: Tensor, gradient: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
    """Gradient times activation of a block, molecule by molecule.

    a_g = | sum_{n in g, c, m} t[n, c, m] dL_g / dt[n, c, m] |: to first order, the change of the
    molecule's loss L_g when the block is scaled, relative to the scaling. `attribution` of a block
    is the mean over molecules.

    Parameters
    ----------
    t, gradient : Tensor
        [n, c, m] features, and derivative of each molecule's own loss (not of a batch mean).
    batch : Tensor
        [n] int64 molecule of each node.
    num_graphs : int
        Number of molecules.

    Returns
    -------
    Tensor
        [g], in units of the loss.
    """
    product_n = (t * gradient).sum((1, 2))
    return product_n.new_zeros(num_graphs).index_add(0, batch, product_n).abs()


def invariant_mean(t: Tensor, name: str) -> Tensor:
    """Average a block over nodes and over O(3): what it is replaced by when it is ablated.

    Averaged over rotations and inversion every irrep but ``0e`` is zero. For ``0e`` it is the
    mean over all nodes given, of whatever element, channel by channel.

    Parameters
    ----------
    t : Tensor
        [n, c, m].
    name : str
        Irrep, e.g. ``1o``.

    Returns
    -------
    Tensor
        [c, m], dtype of `t`.
    """
    if not is_invariant(name):
        return torch.zeros_like(t[0])
    return t.double().mean(0).to(t.dtype)


def verdict(reachable: bool, ablation_high: float, mae: float) -> Verdict:
    """Judge a block.

    Parameters
    ----------
    reachable : bool
        Whether any selection-rule path leads from the block to the output.
    ablation_high : float
        Upper end of the interval of the MAE's increase on removal.
    mae : float
        Intact MAE, same unit.

    Returns
    -------
    {"unreachable", "unused", "used"}
        ``unused`` only if the data show it: the upper end is below `UNUSED_BELOW` of the MAE.
    """
    if not reachable:
        return "unreachable"
    return "unused" if ablation_high < UNUSED_BELOW * mae else "used"
