"""A user's own structures: reading, caching, neighbours, references; and the file format of caches.

Imports NumPy, torch, ASE and vesin, but neither Lightning nor W&B.
"""
