"""`QM9DataModule`: QM9's molecules for training, validation, test and prediction.

Imports Lightning, `qm9`, `records` and this package.
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from lightning_modules.molecule_datamodule import MoleculeDataModule, check_loading
from qm9.baselines import MAX_FITTED, CountedMolecules, measure_baselines
from qm9.baselines import VERSION as BASELINES_VERSION
from qm9.batching import FieldKind, MoleculeStore
from qm9.cache import PreparedData, cache_folder, load_or_build
from qm9.graphs import radius_edges
from qm9.remembered import fingerprint, remembered
from qm9.source import NUM_MOLECULES
from qm9.splits import check_size, make_splits, part_sizes, validation_halves
from qm9.targets import COMPUTED, XTB_ENERGY, get_target
from qm9.xtb import XtbResults, check_installed, load_or_compute
from records.baselines import Baselines

MAX_CUTOFF = 1000.0
"""Angstrom; no molecule of QM9 is a fiftieth as large."""


class QM9DataModule(MoleculeDataModule):
    """QM9 with one target, one graph and one split.

    The validation part is cut into two disjoint halves. Lightning validates on ``val_select``:
    ``val/mae`` and all other ``val/...`` metrics are of these molecules, and the best checkpoint is
    chosen by them. Callbacks measure utilization and latent spaces on ``val_measure``, which has
    had no part in that choice.

    Parameters
    ----------
    target : str
        One of the scalars U0, U, H, G, homo, lumo, gap, zpve, mu, alpha, r2, cv, alpha_aniso,
        xtb_energy, the vectors charge_dipole and dipole, and the tensor quadrupole; they are
        described in `qm9.targets.TARGETS`. xtb_energy, dipole and quadrupole are computed by
        GFN2-xTB for the molecules of the run, which needs requirements-xtb.txt.
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

    data: PreparedData

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
        if target in COMPUTED:
            check_installed(target)
        batch_sizes = {"batch_size": batch_size, "eval_batch_size": eval_batch_size}
        seeds = {"split_seed": split_seed, "shuffle_seed": shuffle_seed}
        check_loading(graph, cutoff, MAX_CUTOFF, batch_sizes, seeds)
        sizes = part_sizes(split, NUM_MOLECULES)
        for name, size, largest in zip(
            ("train_size", "val_size", "test_size"), (train_size, val_size, test_size), sizes
        ):
            check_size(name, size, largest, smallest=2 if name == "val_size" else 1)
        self._results: XtbResults | None = None
        # Not sent to the loggers: the model's hyperparameters hold a target and a cutoff as well.
        self.save_hyperparameters(logger=False)

    # ---- preparation ----------------------------------------------------------------------

    @property
    def has_forces(self) -> bool:
        """Whether batches have the forces that go with the target."""
        return self.target == XTB_ENERGY

    @override
    def prepare_data(self) -> None:
        """Build the cache if there is none, and compute targets; Lightning calls it once a node."""
        if not hasattr(self, "data"):
            self.data = load_or_build(self.hparams["cache_dir"])
        if self.target.name in COMPUTED and self._results is None:
            self._results = self._compute()

    @override
    def load(self) -> None:
        """Load the cache and draw the parts, unless that was done."""
        if not hasattr(self, "splits"):
            self._load()

    def _load(self) -> None:
        self.prepare_data()
        self.splits = self._draw()
        if self._results is not None:
            self._y = self._take(self._results)
        else:
            self._y = self.data.target(self.target.name)
        self.splits |= validation_halves(self.splits["val"])
        train_y = self._y[self.splits["train"]]
        self.target_mean = 0.0 if self.target.rank else float(train_y.mean())
        # A single molecule has no spread, and division by zero is to be avoided.
        self.target_std = float((train_y - self.target_mean).square().mean().sqrt()) or 1.0

    def _draw(self) -> dict[str, Tensor]:
        """Draw the three parts."""
        hp = self.hparams
        sizes = {name: hp[name] for name in ("train_size", "val_size", "test_size")}
        return make_splits(hp["split"], hp["split_seed"], len(self.data), **sizes)

    def _compute(self) -> XtbResults:
        """Compute the target of all parts' molecules, or look it up."""
        rows = torch.cat(list(self._draw().values())).numpy()
        return load_or_compute(self.data, rows, self.hparams["cache_dir"])

    def _take(self, results: XtbResults) -> Tensor:
        """Spread results over all molecules, NaN elsewhere; leave failures out of the parts."""
        data = self.data
        y = torch.full((len(data), *self.target.shape), torch.nan, dtype=torch.float64)
        field = "energy" if self.target == XTB_ENERGY else self.target.name
        y[results.rows] = torch.from_numpy(getattr(results.moments, field))
        if len(results.failed):
            named = ", ".join(
                f"{int(data.index[row])} ({data.smiles(row)})" for row in results.failed.tolist()
            )
            rank_zero_info(
                f"note: {self.target.method} does not converge for these molecules, which are left "
                f"out: {named}"
            )
            known = torch.ones(len(data), dtype=torch.bool)
            known[results.failed] = False
            self.splits = {part: rows[known[rows]] for part, rows in self.splits.items()}
        return y

    @override
    def place(self, device: torch.device, dtype: torch.dtype = torch.float32) -> MoleculeStore:
        """Put all molecules and their edges on a device, ready to be collated there."""
        data = self.data
        if self.hparams["graph"] == "bonds":
            edges, offsets = data.bonds, data.bond_offsets
        else:
            # The edges of all QM9 take half a second and 80 MB. Searching the edges of every batch
            # anew would take longer than gathering them from here.
            edges, offsets = radius_edges(data.pos, data.node_offsets, self.hparams["cutoff"])
        more: dict[str, tuple[FieldKind, Tensor]] = {}
        if self.has_forces and self._results is not None:
            more["forces"] = ("node", self._results.forces_of_all(data))
        pos = data.pos.to(dtype)
        return MoleculeStore(data.z, pos, data.node_offsets, edges, offsets, self._y, device, more)

    # ---- molecules ------------------------------------------------------------------------

    @override
    def atoms(self) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
        """Get the atomic numbers of all molecules, and the first atom of each."""
        return self.data.z.numpy(), self.data.node_offsets.numpy()

    @override
    def all_targets(self) -> Tensor:
        """Get the target of all molecules."""
        return self._y

    @override
    def numbers(self) -> Tensor:
        """Get QM9's own 1-based indices."""
        return self.data.index

    @override
    def baselines(self) -> dict[str, float]:
        """Measure predictors without a network on the test part and on ``val_select``.

        They are fitted to the training part, or to its first 20,000 molecules. Reading the SMILES
        takes seconds, so the errors are kept in the cache's folder for later runs on the same
        molecules. Call this on rank zero.

        Returns
        -------
        dict
            ``baseline/mean_mae``, ``baseline/elements_mae``, ``baseline/bonds_mae`` on test
            molecules, and the same with ``val_`` before the name on validation molecules, all in
            the reporting unit. A vector or tensor has the first only: its mean over orientations
            is zero, and counts have no direction.
        """
        if self.target.rank:
            return self._zero_predictor()
        data, parts = self.data, ("train", "test", "val_select")
        key = fingerprint(
            (
                self.target.name,
                str(self.target.reporting_factor),
                f"baselines {BASELINES_VERSION}, rdkit {version('rdkit')}",
            ),
            [
                data.z.numpy(),
                data.smiles_text.numpy(),
                self.all_targets().numpy(),
                *(self.splits[part].numpy() for part in parts),
            ],
        )
        folder = cache_folder(self.hparams["cache_dir"])
        return remembered(folder / f"baselines-{key}.json", self._measure_baselines)

    def _zero_predictor(self) -> dict[str, float]:
        """Measure the only equivariant guess of a vector or tensor."""
        factor = self.target.reporting_factor
        on_test, on_val = (
            Baselines(float(np.abs(self.targets(part)).mean()) * factor)
            for part in ("test", "val_select")
        )
        return on_test.to_results() | on_val.to_results("val_")

    def _measure_baselines(self) -> dict[str, float]:
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

    @override
    def smiles(self, index: int) -> str:
        """Look up the SMILES of the molecule in a row of `data`."""
        return self.data.smiles(int(index))

    @override
    def molecule(self, index: int) -> tuple[int, str]:
        """Look up QM9's own 1-based index and the SMILES of the molecule in a row of `data`."""
        return int(self.data.index[int(index)]), self.smiles(index)
