"""What a network costs per molecule: multiply-adds and memory, on molecules of the training part.

Imports NumPy, torch, `networks` and this package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Batch

from networks.backward_memory import backward_memory
from networks.choice import NetworkName, default_network
from networks.layered import LayeredNetwork

COUNTED = 64
"""Molecules whose nodes and edges are counted, the first of the training part."""

REMEMBERED = 16
"""Molecules of one forward pass whose memory is counted."""

MOST_EDGES = 60_000
"""Most edges on which costs are counted. Sixty-four of QM9's largest molecules have fewer. Larger
structures are counted on fewer of them, as all at once would fill the memory."""


class CountedData(Protocol):
    """What counting operations needs of a data module."""

    @property
    def splits(self) -> Mapping[str, Tensor]:
        """Part names to [molecules] int64 indices; among them ``train``."""

    def batch(self, indices: Tensor | Sequence[int]) -> Batch:
        """Collate any molecules."""


def counted_data(datamodule: object) -> CountedData:
    """Check that a data module has molecules on which operations can be counted.

    Parameters
    ----------
    datamodule : LightningDataModule or None
        After ``setup``.

    Raises
    ------
    TypeError
        If something is missing; says what.
    """
    missing = [name for name in ("splits", "batch") if getattr(datamodule, name, None) is None]
    if missing:
        raise TypeError(
            f"operations cannot be counted on {type(datamodule).__name__}: it needs "
            f"{' and '.join(missing)}, as QM9DataModule has them; or leave compute_weight at 0"
        )
    return cast(CountedData, datamodule)


def operations_per_molecule(network: LayeredNetwork, data: CountedData) -> float:
    """Count the multiply-adds of a prediction, see `LayeredNetwork.operations`.

    Parameters
    ----------
    network : LayeredNetwork
        Offers `operations`.
    data : CountedData
        The mean is over its first training molecules.
    """
    batch = _first_molecules(network, data, COUNTED)
    with torch.no_grad():
        count = network.operations(network.prepare(batch))
    return count / int(batch.num_graphs)


def memory_per_molecule(network: LayeredNetwork, data: CountedData) -> float:
    """Count the bytes that a training step keeps for its backward pass, per molecule.

    Parameters
    ----------
    network : LayeredNetwork
        Its parameters are not counted.
    data : CountedData
        The mean is over its first training molecules.
    """
    batch = _first_molecules(network, data, REMEMBERED)
    return backward_memory(network, batch) / int(batch.num_graphs)


def _first_molecules(network: LayeredNetwork, data: CountedData, most: int) -> Batch:
    """Collate the first training molecules, in the network's precision and on its device.

    There is always one, and then as many as have `MOST_EDGES` edges together.
    """
    rows = data.splits["train"][:most]
    edges = np.cumsum([data.batch([row]).edge_index.shape[1] for row in rows.tolist()])
    count = max(1, int((edges <= MOST_EDGES).sum()))
    parameter = next(network.parameters())
    batch = data.batch(rows[:count]).to(parameter.device)
    batch.pos = batch.pos.to(parameter.dtype)
    return batch


def relative_compute(network: LayeredNetwork, kind: NetworkName, data: CountedData) -> float:
    """Compare a network's operations with those of the default network of its kind.

    Parameters
    ----------
    network : LayeredNetwork
        Network.
    kind : {"convnet", "gated"}
        Which default network to compare with; all have irreps 32x0e+32x1o+32x2e.
    data : CountedData
        Molecules and their graphs.

    Returns
    -------
    float
        1 for the default network.
    """
    with torch.random.fork_rng(devices=[]):
        default = default_network(kind)
    return operations_per_molecule(network, data) / operations_per_molecule(default, data)
