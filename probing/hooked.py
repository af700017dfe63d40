"""`HookedNetwork`: a model of another project behind the contract, looked at by forward hooks.

Imports torch, e3nn and `networks.layered` only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from e3nn import o3
from torch import Tensor, nn

from networks.layered import Edit, LayeredNetwork, Prepared


class HookedNetwork(LayeredNetwork):
    """A model whose layers are modules that put out the features of all nodes.

    A subclass implements `prepare` and `predict`. Features are read and replaced by forward hooks
    on `layers`, which exist only while `run` does: the model itself is never changed.

    Parameters
    ----------
    model : nn.Module
        The model.
    layers : sequence of nn.Module
        Modules of the model, in the order in which they run, each once per prediction. Each puts
        out a tensor [n, layer_irreps[k].dim].
    layer_irreps : sequence of o3.Irreps
        Of these outputs, as the model declares them.
    edge_irreps : o3.Irreps or sequence of o3.Irreps
        Spherical harmonics of the edges, the same in all layers or layer by layer.
    cutoff : float
        Radius of the model's graph, angstrom.
    irreps_embedding : str or o3.Irreps
        Of the first layer's input.
    irreps_readout : str or o3.Irreps
        What the readout takes from the last layer.
    gated : bool
        Whether layers are gated (`networks.irreps.filled_blocks`).

    Attributes
    ----------
    model : nn.Module
        As given.
    cutoff : float
        As given.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[nn.Module],
        layer_irreps: Sequence[o3.Irreps],
        edge_irreps: o3.Irreps | Sequence[o3.Irreps],
        cutoff: float,
        irreps_embedding: str | o3.Irreps = "1x0e",
        irreps_readout: str | o3.Irreps = "1x0e",
        gated: bool = True,
    ) -> None:
        found = {ir: 0 for each in layer_irreps for _, ir in o3.Irreps(each)}
        for each in map(o3.Irreps, layer_irreps):
            for ir in found:
                found[ir] = max(found[ir], each.count(ir))
        irreps = o3.Irreps([(found[ir], ir) for ir in sorted(found)])
        super().__init__(irreps, layer_irreps, edge_irreps, irreps_readout, irreps_embedding, gated)
        self.model = model
        self.cutoff = cutoff
        self._layers = tuple(layers)  # a tuple: modules in a list would be registered twice

    @abstractmethod
    def predict(self, prepared: Prepared, start: tuple[int, Tensor] | None) -> Tensor:
        """Run the model; the hooks are in place.

        Parameters
        ----------
        prepared : Prepared
            From `prepare`.
        start : tuple of int and Tensor, optional
            (k, x): the output of layer k is x. A model that cannot begin behind layer k may run as
            a whole, since the hook on layer k then puts x in.

        Returns
        -------
        Tensor
            [g] predictions.
        """

    def run(
        self, prepared: Prepared, edit: Edit | None = None, start: tuple[int, Tensor] | None = None
    ) -> Tensor:
        """Predict; see `LayeredNetwork.run`."""
        with self._hooks(edit, start):
            return self.predict(prepared, start)

    @contextmanager
    def _hooks(self, edit: Edit | None, start: tuple[int, Tensor] | None) -> Iterator[None]:
        with ExitStack() as stack:
            for k, layer in enumerate(self._layers):

                def hook(module: nn.Module, args: Any, x: Tensor, k: int = k) -> Tensor | None:
                    if start is not None and k <= start[0]:
                        return start[1] if k == start[0] else None
                    return edit(k, x) if edit is not None else None

                stack.callback(layer.register_forward_hook(hook).remove)
            yield
