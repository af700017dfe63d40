"""Tensor products that act on every channel by itself (e3nn's ``uvu``), summed over neighbours.

`paths` says what there is to compute, `plain` and `e3nn_product` compute it with torch and with
e3nn, `fused` and `fused_kernel` without a message per edge, `libraries` with other people's GPU
kernels; `choice` picks one of them. Imports torch, e3nn, numba and `networks` only.
"""
