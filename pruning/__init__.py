"""The engine of ``prune.py``: take irreps and channels out of trained networks, step by step.

May import `analysis`, `figures`, `lightning_modules`, `networks`, `records` and `runtime`.
"""
