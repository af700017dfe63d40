"""Latent structure of a network: invariant embeddings of molecules, and numbers that describe them.

The front door of `latent_embedding` (torch) and `latent_metrics`, `intrinsic_dimension`,
`spatial_score` (NumPy, scikit-learn, RDKit). Imports nothing of Lightning or W&B.
"""

from __future__ import annotations

from analysis.intrinsic_dimension import intrinsic_dimension
from analysis.latent_embedding import (
    default_layer,
    invariant_channels,
    join_blocks,
    molecule_embedding,
)
from analysis.latent_metrics import (
    knn_r2_complexity,
    knn_r2_target,
    problem_with,
    standardize,
    trustworthiness,
)
from analysis.spatial_score import spatial_scores

__all__ = [
    "default_layer",
    "intrinsic_dimension",
    "invariant_channels",
    "join_blocks",
    "knn_r2_complexity",
    "knn_r2_target",
    "molecule_embedding",
    "problem_with",
    "spatial_scores",
    "standardize",
    "trustworthiness",
]
