"""Names of errors and metrics as people read them.

Imports `reporting.compare` only.
"""

from __future__ import annotations

from reporting.compare.groups import TEST_MAE, Group

LATENT_TITLES = {
    "knn_r2_target": "R² of the target from neighbours",
    "knn_r2_composition_free": "R² of the composition-free target from neighbours",
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
