"""What the training process itself does for `LatentUMAP`: run the network on fixed molecules.

Imports torch, `analysis`, `networks.layered` and `records.latents`; nothing slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.data import Batch

from analysis.latent_embedding import join_blocks, molecule_embedding
from networks.layered import LayeredNetwork, measuring
from records.latents import Molecules, Settings, Snapshot

Rescale = Callable[[Tensor, Batch], Tensor]
"""From a batch's standardized predictions, [g] or [g, m], to float64 predictions in reporting
units, of the same shape."""


class Snapshots:
    """A fixed set of molecules, and the network's view of them at any time.

    Parameters
    ----------
    idx : Tensor
        [g] int64 positions of the molecules in the data set.
    smiles : sequence of str
        [g].
    batches : sequence of Batch
        The molecules in the same order, with `z`, `batch` and `y` (target's unit). They follow
        the network to its device and stay there: they are a few megabytes.
    """

    def __init__(self, idx: Tensor, smiles: Sequence[str], batches: Sequence[Batch]) -> None:
        self._idx = idx
        self._smiles = list(smiles)
        self._batches = list(batches)

    def __len__(self) -> int:
        return len(self._idx)

    def molecules(self, settings: Settings) -> Molecules:
        """Describe the molecules for the worker.

        Parameters
        ----------
        settings : Settings
        """
        target = _sizes(torch.cat([batch.y for batch in self._batches]).double().cpu()).numpy()
        elements, element_counts = self._count_elements()
        return Molecules(
            idx=self._idx.cpu().numpy(),
            smiles=np.array(self._smiles),
            target=target * settings.reporting_factor,
            elements=elements,
            element_counts=element_counts,
            settings=settings,
        )

    def _count_elements(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Atomic numbers [t], ascending, and each molecule's atoms of them [g, t]."""
        z_n = torch.cat([batch.z for batch in self._batches]).cpu()
        elements_t, column_n = torch.unique(z_n, return_inverse=True)
        sizes = [torch.bincount(b.batch, minlength=b.num_graphs).cpu() for b in self._batches]
        molecule_n = torch.repeat_interleave(torch.cat(sizes))
        counts_gt = torch.zeros(len(self), len(elements_t), dtype=torch.int64)
        counts_gt.index_put_((molecule_n, column_n), torch.ones_like(z_n), accumulate=True)
        return elements_t.numpy(), counts_gt.numpy()

    def take(
        self,
        network: LayeredNetwork,
        rescale: Rescale,
        layer: int,
        epoch: int,
        step: int,
        is_best: bool = False,
        reporting_factor: float = 1.0,
    ) -> Snapshot:
        """Run the network on the molecules, as its weights are now.

        Parameters
        ----------
        network : LayeredNetwork
            Left exactly as it was.
        rescale : callable
            Turns its output into predictions.
        layer : int
            Layer whose features are embedded, from 0.
        epoch, step, is_best
            Recorded in the snapshot, see there.
        reporting_factor : float
            Reporting units in one unit of the batches' ``y``.

        Returns
        -------
        Snapshot
            On the CPU.
        """
        parts: list[dict[str, Tensor]] = []
        predictions: list[Tensor] = []
        errors: list[Tensor] = []
        device = next(network.parameters()).device
        self._batches = [batch.to(device) for batch in self._batches]
        with measuring(network), torch.no_grad():
            for batch in self._batches:
                prepared = network.prepare(batch)
                features, standardized = network.run_recording(prepared)
                parts.append(
                    molecule_embedding(
                        features[layer],
                        network.layer_irreps[layer],
                        prepared.batch,
                        prepared.num_graphs,
                    )
                )
                predicted = rescale(standardized, batch)
                wanted = batch.y.double() * reporting_factor
                predictions.append(_sizes(predicted))
                errors.append(_sizes(predicted - wanted).abs())
        return Snapshot(
            epoch=epoch,
            step=step,
            blocks={k: v.float().cpu().numpy() for k, v in join_blocks(parts).items()},
            prediction=torch.cat(predictions).cpu().double().numpy(),
            error=torch.cat(errors).cpu().double().numpy(),
            is_best=is_best,
        )


def _sizes(values: Tensor) -> Tensor:
    """Give scalars [g] back, and the norms [g] of vectors or tensors [g, m]."""
    return values if values.dim() == 1 else values.norm(dim=-1)


@contextmanager
def temporarily_loaded(module: nn.Module, state: Mapping[str, Tensor]) -> Iterator[None]:
    """Give a module other weights inside a ``with`` block, and its own back afterwards.

    Parameters
    ----------
    module : nn.Module
        Restored also after an error.
    state : mapping of str to Tensor
        A whole state dict of it, such as a checkpoint's.

    Raises
    ------
    RuntimeError
        If names or shapes do not fit; from `torch`.
    """
    own = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}
    try:
        module.load_state_dict(state)
        yield
    finally:
        module.load_state_dict(own)
