"""The utilization measures that the report shows. No other file names the fields of a table's row.

Imports `records` only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_args

from records.names import NETWORK
from records.utilization import BlockUtilization, Utilization, Verdict

ABLATION = "ablation"
RELATIVE_ABLATION = "relative"
POWER_SHARE = "power_share"
EFFECTIVE_CHANNELS = "effective_channels"
ATTRIBUTION = "attribution"
MEASURES = (ABLATION, RELATIVE_ABLATION, POWER_SHARE, EFFECTIVE_CHANNELS, ATTRIBUTION)
"""What the report shows of each block, in the order of the CSV file's columns."""

_FLOAT_FIELDS = tuple(f.name for f in fields(BlockUtilization) if f.type == "float")

USED: Verdict = "used"
UNREACHABLE: Verdict = "unreachable"


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
        Values of `MEASURES` by name, NaN where there is none. The ablation is in reporting units,
        and `RELATIVE_ABLATION` is the ablation divided by `mae`.
    """
    return {
        ABLATION: block.ablation,
        RELATIVE_ABLATION: block.ablation / mae if mae > 0 else math.nan,
        POWER_SHARE: block.power_share,
        EFFECTIVE_CHANNELS: block.effective_channels,
        ATTRIBUTION: block.attribution,
    }


def whole_network(utilization: Utilization, irrep: str) -> list[BlockUtilization]:
    """Find the rows in which an irrep is removed from all layers at once."""
    return [row for row in utilization.rows if row.layer == NETWORK and row.irrep == irrep]


def block_from_logged(
    layer: str, irrep: str, channels: int, logged: Mapping[str, Any]
) -> BlockUtilization:
    """Rebuild the row of a block from the values that W&B has of it.

    Parameters
    ----------
    layer, irrep : str
        Which block.
    channels : int
        Multiplicity of the irrep in that layer; 0 if the layer does not have it.
    logged : mapping of str to Any
        Last logged value of each measure, and the verdict.

    Returns
    -------
    BlockUtilization
        NaN for measures that were not logged.

    Raises
    ------
    ValueError
        If the verdict is unknown.
    """
    verdict = logged["verdict"]
    if verdict not in get_args(Verdict):
        raise ValueError(f"verdict of {irrep} in {layer} is {verdict!r}")
    return BlockUtilization(
        layer=layer,
        irrep=irrep,
        channels=channels,
        reachable=verdict != UNREACHABLE,
        verdict=verdict,
        **{name: _number(logged.get(name)) for name in _FLOAT_FIELDS},
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
