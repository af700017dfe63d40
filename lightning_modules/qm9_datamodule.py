"""`QM9DataModule`: QM9's molecules for training, validation, test and prediction.

Imports Lightning, `qm9` and `records`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch
from typing_extensions import override

from qm9.baselines import MAX_FITTED, CountedMolecules, measure_baselines
from qm9.batching import EpochSampler, MoleculeLoader, MoleculeStore
from qm9.cache import PreparedData, load_or_build
from qm9.composition import element_counts
from qm9.graphs import radius_edges
from qm9.source import NUM_MOLECULES
from qm9.splits import check_size, make_splits, part_sizes, validation_halves
from qm9.targets import Target, get_target
from records.baselines import Baselines
from records.splits import Splits, read_splits, write_splits

GRAPHS = ("bonds", "radius")
MAX_CUTOFF = 1000.0
"""Angstrom; no molecule of QM9 is a fiftieth as large."""


class QM9DataModule(LightningDataModule):
    """QM9 with one target, one graph and one split.

    The validation part is cut into two disjoint halves. Lightning validates on ``val_select``:
    ``val/mae`` and all other ``val/...`` metrics are of these molecules, and the best checkpoint is
    chosen by them. Callbacks measure utilization and latent spaces on ``val_measure``, which has
    had no part in that choice.

    Parameters
    ----------
    target : str
        One of U0, U, H, G, homo, lumo, gap, zpve, mu, alpha, r2, cv, alpha_aniso; they are
        described in `qm9.targets.TARGETS`.
    graph : {"bonds", "radius"}
        ``bonds``: edges between bonded atoms (the published choice); ``radius``: between all atoms
        within `cutoff`.
    cutoff : float
        Radius of the radius graph, angstrom; without effect on bonds.
    split : {"standard", "published"}
        ``standard``: 110,000 / 10,000 / the rest; ``published``: 80 / 10 / 10 per cent of the
        molecules.
    split_seed : int
        Seed of the permutation that is cut into the three parts.
    train_size : int, optional
        Use only this many training molecules, from the beginning of the part, so that smaller sets
        nest in larger ones; by default all.
    val_size : int, optional
        As `train_size`, for validation. Counts both halves of the part and is at least 2.
    test_size : int, optional
        As `train_size`, for the test.
    batch_size : int
        Molecules per training step, over all processes: each of two processes takes half of them.
    eval_batch_size : int
        Molecules per batch in validation, test and prediction, over all processes.
    shuffle_seed : int, optional
        Seed of the training order; by default the seed given to `seed_everything`, otherwise 0.
    cache_dir : str, optional
        Folder of the prepared data; by default in the user's cache folder.
    device_resident : bool, optional
        Keep all molecules on the training device and collate there; by default only on CUDA.

    Attributes
    ----------
    data : PreparedData
        All molecules as flat tensors; set by `setup`.
    splits : dict of str to Tensor
        ``train``, ``val``, ``test``, and ``val``'s halves ``val_select`` and ``val_measure``: int64
        rows of `data`; set by `setup`.
    target_mean, target_std : float
        Mean and standard deviation over the training part, in the target's unit; set by `setup`.

    Raises
    ------
    ValueError
        If an argument is unusable; says what is allowed. No data is read before that.
    """

    target: Target
    """Name, unit, reporting unit and factor."""
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
            check_size(name, size, largest, smallest=2 if name == "val_size" else 1)
        for name, number in (("batch_size", batch_size), ("eval_batch_size", eval_batch_size)):
            if number < 1:
                raise ValueError(f"{name} {number} is out of range: give 1 or more")
        for name, seed in (("split_seed", split_seed), ("shuffle_seed", shuffle_seed)):
            if seed is not None and seed < 0:
                raise ValueError(f"{name} {seed} is negative: give 0 or more")
        # Not sent to the loggers: the model's hyperparameters hold a target and a cutoff as well.
        self.save_hyperparameters(logger=False)
        self._store: MoleculeStore | None = None
        self._element_counts: NDArray[np.int64] | None = None

    # ---- preparation ----------------------------------------------------------------------

    @override
    def prepare_data(self) -> None:
        """Build the cache if there is none; Lightning calls this once per node."""
        load_or_build(self.hparams["cache_dir"])

    @override
    def setup(self, stage: str | None = None) -> None:
        """Load the cache, draw the split and place the molecules on the device.

        A later call does only what is still missing, or moves the molecules to another device or
        precision.
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
        self.splits |= validation_halves(self.splits["val"])
        train_y = self.data.target(self.target.name)[self.splits["train"]]
        self.target_mean = float(train_y.mean())
        # A single molecule has no spread, and division by zero is to be avoided.
        self.target_std = float(train_y.std(correction=0)) or 1.0

    def place(self, device: torch.device, dtype: torch.dtype = torch.float32) -> MoleculeStore:
        """Put all molecules and their edges on a device, ready to be collated there.

        Parameters
        ----------
        device : torch.device
            Device of the molecules and of the batches.
        dtype : torch.dtype
            Type of the positions.
        """
        data = self.data
        if self.hparams["graph"] == "bonds":
            edges, offsets = data.bonds, data.bond_offsets
        else:
            # The edges of all QM9 take half a second and 80 MB. Searching the edges of every batch
            # anew would take longer than gathering them from here.
            edges, offsets = radius_edges(data.pos, data.node_offsets, self.hparams["cutoff"])
        y = data.target(self.target.name)
        return MoleculeStore(
            data.z, data.pos.to(dtype), data.node_offsets, edges, offsets, y, device
        )

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
            [g] rows of `data`, as in `splits` and in a batch's ``idx``.

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
            [molecules] float64, target's unit.
        """
        return self.data.target(self.target.name)[self.splits[part]].numpy()

    def element_counts(self, part: str) -> NDArray[np.int64]:
        """Count the elements of one part's molecules.

        Parameters
        ----------
        part : str
            Key of `splits`.

        Returns
        -------
        array
            [molecules, 10] int64, columns are atomic numbers.
        """
        if self._element_counts is None:
            z, offsets = self.data.z.numpy(), self.data.node_offsets.numpy()
            self._element_counts = element_counts(z, offsets)
        counts: NDArray[np.int64] = self._element_counts[self.splits[part].numpy()]
        return counts

    def baselines(self) -> dict[str, float]:
        """Measure predictors without a network on the test part and on ``val_select``.

        They are fitted to the training part, or to its first 20,000 molecules. Reading the SMILES
        takes seconds: call this once per run, on rank zero.

        Returns
        -------
        dict
            ``baseline/mean_mae``, ``baseline/elements_mae``, ``baseline/bonds_mae`` on test
            molecules, and the same with ``val_`` before the name on validation molecules, all in
            the reporting unit.
        """
        train, test, val = (
            CountedMolecules(
                self.element_counts(part)[:most],
                [self.smiles(row) for row in self.splits[part][:most].tolist()],
                self.targets(part)[:most],
            )
            for part, most in (("train", MAX_FITTED), ("test", None), ("val_select", None))
        )
        on_test, on_val = measure_baselines(train, (test, val), self.target.reporting_factor)
        return Baselines(*on_test).to_results() | Baselines(*on_val).to_results("val_")

    def smiles(self, index: int) -> str:
        """Look up the SMILES of the molecule in a row of `data`."""
        return self.data.smiles(int(index))

    def molecule(self, index: int) -> tuple[int, str]:
        """Look up QM9's own 1-based index and the SMILES of the molecule in a row of `data`."""
        return int(self.data.index[int(index)]), self.smiles(index)

    # ---- loaders --------------------------------------------------------------------------

    @override
    def train_dataloader(self) -> MoleculeLoader:
        """Shuffled batches of the training part; seed and epoch alone decide their order.

        With several processes every batch has a ``loss_weight``, see `MoleculeLoader`.
        """
        seed = self.hparams["shuffle_seed"]
        if seed is None:
            seed = int(os.environ.get("PL_GLOBAL_SEED", 0))
        return self._loader("train", self.hparams["batch_size"], seed)

    @override
    def val_dataloader(self) -> MoleculeLoader:
        """Batches of ``val_select``, each molecule exactly once over all processes."""
        return self._loader("val_select", self.hparams["eval_batch_size"])

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
        """Move a batch, unless it was collated on that device."""
        if self.store.device == device:
            return batch
        return batch.to(device, non_blocking=True)

    # ---- the split is saved with a run ----------------------------------------------------

    def save_splits(self, path: str | os.PathLike[str]) -> None:
        """Write QM9's own indices of the training, validation and test part to ``splits.npz``.

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
        train, val, test = (
            self.data.index[self.splits[part]].numpy().astype(np.int64)
            for part in ("train", "val", "test")
        )
        return Splits(train=train, val=val, test=test)
