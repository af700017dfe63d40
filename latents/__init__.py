"""The latent space of a run: snapshots of features, UMAP in its own process, and pictures.

Imports `analysis`, `networks` and `records`; umap-learn only in the worker process.
"""
