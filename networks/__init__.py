"""Equivariant networks in pure PyTorch, and the selection rules that say what they can use.

Imports torch, torch_geometric and e3nn only; Lightning and W&B are unknown here.
"""
