"""What Lightning runs: the regressor and the data module.

Imports Lightning, `networks`, `qm9`, `analysis` and `records`.
"""
