"""`QM9DataModule`: QM9's molecules for training, validation, test and prediction.

Imports Lightning, `networks` and `qm9`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch_geometric.data import Batch
from typing_extensions import override

from networks.cuda_graph import BatchShape, likely_shape
from qm9.batching import EpochSampler, MoleculeLoader, MoleculeStore
from qm9.cache import PreparedData, load_or_build
from qm9.graphs import radius_edges
from qm9.source import NUM_MOLECULES
from qm9.splits import check_size, make_splits, part_sizes
from qm9.targets import get_target

GRAPHS = ("bonds", "radius")
MAX_CUTOFF = 1000.0
"""Angstrom; no molecule of QM9 is a fiftieth as large."""


class QM9DataModule(LightningDataModule):
    """QM9 with one target, one graph and one split.

    Parameters
    ----------
    target : str
        Name of the target, as in `qm9.targets.TARGETS`.
    graph : {"bonds", "radius"}
        Edges between bonded atoms (the published choice), or between all atoms within `cutoff`.
    cutoff : float
        Radius of the radius graph, angstrom; without effect on bonds.
    split : {"standard", "published"}
        110,000 / 10,000 / the rest, or 80 / 10 / 10 per cent.
    split_seed : int
        Seed of the permutation that the split cuts.
    train_size, val_size, test_size : int, optional
        Take only the first so many molecules of a part, so that smaller sets nest in larger ones.
    batch_size : int
        Molecules a training step, over all processes: two processes take half of it each.
    eval_batch_size : int
        The same for validation, test and prediction.
    shuffle_seed : int, optional
        Seed of the training order; by default the one that `seed_everything` was given, else 0.
    cache_dir : str, optional
        Folder of the prepared data; by default below the user's cache folder.
    device_resident : bool, optional
        Keep the molecules on the training device and collate there; by default on CUDA only.

    Attributes
    ----------
    target : Target
        Name, unit, reporting unit and factor.
    data : PreparedData
        All molecules as flat tensors; after `setup`.
    splits : dict of str to Tensor
        ``train``, ``val``, ``test``: int64 rows of `data`; after `setup`.
    target_mean, target_std : float
        Of the training part alone, in the target's unit; after `setup`.

    Raises
    ------
    ValueError
        If an argument is unusable; says what is allowed. No data is touched.
    """

    data: PreparedData
    splits: dict[str, Tensor]
    target_mean: float
    target_std: float

    def __init__(
        self,
        target: str = "U0",
        graph: str = "bonds",
        cutoff: float = 6.0,
        split: str = "standard",
        split_seed: int = 0,
        train_size: int | None = None,
        val_size: int | None = None,
        test_size: int | None = None,
        batch_size: int = 32,
        eval_batch_size: int = 256,
        shuffle_seed: int | None = None,
        cache_dir: str | None = None,
        device_resident: bool | None = None,
    ) -> None:
        super().__init__()
        self.target = get_target(target)
        if graph not in GRAPHS:
            raise ValueError(f"graph {graph!r} is unknown: choose one of {', '.join(GRAPHS)}")
        if not 0 < cutoff <= MAX_CUTOFF:
            raise ValueError(
                f"cutoff {cutoff} is out of range: give a positive number of angstrom, at most "
                f"{MAX_CUTOFF:g}"
            )
        sizes = part_sizes(split, NUM_MOLECULES)
        for name, size, largest in zip(
            ("train_size", "val_size", "test_size"), (train_size, val_size, test_size), sizes
        ):
            check_size(name, size, largest)
        for name, number in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if number < 1:
                raise ValueError(f"{name} {number} is out of range: give 1 or more")
        for name, seed in (("split_seed", split_seed), ("shuffle_seed", shuffle_seed)):
            if seed is not None and seed < 0:
                raise ValueError(f"{name} {seed} is negative: give 0 or more")
        # Not to the loggers: the model has a target and a cutoff of its own among its own.
        self.save_hyperparameters(logger=False)
        self._store: MoleculeStore | None = None

    # ---- preparation ----------------------------------------------------------------------

    @override
    def prepare_data(self) -> None:
        """Build the cache if there is none; Lightning calls this once a node."""
        load_or_build(self.hparams["cache_dir"])

    @override
    def setup(self, stage: str | None = None) -> None:
        """Load the cache, draw the split and place the molecules on the device.

        What is there already stays: only another device or precision moves the molecules.
        """
        if not hasattr(self, "data"):
            self._load()
        device, dtype = self._device(), self._dtype()
        if self._store is None or (self._store.device, self._store.pos.dtype) != (device, dtype):
            self._store = self.place(device, dtype)

    def _load(self) -> None:
        hp = self.hparams
        self.data = load_or_build(hp["cache_dir"])
        self.splits = make_splits(
            hp["split"],
            hp["split_seed"],
            len(self.data),
            train_size=hp["train_size"],
            val_size=hp["val_size"],
            test_size=hp["test_size"],
        )
        train_y = self.data.target(self.target.name)[self.splits["train"]]
        self.target_mean = float(train_y.mean())
        # A single molecule has no spread to divide by.
        self.target_std = float(train_y.std(correction=0)) or 1.0

    def place(self, device: torch.device, dtype: torch.dtype = torch.float32) -> MoleculeStore:
        """Put all molecules and their edges on a device, ready to be collated there.

        Parameters
        ----------
        device : torch.device
            Where.
        dtype : torch.dtype
            Of the positions.

        Returns
        -------
        MoleculeStore
        """
        data = self.data
        if self.hparams["graph"] == "bonds":
            edges, offsets = data.bonds, data.bond_offsets
        else:
            # All of QM9 in half a second and 80 MB; a batch would take longer to find its own
            # edges than to gather these.
            edges, offsets = radius_edges(data.pos, data.node_offsets, self.hparams["cutoff"])
        y = data.target(self.target.name)
        return MoleculeStore(
            data.z, data.pos.to(dtype), data.node_offsets, edges, offsets, y, device
        )

    def _dtype(self) -> torch.dtype:
        """Floating-point type of positions: that of the trainer's parameters."""
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
            [g] rows of `data`, as in `splits` and in a batch's `idx`.

        Returns
        -------
        Batch
            With `z`, `pos`, `edge_index`, `batch`, `ptr`, `y` (target's unit) and `idx`, on the
            device where the molecules are.
        """
        rows = torch.as_tensor(indices, dtype=torch.int64, device="cpu").reshape(-1)
        return self.store[rows]

    def batch_shape(self) -> BatchShape:
        """Room for nearly every training batch, so that all can be given one shape.

        Returns
        -------
        BatchShape
        """
        num_nodes, neighbor_counts = self.store.sizes(self.splits["train"])
        return likely_shape(num_nodes, neighbor_counts, self.hparams["batch_size"])

    def smiles(self, index: int) -> str:
        """SMILES of the molecule in a row of `data`."""
        return self.data.smiles(int(index))

    def molecule(self, index: int) -> tuple[int, str]:
        """QM9's own 1-based index and the SMILES of the molecule in a row of `data`."""
        return int(self.data.index[int(index)]), self.smiles(index)

    # ---- loaders --------------------------------------------------------------------------

    @override
    def train_dataloader(self) -> MoleculeLoader:
        """Shuffled batches of the training part; the order follows from seed and epoch alone.

        With several processes a batch has a `loss_weight`, see `MoleculeLoader`.
        """
        seed = self.hparams["shuffle_seed"]
        if seed is None:
            seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        return self._loader("train", self.hparams["batch_size"], seed)

    @override
    def val_dataloader(self) -> MoleculeLoader:
        """Batches of the validation part, each molecule exactly once over all processes."""
        return self._loader("val", self.hparams["eval_batch_size"])

    @override
    def test_dataloader(self) -> MoleculeLoader:
        """Batches of the test part, each molecule exactly once over all processes."""
        return self._loader("test", self.hparams["eval_batch_size"])

    @override
    def predict_dataloader(self) -> MoleculeLoader:
        """Batches of the test part, as in `test_dataloader`."""
        return self.test_dataloader()

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
        """Move a batch, unless it was collated there."""
        if self.store.device == device:
            return batch
        return batch.to(device, non_blocking=True)

    # ---- the split, kept with a run -------------------------------------------------------

    def save_splits(self, path: str | os.PathLike[str]) -> None:
        """Write QM9's own indices of every part to an ``.npz`` file, atomically.

        Parameters
        ----------
        path : path
            The file; its folder must exist.
        """
        path = Path(path)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                np.savez_compressed(file, **self._numbers())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def check_splits(self, path: str | os.PathLike[str]) -> None:
        """Compare the split with the one that `save_splits` wrote.

        Raises
        ------
        ValueError
            If the file cannot be read or holds another split.
        """
        try:
            # np.load would leave a file that it opened itself open if it is no archive.
            with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as saved:
                parts: dict[str, Any] = {name: saved[name] for name in ("train", "val", "test")}
        except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
            raise ValueError(
                f"{path} cannot be read as a saved split ({error}): remove it to write it anew"
            ) from error
        for name, numbers in self._numbers().items():
            if not np.array_equal(parts[name], numbers):
                raise ValueError(
                    f"the {name} part differs from the one in {path}: use the run's own split, "
                    "split_seed and sizes, or start over with --fresh"
                )

    def _numbers(self) -> dict[str, Any]:
        return {name: self.data.index[rows].numpy() for name, rows in self.splits.items()}
