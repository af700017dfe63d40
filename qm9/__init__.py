"""QM9 as flat tensors: reading, caching, graphs, splits and batches.

Pure data code: may import NumPy, torch and torch_geometric; neither Lightning nor W&B.
"""
