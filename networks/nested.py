"""`NestedNetworks`: networks of fewer degrees that compute with one large network's weights.

Imports torch and this package only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.func import functional_call
from torch_geometric.data import Batch

from networks.restrictable import RestrictableNetwork
from networks.restriction import WeightSelection, keep_degrees


@dataclass(frozen=True)
class _Smaller:
    """A restricted network, and which of the large network's weights it computes with."""

    network: RestrictableNetwork
    selections: Mapping[str, WeightSelection]


class NestedNetworks:
    """Predict with the network restricted to some degrees, in features and edges of all layers.

    The prediction is that of ``network.restricted``, and costs as little, but the weights are
    those that `network` has at the moment, and gradients flow to them. Each restricted network is
    built once, at its first use. This object is no module: the restricted networks' own weights
    are never used, so no optimizer, checkpoint or other process may see them.

    Parameters
    ----------
    network : RestrictableNetwork
        The large network.

    Attributes
    ----------
    degrees : tuple of int
        Degrees above 0 of its features, ascending.
    """

    def __init__(self, network: RestrictableNetwork) -> None:
        self.degrees = tuple(sorted({ir.l for _, ir in network.irreps} - {0}))
        self._network = network
        self._smaller: dict[frozenset[int], _Smaller] = {}

    def __call__(self, degrees: Iterable[int], batch: Batch) -> Tensor:
        """Predict the standardized target with degree 0 and some others.

        Parameters
        ----------
        degrees : iterable of int
            Degrees above 0 that stay; a subset of `degrees`.
        batch : Batch
            Molecules, on the network's device.

        Returns
        -------
        Tensor
            [g].

        Raises
        ------
        ValueError
            If the network does not have one of the degrees.
        """
        wanted = frozenset(degrees) - {0}
        if missing := sorted(wanted - set(self.degrees)):
            raise ValueError(f"the network has no degrees {missing}: choose among {self.degrees}")
        if wanted == frozenset(self.degrees):
            whole: Tensor = self._network(batch)
            return whole
        smaller = self._restricted(wanted)
        weights = {
            name: smaller.selections[name].of(weight) if name in smaller.selections else weight
            for name, weight in self._network.named_parameters()
        }
        prediction: Tensor = functional_call(smaller.network, weights, (batch,))
        return prediction

    def _restricted(self, degrees: frozenset[int]) -> _Smaller:
        """Build a restricted network, or take the one that was built for this device and dtype."""
        now = self._network.embedding.weight
        known = self._smaller.get(degrees)
        if known is not None:
            built = known.network.embedding.weight
            if (built.device, built.dtype) == (now.device, now.dtype):
                return known
        smaller = self._network.restricted(keep_degrees(self._network.kept, (0, *degrees)))
        known = _Smaller(smaller, self._network.weight_selections(smaller.kept))
        self._smaller[degrees] = known
        return known
