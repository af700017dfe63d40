"""What Lightning runs: the regressor and the data module.

May import Lightning, `networks` and `qm9`.
"""
