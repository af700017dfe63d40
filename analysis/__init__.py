"""Pure functions of tensors: what a network's irreps carry and do. No Lightning, no W&B."""
