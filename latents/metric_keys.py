"""Which measures of the latent space are logged as metrics, and under which keys.

A run may have 80 keys on W&B in all, so only the most telling numbers get one. All of them are in
``latents/metrics.csv``, with their intervals. Imports `records` only.
"""

from __future__ import annotations

import math

from records.latents import ALL, ELEMENT_COUNTS, METRICS, LatentEpoch
from records.names import UNTRAINED

MAX_IRREPS = 9
"""Irreps with a key of their own; all that l = 0 to 8 with natural parity need."""
OF_EACH_IRREP = "knn_r2_composition_free"
ALSO_UNTRAINED = ("knn_r2_target", "knn_r2_composition_free", "intrinsic_dimension")
"""Measures of all irreps together that keep a key for the untrained network's value."""


def logged_metrics(latent: LatentEpoch) -> dict[str, float]:
    """Choose what is logged of one epoch: at most 21 keys.

    ``latent/all/<metric>`` for every metric, ``latent/<irrep>/knn_r2_composition_free``,
    ``latent/element_counts/<metric>`` for what element counts alone reach,
    ``latent/num_molecules``, and in epoch -1 ``latent/all/<metric>_untrained``: a copy that later
    epochs do not overwrite in W&B's summary.

    Parameters
    ----------
    latent : LatentEpoch

    Returns
    -------
    dict of str to float
        Key to value; without what could not be measured.
    """
    irreps = [block for block in latent.layouts if block != ALL]
    chosen = [(ALL, metric) for metric in METRICS]
    if len(irreps) > 1:  # a single irrep is the same as all together
        chosen += [(irrep, OF_EACH_IRREP) for irrep in irreps[:MAX_IRREPS]]
    chosen += [(ELEMENT_COUNTS, metric) for metric in latent.metrics[ELEMENT_COUNTS]]
    values = {f"latent/{block}/{metric}": latent.metrics[block][metric] for block, metric in chosen}
    if latent.epoch == UNTRAINED:
        for metric in ALSO_UNTRAINED:
            values[f"latent/{ALL}/{metric}_untrained"] = latent.metrics[ALL][metric]
    logged = {key: estimate.value for key, estimate in values.items()}
    logged["latent/num_molecules"] = float(len(latent.error))
    return {key: value for key, value in logged.items() if math.isfinite(value)}
