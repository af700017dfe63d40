"""Comparing finished runs, as a self-contained HTML page or in W&B. Imports `records` only.

`read` turns run directories into `Run` objects, `compare` groups them and computes statistics,
`words` and `plots` present the results, `html` and `wandb` put them where people look at them.
"""
