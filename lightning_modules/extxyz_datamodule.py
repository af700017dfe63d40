"""`ExtXYZDataModule`: a user's own structures, molecules or crystals, from extended XYZ files.

Imports Lightning, `qm9`, `structures`, `records` and this package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from ase.formula import Formula
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Batch
from typing_extensions import override

from lightning_modules.molecule_datamodule import MoleculeDataModule, check_loading
from lightning_modules.own_target import find_target
from qm9.baselines import MAX_FITTED, CountedBonds, measure_linear
from qm9.batching import FieldKind, MoleculeLoader, MoleculeStore
from qm9.composition import CompositionFit
from qm9.graphs import COVALENT_RADII, bond_edges
from qm9.splits import PARTS, validation_halves
from records.baselines import Baselines
from structures.bonds import bond_counts
from structures.cache import Labels, StructureData, join, load_structures, name_structure
from structures.graphs import Graphs, radius_graphs
from structures.references import fit_element_references, outside_of
from structures.splits import draw_parts

MAX_CUTOFF = 100.0
"""Angstrom; the neighbours of a solid within it would fill any memory."""
MAX_BONDED_ATOMS = 127
"""Largest molecule whose bonds are found, which are numbered in 8 bits."""


class ExtXYZDataModule(MoleculeDataModule):
    """Structures of one's own, read by ASE from extended XYZ.

    Every frame has the target in its comment line and, to train on forces, three columns of them.
    Frames may be periodic (``Lattice``, ``pbc``); neighbours are found through all images. The
    validation part is cut into two halves as QM9's is (`QM9DataModule`).

    Parameters
    ----------
    path : str
        File of extended XYZ; there is no default.
    target : str
        Key of the target in the comment lines, e.g. ``energy``.
    unit : str, optional
        Unit of the target in the file. Errors of energies in eV are reported in meV. None stands
        for a target of QM9, which a checkpoint may have been trained on.
    forces : str, optional
        Name of the column of forces, in `unit` per angstrom; used if ``model.force_weight`` is
        positive. Null reads none.
    graph : {"radius", "bonds"}
        ``radius``: edges between all atoms and images within `cutoff`; ``bonds``: between bonded
        atoms, for molecules of H, C, N, O and F.
    cutoff : float
        Radius of the graph, angstrom.
    val_path : str, optional
        File of the validation part. By default it is drawn from `path`.
    test_path : str, optional
        File of the test part. By default it is drawn from `path`.
    split : {"auto", "random"}
        Parts of `path`. ``auto``: what the frames themselves say with ``split=train``, ``val`` or
        ``test``, if all of them do, otherwise drawn at random.
    split_seed : int
        Seed of the order from which parts are drawn.
    train_size : int, optional
        Use only this many training structures, from the beginning of the part; by default all.
    val_size : int, optional
        Size of the validation part, at least 2; by default a tenth of the structures of `path`,
        or all of `val_path`.
    test_size : int, optional
        The same for the test part, at least 1.
    batch_size : int
        Structures per training step, over all processes.
    eval_batch_size : int
        Structures per batch in validation, test and prediction; fewer where these are so large that
        they would have more than 500,000 edges together.
    shuffle_seed : int, optional
        Seed of the training order; by default the seed given to `seed_everything`, otherwise 0.
    cache_dir : str, optional
        Folder of the prepared data; by default in the user's cache folder.
    device_resident : bool, optional
        Keep all structures on the training device and collate there; by default only on CUDA.
    mixed_periodicity : bool
        Allow periodic structures and others in the same file.
    evaluate_only : bool
        All frames of `path` are the test part, and labels may be missing. The commands ``test`` and
        ``predict`` set it where they are given a file.

    Attributes
    ----------
    data : StructureData
        All structures as flat tensors; set by `load`.
    files : list of Path
        The files given, `path` first.

    Raises
    ------
    ValueError
        If an argument is unusable; says what is allowed. No data is read before that.
    """

    data: StructureData
    strict_elements = True
    """No network may see an element that its training part lacked."""
    molecule_columns = ("frame", "formula")

    def __init__(
        self,
        path: str | None = None,
        target: str = "energy",
        unit: str | None = "eV",
        forces: str | None = "forces",
        graph: str = "radius",
        cutoff: float = 6.0,
        val_path: str | None = None,
        test_path: str | None = None,
        split: str = "auto",
        split_seed: int = 0,
        train_size: int | None = None,
        val_size: int | None = None,
        test_size: int | None = None,
        batch_size: int = 32,
        eval_batch_size: int = 64,
        shuffle_seed: int | None = None,
        cache_dir: str | None = None,
        device_resident: bool | None = None,
        mixed_periodicity: bool = False,
        evaluate_only: bool = False,
    ) -> None:
        super().__init__()
        self.target = find_target(target, unit)
        if path is None:
            raise ValueError("data.path is missing: give a file of extended XYZ")
        batch_sizes = {"batch_size": batch_size, "eval_batch_size": eval_batch_size}
        seeds = {"split_seed": split_seed, "shuffle_seed": shuffle_seed}
        check_loading(graph, cutoff, MAX_CUTOFF, batch_sizes, seeds)
        if split not in ("auto", "random"):
            raise ValueError(f"split {split!r} is unknown: choose auto or random")
        for option, file in (("path", path), ("val_path", val_path), ("test_path", test_path)):
            if file is not None and ("\0" in file or not Path(file).expanduser().is_file()):
                raise ValueError(f"data.{option} {file!r} is no file: give one of extended XYZ")
        if evaluate_only and (val_path or test_path):
            raise ValueError("val_path and test_path have no use here: give the file as path alone")
        self.save_hyperparameters(logger=False)
        self.files = [Path(f).expanduser() for f in (path, val_path, test_path) if f is not None]
        self._sizes: list[int] = []
        self._digests: list[str] = []
        self._graphs: Graphs | None = None

    @property
    def is_whole_file(self) -> bool:
        """Whether all structures are there to be evaluated."""
        return bool(self.hparams["evaluate_only"])

    # ---- preparation ----------------------------------------------------------------------

    @override
    def prepare_data(self) -> None:
        """Read the files into the cache, unless they are there; Lightning calls this once."""
        self._read_files()

    def _read_files(self) -> list[tuple[StructureData, str]]:
        hp = self.hparams
        labels = Labels(
            target=hp["target"],
            forces=hp["forces"],
            required=not hp["evaluate_only"],
            mixed_periodicity=hp["mixed_periodicity"],
        )
        return [load_structures(path, labels, hp["cache_dir"]) for path in self.files]

    def check(self) -> None:
        """Read everything and find all neighbours, so that errors come before training.

        Raises
        ------
        ValueError
            If a file is unusable; names frame and line.
        """
        self.load()
        self._find_graphs()

    @override
    def load(self) -> None:
        """Load the structures and draw the parts, unless that was done."""
        if hasattr(self, "data"):
            return
        read = self._read_files()
        self._sizes = [len(data) for data, _ in read]
        self._digests = [digest for _, digest in read]
        data = join([data for data, _ in read])
        self.splits = self._parts(data)
        self.data = data  # last: nothing half read may be taken for the data
        if self.hparams["unit"] is None:
            self._check_qm9_elements()
        if self.hparams["evaluate_only"]:
            return
        self._check_elements()
        train_y = data.energy[self.splits["train"]]
        self.target_mean = float(train_y.mean())
        # A single structure has no spread, and division by zero is to be avoided.
        self.target_std = float(train_y.std(correction=0)) or 1.0

    def _parts(self, data: StructureData) -> dict[str, Tensor]:
        hp = self.hparams
        if hp["evaluate_only"]:
            return {"test": torch.arange(len(data))}
        names = ["path", *(part for part in ("val", "test") if hp[f"{part}_path"] is not None)]
        files = torch.arange(len(data)).split(self._sizes)
        parts = draw_parts(
            dict(zip(names, files)),
            data.split,
            by_key=hp["split"] == "auto",
            seed=hp["split_seed"],
            sizes={part: hp[f"{part}_size"] for part in PARTS},
            name=lambda row: self._name(data, row),
        )
        return parts | validation_halves(parts["val"])

    def _name(self, data: StructureData, row: int) -> str:
        """Name a structure by file, frame and line."""
        file = int(np.searchsorted(np.cumsum(self._sizes), row, side="right"))
        return name_structure(self.files[file], data, row)

    def _check_elements(self) -> None:
        """Refuse elements without training structures, and mention compositions without any."""
        trained = self.element_counts("train")
        known = trained.any(axis=0)
        for part in ("val", "test"):
            counts, rows = self.element_counts(part), self.splits[part]
            strange = (counts > 0) & ~known
            if strange.any():
                at, element = (int(each[0]) for each in np.nonzero(strange))
                raise ValueError(
                    f"{self._name(self.data, int(rows[at]))} is in the {part} part and has "
                    f"{chemical_symbols[element]}, which no training structure has: give training "
                    "structures with this element, or remove it"
                )
            outside = outside_of(trained, counts)
            if outside.any():
                row = int(rows[int(np.argmax(outside))])
                rank_zero_info(
                    f"note: {self._name(self.data, row)} ({self.molecule(row)[1]}) is in the "
                    f"{part} part, and its composition is no combination of those in the training "
                    "part: its energy reference is a guess"
                )

    def _check_qm9_elements(self) -> None:
        """Refuse elements that QM9 does not have, for networks that were trained on it."""
        strange = ~torch.isin(self.data.z, torch.tensor(list(COVALENT_RADII), dtype=torch.uint8))
        if strange.any():
            atom = int(strange.nonzero()[0])
            raise ValueError(
                f"{self._name(self.data, self._row_of(atom))} has "
                f"{chemical_symbols[int(self.data.z[atom])]}, which QM9 does not have: the network "
                "has been trained on H, C, N, O and F"
            )

    def _row_of(self, atom: int) -> int:
        """Find the structure that an atom belongs to."""
        return int(torch.searchsorted(self.data.node_offsets, atom, right=True)) - 1

    def _find_graphs(self) -> Graphs:
        if self._graphs is None:
            cutoff, data = self.hparams["cutoff"], self.data
            if self.hparams["graph"] == "bonds":
                self._graphs = self._bonds()
            else:
                self._graphs = radius_graphs(data, cutoff, lambda row: self._name(data, row))
        return self._graphs

    def _bonds(self) -> Graphs:
        """Chemical bonds as QM9 has them, for molecules of its elements."""
        data = self.data
        sizes = data.node_offsets.diff()
        is_large = sizes > MAX_BONDED_ATOMS
        structure = torch.repeat_interleave(torch.arange(len(data)), sizes)
        is_strange = ~torch.isin(data.z, torch.tensor(list(COVALENT_RADII), dtype=torch.uint8))
        for rows, what in (
            (data.periodic.any(1).nonzero(), "is periodic"),
            (is_large.nonzero(), f"has more than {MAX_BONDED_ATOMS} atoms"),
            (structure[is_strange][:, None], "has elements other than H, C, N, O and F"),
        ):
            if len(rows):
                raise ValueError(
                    f"{self._name(data, int(rows[0]))} {what}, which a network on the graph of "
                    "chemical bonds has not seen: use one that was trained with data.graph radius"
                )
        edges, offsets = bond_edges(data.pos, data.z, data.node_offsets)
        none = torch.zeros(edges.shape[1], dtype=torch.int32)
        return Graphs(edges, offsets, none[:, None].expand(-1, 3), none)

    @override
    def place(self, device: torch.device, dtype: torch.dtype = torch.float32) -> MoleculeStore:
        """Put all structures and their edges on a device, ready to be collated there."""
        data, graphs = self.data, self._find_graphs()
        more: dict[str, tuple[FieldKind, Tensor]] = {}
        if data.periodic.any():
            more = {
                "edge_shift": ("edge", graphs.shifts),
                "reverse_step": ("edge", graphs.reverse_step),
                "cell": ("graph", data.cells.to(dtype)),
            }
        if len(data.forces):
            more["forces"] = ("node", data.forces)
        return MoleculeStore(
            data.z,
            data.pos.to(dtype),
            data.node_offsets,
            graphs.edges,
            graphs.offsets,
            self.all_targets(),
            device,
            more,
        )

    @override
    @torch.inference_mode(False)
    def transfer_batch_to_device(
        self, batch: Batch, device: torch.device, dataloader_idx: int
    ) -> Batch:
        """Move a batch, unless it was collated on that device; it can enter autograd there."""
        return super().transfer_batch_to_device(batch, device, dataloader_idx)

    # ---- structures -----------------------------------------------------------------------

    @override
    def atoms(self) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
        """Get the atomic numbers of all structures, and the first atom of each."""
        return self.data.z.numpy(), self.data.node_offsets.numpy()

    @override
    def all_targets(self) -> Tensor:
        """Get the target of all structures; NaN where a file has none, as of any vector."""
        if self.target.rank:
            return torch.full((len(self.data), *self.target.shape), torch.nan, dtype=torch.float64)
        return self.data.energy

    @override
    def numbers(self) -> Tensor:
        """Count the structures from 1, through all files."""
        return torch.arange(1, len(self.data) + 1)

    def composition_fit(self) -> CompositionFit:
        """Fit references per element to the training part, without an intercept.

        If its compositions do not determine every element's, this is said in one line.
        """
        fit = fit_element_references(self.element_counts("train"), self.targets("train"))
        if fit.rank < fit.num_elements:
            symbols = ", ".join(chemical_symbols[z] for z in np.flatnonzero(~np.isnan(fit.weights)))
            rank_zero_info(
                f"note: the training structures' compositions ({fit.rank} independent) do not "
                f"determine a reference of each of {symbols}: the smallest that fit are taken, "
                "which hold for combinations of these compositions only"
            )
        return CompositionFit(fit.weights, 0.0)

    def check_forces(self) -> None:
        """Refuse training structures without forces.

        Raises
        ------
        ValueError
            Names the first.
        """
        data, column = self.data, self.hparams["forces"]
        if len(data.forces):
            missing = torch.isnan(data.forces).any(1)
            if not missing.any():
                return
            atom = int(missing.nonzero()[0])
        else:
            atom = 0
        row = self._row_of(atom)
        raise ValueError(
            f"{self._name(data, row)} has no forces{f' in a column {column!r}' if column else ''}, "
            "which force_weight needs: name their column with --data.forces, or give "
            "--model.force_weight=0"
        )

    def check_size_of_embedding(self, num_elements: int) -> None:
        """Refuse elements for which a network has no row.

        Parameters
        ----------
        num_elements : int
            Rows of its embedding.

        Raises
        ------
        ValueError
            Names the first structure with such an element.
        """
        z = self.data.z
        if int(z.max()) < num_elements:
            return
        atom = int((z >= num_elements).nonzero()[0])
        row = self._row_of(atom)
        raise ValueError(
            f"{self._name(self.data, row)} has {chemical_symbols[int(z[atom])]}, atomic number "
            f"{int(z[atom])}, but the network has {num_elements} elements: give "
            f"--model.num_elements={int(z.max()) + 1} or more"
        )

    @override
    def baselines(self) -> dict[str, float]:
        """Measure predictors without a network; bonds are pairs of atoms close to each other."""
        bonds = bond_counts(self.data, self._find_graphs())
        train, test, val = (
            CountedBonds(
                self.element_counts(part)[:most],
                bonds[self.splits[part][:most].numpy()],
                self.targets(part)[:most],
            )
            for part, most in (("train", MAX_FITTED), ("test", None), ("val_select", None))
        )
        on_test, on_val = measure_linear(train, (test, val), self.target.reporting_factor)
        return Baselines(*on_test).to_results() | Baselines(*on_val).to_results("val_")

    @override
    def smiles(self, index: int) -> str:
        """Return an empty string: files of coordinates have no SMILES."""
        return ""

    @override
    def molecule(self, index: int) -> tuple[int, str]:
        """Look up the number of a structure, from 1 through all files, and its formula."""
        start, stop = self.data.node_offsets[index : index + 2].tolist()
        symbols = [chemical_symbols[z] for z in self.data.z[start:stop].tolist()]
        return int(index) + 1, str(Formula.from_list(symbols).format("hill"))

    @override
    def test_dataloader(self) -> MoleculeLoader:
        """Batches of the test part, all of whose structures must have the target.

        Raises
        ------
        ValueError
            Names the first that has not.
        """
        rows = self.splits["test"]
        missing = torch.isnan(self.all_targets()[rows].view(len(rows), -1)).any(dim=1).nonzero()
        if len(missing):
            raise ValueError(
                f"{self._name(self.data, int(rows[missing[0]]))} has no {self.target.name!r}: "
                "`train.py predict` needs none"
            )
        return super().test_dataloader()

    @override
    def predict_dataloader(self) -> MoleculeLoader:
        """Batches of the test part, in the order of their file."""
        return super().test_dataloader()

    # ---- a checkpoint remembers what it was trained on --------------------------------------

    @override
    def state_dict(self) -> dict[str, Any]:
        """Keep the checksums of the files."""
        return {"files": list(self._digests)}

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuse to continue on other structures than a run began with.

        Raises
        ------
        ValueError
            If a file has changed.
        """
        if state_dict.get("files") != self._digests:
            raise ValueError(
                f"{', '.join(str(path) for path in self.files)} changed since the run began: "
                "restore the file, or start over with --fresh"
            )
