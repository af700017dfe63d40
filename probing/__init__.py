"""The engine of ``probe.py``: which irreps any e3nn-based model uses.

Imports `analysis`, `figures`, `lightning_modules`, `networks`, `qm9`, `records` and `reporting`.
"""
