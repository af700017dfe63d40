"""What the training process itself does for `LatentUMAP`: fix molecules, run the network on them.

Imports torch, `analysis` and `latent_files`; nothing slow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor
from torch_geometric.data import Batch

from analysis.latent_embedding import join_blocks, molecule_embedding
from networks.layered import measuring
from records.latents import Molecules, Settings, Snapshot


class Snapshots:
    """A fixed set of validation molecules, and the network's view of them at any time.

    Parameters
    ----------
    datamodule : LightningDataModule
        With ``splits["val"]``, ``batch(indices)`` and ``smiles(index)``, as `QM9DataModule`.
    num_molecules : int
        At most; drawn with `seed` from the validation part.
    seed : int
        Of the draw.
    batch_size : int
        Molecules that the network takes at a time.
    """

    def __init__(
        self, datamodule: LightningDataModule, num_molecules: int, seed: int, batch_size: int
    ) -> None:
        data: Any = datamodule
        validation = torch.as_tensor(data.splits["val"])
        order = np.random.default_rng(seed).permutation(len(validation))[:num_molecules]
        self.idx = validation[torch.from_numpy(np.sort(order))]
        self._batches: list[Batch] = [data.batch(part) for part in self.idx.split(batch_size)]
        self._smiles = [str(data.smiles(int(i))) for i in self.idx]

    def molecules(self, settings: Settings) -> Molecules:
        """Describe the molecules for the worker.

        Parameters
        ----------
        settings : Settings

        Returns
        -------
        Molecules
        """
        target = torch.cat([batch.y for batch in self._batches]).cpu().double().numpy()
        return Molecules(
            idx=self.idx.cpu().numpy(),
            smiles=np.array(self._smiles),
            target=target * settings.reporting_factor,
            settings=settings,
        )

    def take(self, module: LightningModule, layer: int, epoch: int, step: int) -> Snapshot:
        """Run the network on the molecules.

        Parameters
        ----------
        module : LightningModule
            `EquivariantRegressor`; left exactly as it was.
        layer : int
            Layer whose features are embedded, from 0.
        epoch, step : int
            Recorded in the snapshot.

        Returns
        -------
        Snapshot
            On the CPU.
        """
        model: Any = module
        network = model.network
        parts: list[dict[str, Tensor]] = []
        standardized: list[Tensor] = []
        # The molecules stay on the training device: they are a few megabytes.
        self._batches = [batch.to(module.device) for batch in self._batches]
        with measuring(network), torch.no_grad():
            for batch in self._batches:
                geometry = network.geometry(batch)
                features = network.features(batch.z, geometry)
                parts.append(
                    molecule_embedding(
                        features[layer],
                        network.layer_irreps[layer],
                        geometry.batch,
                        geometry.num_graphs,
                    )
                )
                standardized.append(network.predict_from(len(features) - 1, features[-1], geometry))
        y = torch.cat(standardized).cpu().double()
        mean, std = model.target_mean.cpu().double(), model.target_std.cpu().double()
        return Snapshot(
            epoch=epoch,
            step=step,
            blocks={k: v.float().cpu().numpy() for k, v in join_blocks(parts).items()},
            prediction=((y * std + mean) * model.target.reporting_factor).numpy(),
        )
