"""The latent space of a run: snapshots of features, UMAP in a process of its own, and pictures.

Imports `analysis`, `networks` and `records`; umap-learn only in the worker process.
"""
