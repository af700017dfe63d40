"""The utilization measures that the report shows. No other file names the fields of a table's row.

Imports `records` only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from records.names import NETWORK
from records.utilization import PAIR, BlockUtilization, Effect, Utilization, Verdict

RELIANCE = "reliance"
RELATIVE_RELIANCE = "relative"
POWER_SHARE = "power_share"
EFFECTIVE_CHANNELS = "effective_channels"
CONTRIBUTION = "contribution_sd"
MEASURES = (RELIANCE, RELATIVE_RELIANCE, POWER_SHARE, EFFECTIVE_CHANNELS, CONTRIBUTION)
"""What the report shows of each block, in the order of the CSV file's columns."""

EFFECTS = ("missed", "refitted", "resampled", RELIANCE, "probe")
"""Measures of an effect on the MAE, those that come closest to need first."""

RELIED_ON: Verdict = "relied on"
MISSED: Verdict = "missed"
NEGLIGIBLE: Verdict = "negligible"
HARMFUL: Verdict = "harmful"
UNDECIDED: Verdict = "undecided"
UNREACHABLE: Verdict = "unreachable"
NOT_MEASURED = "not measured"
"""Stands for the verdict on a block whose removal was not measured."""


def measures(block: BlockUtilization, mae: float) -> dict[str, float]:
    """Return the measures of one block.

    Parameters
    ----------
    block : BlockUtilization
        Row of ``utilization.csv``.
    mae : float
        MAE of the intact network on the same molecules, reporting units.

    Returns
    -------
    dict of str to float
        Values of `MEASURES` by name, NaN where there is none. Reliance and contribution are in
        reporting units, and `RELATIVE_RELIANCE` is the reliance divided by `mae`.
    """
    effect = block.effects.get(RELIANCE)
    reliance = math.nan if effect is None else effect.value
    return {
        RELIANCE: reliance,
        RELATIVE_RELIANCE: reliance / mae if mae > 0 else math.nan,
        POWER_SHARE: block.power_share,
        EFFECTIVE_CHANNELS: block.effective_channels,
        CONTRIBUTION: block.contribution_sd,
    }


def verdict_of(block: BlockUtilization) -> str:
    """Return the verdict on the reliance on a block, or `NOT_MEASURED`."""
    if not block.reachable:
        return UNREACHABLE
    effect = block.effects.get(RELIANCE)
    if effect is None or math.isnan(effect.low):
        return NOT_MEASURED
    return effect.verdict


def is_absent(block: BlockUtilization) -> bool:
    """Whether the layer of a block does not have its irrep."""
    return block.layer != NETWORK and block.channels == 0


def single_irreps(utilization: Utilization) -> list[BlockUtilization]:
    """Return the rows of single irreps, without those of pairs."""
    return [row for row in utilization.rows if PAIR not in row.irrep]


def pairs(utilization: Utilization) -> list[str]:
    """List the pairs of irreps that were removed together, for example ``1o&2e``."""
    return [row.irrep for row in utilization.rows if PAIR in row.irrep]


def rms_contribution(utilization: Utilization, irrep: str) -> float:
    """Average an irrep's contribution over layers.

    Parameters
    ----------
    utilization : Utilization
    irrep : str
        For example ``1o``.

    Returns
    -------
    float
        Root mean square over layers of the contribution's standard deviation over molecules,
        reporting units; NaN if it was not measured.
    """
    values = [row.contribution_sd for row in utilization.rows if row.irrep == irrep]
    squares = [value**2 for value in values if math.isfinite(value)]
    return math.sqrt(math.fsum(squares) / len(squares)) if squares else math.nan


def whole_network(utilization: Utilization, irrep: str) -> list[BlockUtilization]:
    """Return the rows in which an irrep is removed from all layers at once."""
    return [row for row in utilization.rows if row.layer == NETWORK and row.irrep == irrep]


def block_from_logged(irrep: str, channels: int, logged: Mapping[str, Any]) -> BlockUtilization:
    """Rebuild the row of an irrep in all layers from the values that W&B has of it.

    Parameters
    ----------
    irrep : str
        For example ``1o``.
    channels : int
        Multiplicity of the irrep.
    logged : mapping of str to Any
        Logged value of each measure; with the suffix ``_best`` that of the best checkpoint.

    Returns
    -------
    BlockUtilization
        W&B has neither intervals nor verdicts, so the interval is NaN.
    """
    value = logged.get(f"{RELIANCE}_best", logged.get(RELIANCE))
    effects = {}
    if isinstance(value, int | float):
        effects[RELIANCE] = Effect(float(value), math.nan, math.nan, UNDECIDED)
    return BlockUtilization(
        layer=NETWORK, irrep=irrep, channels=channels, reachable=True, effects=effects
    )
