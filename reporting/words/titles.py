"""Names of errors, measures and metrics as people read them.

Imports `reporting.compare` only.
"""

from __future__ import annotations

from reporting.compare.decompositions import REFERENCE
from reporting.compare.groups import TEST_MAE, Group

MEASURE_TITLES = {
    "retrained": "Trained without",
    "missed": "Missed",
    "nested": "Nested",
    "refitted": "Refitted",
    "resampled": "Resampled",
    "reliance": "Torn out",
    "probe": "Probe",
    "contribution": "Contribution",
}
"""Titles of the measures of an irrep, those that come closest to need first."""
MEASURE_MEANINGS = {
    "retrained": "The error of networks trained without the irrep from the start, minus that of "
    "networks trained with it. This is what the irrep is worth.",
    "missed": "What is missed: how much worse a trained network stays when the irrep is taken out "
    "of it and both it and the intact network are trained on for a while.",
    "nested": "What a degree adds to networks trained with irrep dropout: the fall of the error "
    "when it joins, averaged over the orders of joining (Shapley value).",
    "refitted": "What is left of the damage after the output has been refitted.",
    "resampled": "The damage if each atom's features are swapped for those of another atom of the "
    "same element.",
    "reliance": "What breaks: how much the error of a trained network jumps when the irrep is torn "
    "out and nothing is repaired; networks that could do without it break, too.",
    "probe": "How much a linear fit to all invariant features loses without the irrep's.",
    "contribution": "How much of the prediction flows through the irrep: standard deviation over "
    "molecules.",
}
"""One sentence for each of `MEASURE_TITLES`."""
LATENT_TITLES = {
    "knn_r2_composition_free": "R² of the composition-free target from neighbours",
    "knn_r2_target": "R² of the target from neighbours",
    "knn_r2_complexity": "R² of the spatial score from neighbours",
    "trustworthiness": "Trustworthiness of the UMAP",
    "intrinsic_dimension": "Intrinsic dimension",
}
"""Titles of the metrics of latent spaces, in the order in which they are shown."""


def error_name(group: Group) -> str:
    """Name the error that a group is compared by: ``test MAE`` or ``validation MAE``."""
    return "test MAE" if group.metric == TEST_MAE else "validation MAE"


def error_title(group: Group) -> str:
    """Name the error at the beginning of a title: ``Test MAE`` or ``Validation MAE``."""
    name = error_name(group)
    return name[0].upper() + name[1:]


def word_term(name: str) -> str:
    """Name a term of the decomposition.

    Parameters
    ----------
    name : str
        As in `reporting.compare.decompositions.TermMean`.
    """
    if name == REFERENCE:
        return "the reference (composition or mean)"
    degrees = name.split(",")[1:]
    if not degrees:
        return "scalars only"
    return f"through l = {' and '.join(degrees)}"
