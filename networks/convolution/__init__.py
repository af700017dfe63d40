"""The published convolution: e3nn's layers as the reference, and a much faster equal of them.

Networks use `fast`. Its `contraction` chooses between two orders of summation, `nodes_first` and
`edges_first`, by the operation counts of `cost_model`. Imports torch, e3nn and
`networks.geometry` only.
"""
