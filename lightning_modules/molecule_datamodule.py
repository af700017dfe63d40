"""`MoleculeDataModule`: what data modules share whose molecules lie in a `MoleculeStore`.

Imports Lightning, `qm9` and `records`.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch
from typing_extensions import override

from qm9.batching import EpochSampler, MoleculeLoader, MoleculeStore
from qm9.composition import element_counts
from qm9.targets import Target
from records.splits import Splits, read_splits, write_splits

GRAPHS = ("bonds", "radius")
MOST_EVALUATED_EDGES = 500_000
"""Most edges of a batch in validation, test and prediction. ``eval_batch_size`` counts structures,
and sixty-four structures of ten thousand atoms would fill the memory."""


def check_loading(
    graph: str,
    cutoff: float,
    largest_cutoff: float,
    batch_sizes: Mapping[str, int],
    seeds: Mapping[str, int | None],
) -> None:
    """Refuse options of graphs and loaders that cannot be used.

    Parameters
    ----------
    graph : str
        ``bonds`` or ``radius``.
    cutoff, largest_cutoff : float
        Radius of the graph, and what it may be at most, angstrom.
    batch_sizes : mapping of str to int
        By option.
    seeds : mapping of str to int or None
        By option.

    Raises
    ------
    ValueError
        Names the option, and says what is allowed.
    """
    if graph not in GRAPHS:
        raise ValueError(f"graph {graph!r} is unknown: choose one of {', '.join(GRAPHS)}")
    if not 0 < cutoff <= largest_cutoff:
        raise ValueError(
            f"cutoff {cutoff} is out of range: give a positive number of angstrom, at most "
            f"{largest_cutoff:g}"
        )
    for name, number in batch_sizes.items():
        if number < 1:
            raise ValueError(f"{name} {number} is out of range: give 1 or more")
    for name, seed in seeds.items():
        if seed is not None and seed < 0:
            raise ValueError(f"{name} {seed} is negative: give 0 or more")


class MoleculeDataModule(LightningDataModule):
    """Loaders, parts and counts of molecules that are collated from flat tensors.

    A subclass has the hyperparameters ``batch_size``, ``eval_batch_size``, ``shuffle_seed`` and
    ``device_resident``, and implements the abstract methods.

    Attributes
    ----------
    target : Target
        Name, unit, reporting unit and factor.
    splits : dict of str to Tensor
        ``train``, ``val``, ``test``, and ``val``'s halves ``val_select`` and ``val_measure``: int64
        rows of the data; set by `setup`.
    target_mean, target_std : float
        Mean and standard deviation over the training part, in the target's unit; set by `setup`.
        Those of a vector or tensor are 0 and the root mean square of its components.
    """

    target: Target
    splits: dict[str, Tensor]
    target_mean: float
    target_std: float
    molecule_columns = ("index", "smiles")
    """What `molecule` returns, as names of columns."""

    def __init__(self) -> None:
        super().__init__()
        self._store: MoleculeStore | None = None
        self._element_counts: NDArray[np.int64] | None = None

    @abstractmethod
    def load(self) -> None:
        """Read the data and draw the parts, unless that was done."""

    @abstractmethod
    def place(self, device: torch.device, dtype: torch.dtype = torch.float32) -> MoleculeStore:
        """Put all molecules and their edges on a device, ready to be collated there.

        Parameters
        ----------
        device : torch.device
            Device of the molecules and of the batches.
        dtype : torch.dtype
            Type of the positions.
        """

    @abstractmethod
    def atoms(self) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
        """Get the atomic numbers [n] of all molecules, and the first atom of each [mol + 1]."""

    @abstractmethod
    def all_targets(self) -> Tensor:
        """Get the target of all molecules, [mol] float64, or [mol, m] for a vector or tensor."""

    @abstractmethod
    def numbers(self) -> Tensor:
        """Get the data set's own numbers of all molecules, [mol] integers."""

    @abstractmethod
    def baselines(self) -> dict[str, float]:
        """Measure predictors without a network, see `QM9DataModule.baselines`."""

    @abstractmethod
    def smiles(self, index: int) -> str:
        """Look up the SMILES of a molecule; empty if it has none."""

    @abstractmethod
    def molecule(self, index: int) -> tuple[int, str]:
        """Look up the data set's own number of a molecule, and its SMILES or formula."""

    @override
    def setup(self, stage: str | None = None) -> None:
        """Load the data, draw the parts and place the molecules on the device.

        A later call does only what is still missing, or moves the molecules to another device or
        precision.
        """
        self.load()
        device, dtype = self._device(), self._dtype()
        if self._store is None or (self._store.device, self._store.pos.dtype) != (device, dtype):
            self._store = self.place(device, dtype)

    def _dtype(self) -> torch.dtype:
        """Type of the positions: the type of the trainer's parameters."""
        return torch.float64 if self._trainer_precision() == "64-true" else torch.float32

    def _trainer_precision(self) -> str:
        return str(self.trainer.precision) if self.trainer is not None else "32-true"

    def _device(self) -> torch.device:
        resident = self.hparams["device_resident"]
        device = torch.device("cpu")
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
        if resident is None:
            resident = device.type == "cuda"
        return device if resident else torch.device("cpu")

    # ---- molecules ------------------------------------------------------------------------

    @property
    def store(self) -> MoleculeStore:
        """All molecules, ready to be collated.

        Raises
        ------
        RuntimeError
            Before `setup`.
        """
        if self._store is None:
            raise RuntimeError("call prepare_data() and setup() first")
        return self._store

    def batch(self, indices: Tensor | Sequence[int]) -> Batch:
        """Collate any molecules.

        Parameters
        ----------
        indices : Tensor or sequence of int
            [g] rows of the data, as in `splits` and in a batch's ``idx``.

        Returns
        -------
        Batch
            With ``z``, ``pos``, ``edge_index``, ``batch``, ``ptr``, ``y`` (target's unit) and
            ``idx``, on the device where the molecules are.
        """
        rows = torch.as_tensor(indices, dtype=torch.int64, device="cpu").reshape(-1)
        return self.store[rows]

    def training_sizes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Sizes of the training molecules, on the host.

        Returns
        -------
        num_atoms : array
            [molecules] int64.
        neighbor_counts : array
            [sum of num_atoms] int64, edges into every atom.
        """
        return self.store.sizes(self.splits["train"])

    def targets(self, part: str) -> NDArray[np.float64]:
        """Get the target of one part's molecules.

        Parameters
        ----------
        part : str
            Key of `splits`.

        Returns
        -------
        array
            [molecules] float64, or [molecules, m] for a vector or tensor, target's unit.
        """
        return self.all_targets()[self.splits[part]].numpy()

    def element_counts(self, part: str) -> NDArray[np.int64]:
        """Count the elements of one part's molecules.

        Parameters
        ----------
        part : str
            Key of `splits`.

        Returns
        -------
        array
            [molecules, max z + 1] int64, columns are atomic numbers.
        """
        if self._element_counts is None:
            self._element_counts = element_counts(*self.atoms())
        counts: NDArray[np.int64] = self._element_counts[self.splits[part].numpy()]
        return counts

    # ---- loaders --------------------------------------------------------------------------

    @override
    def train_dataloader(self) -> MoleculeLoader:
        """Shuffled batches of the training part; seed and epoch alone decide their order.

        With several processes every batch has a ``loss_weight``, see `MoleculeLoader`.
        """
        seed = self.hparams["shuffle_seed"]
        if seed is None:
            seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        return self.shuffled(seed)

    def shuffled(self, seed: int) -> MoleculeLoader:
        """Shuffled batches of the training part, as in `train_dataloader`, with another order.

        Parameters
        ----------
        seed : int
            Decides on the order, together with the epoch of the loader's sampler.
        """
        return self._loader("train", self.hparams["batch_size"], seed)

    @override
    def val_dataloader(self) -> MoleculeLoader:
        """Batches of ``val_select``, each molecule exactly once over all processes.

        They have fewer than ``eval_batch_size`` molecules where these are so large that there would
        be more than `MOST_EVALUATED_EDGES` edges in a batch.
        """
        return self._loader("val_select", self._evaluated_at_once("val_select"))

    @override
    def test_dataloader(self) -> MoleculeLoader:
        """Batches of the test part, each molecule exactly once, as in `val_dataloader`."""
        return self._loader("test", self._evaluated_at_once("test"))

    @override
    def predict_dataloader(self) -> MoleculeLoader:
        """Batches of the test part, as in `test_dataloader`."""
        return self.test_dataloader()

    def _evaluated_at_once(self, part: str) -> int:
        """Molecules per batch, over all processes; at least one for each."""
        most = MOST_EVALUATED_EDGES // max(1, int(self.store.num_edges(self.splits[part]).max()))
        world_size = self.trainer.world_size if self.trainer is not None else 1
        wanted: int = self.hparams["eval_batch_size"]
        return min(wanted, max(most, world_size))

    def _loader(self, part: str, batch_size: int, seed: int | None = None) -> MoleculeLoader:
        rank, world_size = 0, 1
        if self.trainer is not None:
            rank, world_size = self.trainer.global_rank, self.trainer.world_size
        sampler = EpochSampler(
            self.splits[part], batch_size, seed=seed, rank=rank, world_size=world_size
        )
        return MoleculeLoader(self.store, sampler)

    @override
    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch, unless it was collated on that device."""
        if self.store.device == device:
            return batch
        return batch.to(device, non_blocking=True)

    # ---- the split is saved with a run ----------------------------------------------------

    def save_splits(self, path: str | os.PathLike[str]) -> None:
        """Write the data set's own numbers of the three parts' molecules to ``splits.npz``.

        Parameters
        ----------
        path : path
            Destination; replaced atomically.
        """
        write_splits(Path(path), self._numbered_splits())

    def check_splits(self, path: str | os.PathLike[str]) -> None:
        """Compare the split with the one that `save_splits` wrote.

        Parameters
        ----------
        path : path
            As given to `save_splits`.

        Raises
        ------
        ValueError
            If the file cannot be read or holds another split.
        """
        part = self._numbered_splits().first_difference(read_splits(Path(path)))
        if part is not None:
            raise ValueError(
                f"the {part} part differs from the one in {path}: use the run's own split, "
                "split_seed and sizes, or start over with --fresh"
            )

    def _numbered_splits(self) -> Splits:
        numbers = self.numbers()
        train, val, test = (
            numbers[self.splits[part]].numpy().astype(np.int64) for part in ("train", "val", "test")
        )
        return Splits(train=train, val=val, test=test)
