"""QM9 as flat tensors: reading, caching, graphs, splits and batches.

Imports NumPy, torch and torch_geometric, but neither Lightning nor W&B.
"""
