"""The published convolution in e3nn's layers (the reference), and the same function several times faster.

`fast` is the layer that networks use. `contraction` chooses an order of summation by `cost_model`;
`nodes_first` and `edges_first` are the two orders. Imports torch, e3nn and `networks.geometry` only.
"""
