"""Pure PyTorch: the equivariant network and its convolutions. No Lightning, no W&B."""
