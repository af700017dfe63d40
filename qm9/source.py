"""Reading QM9 out of the CSV files that the package `qm9pack` carries in its wheel.

`qm9pack` itself is located but never imported. Imports NumPy and tqdm only.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

PACKAGE = "qm9pack"
NUM_MOLECULES = 130_831
"""QM9's molecules that converged to the structure that their SMILES describes."""

PARTS = ("qm9_part1.csv", "qm9_part2.csv", "qm9_part3.csv")
POLARIZABILITY = "qm9_polarizability.csv"

ATOMIC_NUMBERS: Mapping[str, int] = {"H": 1, "C": 6, "N": 7, "O": 8, "F": 9}
STOICHIOMETRY_ORDER = ("H", "C", "N", "O", "F")

PROPERTY_COLUMNS: Mapping[str, str] = {
    "mu": "Dipole_debye",
    "alpha": "Polarizability_bohr3",
    "homo": "HOMO_au",
    "lumo": "LUMO_au",
    "gap": "HOMO_LUMO_gap_au",
    "r2": "R2_bohr2",
    "zpve": "ZPVE_au",
    "U0": "InternalEnergy_0K_au",
    "U": "InternalEnergy_298K_au",
    "H": "Enthalphy_298K_au",  # the CSV's own spelling
    "G": "GibbsFreeEnergy_298K_au",
    "cv": "Heatcapacity_Cv_cal_mol_K",
}
CHARGES = "Mulliken_pop"
"""Column of the Mulliken charges, which are net charges in e."""
PART_COLUMNS = (
    "XYZ_file",
    "Index",
    "SMILES",
    "N_atoms",
    "Stoichiometry",
    "Elements",
    "XYZ_Ang",
    CHARGES,
    *PROPERTY_COLUMNS.values(),
)
TENSOR_COLUMNS = ("A_xx", "A_xy", "A_yy", "A_xz", "A_yz", "A_zz")

RT = 0.000944
"""R T at 298.15 K in hartree, the difference between enthalpy and internal energy."""

NEUTRAL = 1e-4
"""Largest total charge of a molecule in e that is rounding."""

_REINSTALL = f"reinstall it with: pip install --force-reinstall {PACKAGE}"


@dataclass(frozen=True)
class Source:
    """Where the CSV files are and what they must hold.

    Attributes
    ----------
    directory : Path
        Folder with the four CSV files.
    version : str
        Version of the package that installed them.
    num_molecules : int
        Number of molecules in all files together.
    checksums : mapping of str to str, optional
        SHA-256 (hexadecimal) by file name, as far as the installer recorded it.
    """

    directory: Path
    version: str
    num_molecules: int = NUM_MOLECULES
    checksums: Mapping[str, str] | None = None

    def identity(self) -> dict[str, object]:
        """State the version and the file sizes, with which a prepared cache is compared.

        Raises
        ------
        ValueError
            If a file is missing.
        """
        sizes = {}
        for name in (*PARTS, POLARIZABILITY):
            path = self.directory / name
            if not path.is_file():
                raise ValueError(f"{path} is missing: {_REINSTALL}")
            sizes[name] = path.stat().st_size
        return {"package": PACKAGE, "version": self.version, "sizes": sizes}


@dataclass(frozen=True)
class RawMolecules:
    """The contents of the CSV files as flat arrays; the atoms of one molecule are contiguous.

    Attributes
    ----------
    index : array
        [mol] int32, QM9's own 1-based index.
    smiles : list of str
        [mol].
    num_atoms : array
        [mol] int64.
    z : array
        [n] uint8, atomic numbers.
    pos : array
        [n, 3] float64, angstrom. The CSV has ten decimals, more than float32 can hold.
    charges : array
        [n] float64, Mulliken charges in e.
    composition : array
        [mol, 5] int64, numbers of H, C, N, O and F.
    properties : dict of str to array
        [mol] float64 by target name, in the CSV's units.
    polarizability : array
        [mol, 6] float64, xx xy yy xz yz zz in a0^3.
    """

    index: NDArray[np.int32]
    smiles: list[str]
    num_atoms: NDArray[np.int64]
    z: NDArray[np.uint8]
    pos: NDArray[np.float64]
    charges: NDArray[np.float64]
    composition: NDArray[np.int64]
    properties: dict[str, NDArray[np.float64]]
    polarizability: NDArray[np.float64]


def find_source() -> Source:
    """Find the installed CSV files without importing the package.

    Importing it needs `pkg_resources`, which current setuptools no longer has.

    Raises
    ------
    ValueError
        If the package is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"the package {PACKAGE} is not installed: pip install {PACKAGE}")
    directory = Path(next(iter(spec.submodule_search_locations))) / "data"
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return Source(directory, "unknown")
    return Source(directory, distribution.version, checksums=_recorded_checksums(distribution))


def _recorded_checksums(distribution: importlib.metadata.Distribution) -> dict[str, str]:
    """Look up each CSV's SHA-256 (hexadecimal) in the wheel's RECORD."""
    checksums = {}
    for path in distribution.files or ():
        if path.name in (*PARTS, POLARIZABILITY) and path.hash and path.hash.mode == "sha256":
            padded = path.hash.value + "=" * (-len(path.hash.value) % 4)
            checksums[path.name] = base64.urlsafe_b64decode(padded).hex()
    return checksums


def read_molecules(source: Source, *, progress: bool = True) -> RawMolecules:
    """Read and check every molecule. Files are read row by row, so that memory stays small.

    Parameters
    ----------
    source : Source
        Where the files are.
    progress : bool
        Whether to show a progress bar.

    Raises
    ------
    ValueError
        If a file is missing or damaged. The message names the file and, if a row is damaged, that
        row (the first below the header is 1) and its line in the file.
    """
    source.identity()
    tensors = _read_polarizability(source.directory / POLARIZABILITY)
    table = _Table()
    with tqdm(
        total=source.num_molecules,
        desc="Preparing QM9",
        unit=" molecules",
        unit_scale=True,
        disable=not progress,
    ) as bar:
        for part in PARTS:
            for row in _rows(source.directory / part, PART_COLUMNS):
                table.append(row, tensors)
                bar.update()
    _check_total(source, len(table.index), tensors)
    _check_checksums(source)
    return table.arrays()


def _check_total(source: Source, found: int, tensors: Mapping[str, object]) -> None:
    if found != source.num_molecules:
        raise ValueError(
            f"{', '.join(PARTS)} in {source.directory} hold {found} molecules instead of "
            f"{source.num_molecules}; the last row read is {found}: {_REINSTALL}"
        )
    if tensors:
        raise ValueError(
            f"{source.directory / POLARIZABILITY} has {len(tensors)} rows without a molecule, the "
            f"first for {next(iter(tensors))}: {_REINSTALL}"
        )


def _check_checksums(source: Source) -> None:
    """Find a changed digit, which no check of a single row can see."""
    for name, expected in (source.checksums or {}).items():
        path = source.directory / name
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != expected:
            raise ValueError(
                f"{path} differs from the file that {PACKAGE} {source.version} installed "
                f"(SHA-256 {actual[:12]}... instead of {expected[:12]}...), although every row can "
                f"be read: {_REINSTALL}"
            )


@dataclass(frozen=True)
class _Row:
    """One row of a CSV file, with what an error message about it needs."""

    path: Path
    number: int
    line: int
    fields: Mapping[str, str]

    def error(self, problem: str) -> ValueError:
        name = self.fields.get("XYZ_file", "unnamed")[:40]
        return ValueError(
            f"{self.path}, row {self.number} (line {self.line}, {name}): {problem}; {_REINSTALL}"
        )

    def numbers(self, column: str, texts: list[str]) -> list[float]:
        try:
            values = [float(text) for text in texts]
        except ValueError:
            raise self.error(f"{column} holds something that is not a number") from None
        # A sum is finite only if every term is, and one check is faster than one per number.
        if not np.isfinite(sum(values)):
            raise self.error(f"{column} holds a number that is not finite")
        return values


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[_Row]:
    """Yield the rows of a CSV file that must have the given columns; check their field counts."""
    with path.open(newline="", encoding="ascii", errors="strict") as file:
        reader = csv.reader(file, strict=True)
        number = 0
        try:
            header = next(reader, [])
            missing = [column for column in columns if column not in header]
            if missing:
                raise ValueError(f"{path}, line 1: columns {missing} are missing: {_REINSTALL}")
            for number, fields in enumerate(reader, start=1):
                row = _Row(path, number, reader.line_num, dict(zip(header, fields)))
                if len(fields) != len(header):
                    raise row.error(f"{len(fields)} fields instead of {len(header)}")
                yield row
        except (csv.Error, UnicodeDecodeError) as error:
            # Text is decoded in blocks, ahead of the rows, so we have to search for the bad byte.
            number = _row_of_bad_byte(path) if isinstance(error, UnicodeDecodeError) else number + 1
            raise ValueError(
                f"{path}, row {number} (line {number + 1}): cannot be read as CSV ({error}): "
                f"{_REINSTALL}"
            ) from error


def _row_of_bad_byte(path: Path) -> int:
    with path.open("rb") as file:
        return next((i for i, line in enumerate(file) if not line.isascii()), 0)


def _read_polarizability(path: Path) -> dict[str, list[float]]:
    """Read six tensor components by XYZ file name; `_Table.append` removes those it has used."""
    tensors: dict[str, list[float]] = {}
    for row in _rows(path, ("XYZ_file", *TENSOR_COLUMNS)):
        name = row.fields["XYZ_file"]
        if name in tensors:
            raise row.error("the molecule is in an earlier row already")
        tensors[name] = row.numbers("A_xx to A_zz", [row.fields[c] for c in TENSOR_COLUMNS])
    return tensors


class _Table:
    """Collects rows, and checks each one before it takes it."""

    def __init__(self) -> None:
        self.index: list[int] = []
        self.smiles: list[str] = []
        self.composition: list[list[int]] = []
        self.properties: list[list[float]] = []
        self.polarizability: list[list[float]] = []
        self.z: list[bytes] = []
        self.pos: list[NDArray[np.float64]] = []
        self.charges: list[NDArray[np.float64]] = []

    def append(self, row: _Row, tensors: dict[str, list[float]]) -> None:
        index = self._index(row)
        z, composition = _elements(row)
        coordinates = _coordinates(row, len(z))
        charges = _charges(row, len(z))
        properties = row.numbers(
            "a property", [row.fields[column] for column in PROPERTY_COLUMNS.values()]
        )
        tensor = tensors.pop(row.fields["XYZ_file"], None)
        if tensor is None:
            raise row.error(f"{POLARIZABILITY} has no row for this molecule")
        _check_physics(row, dict(zip(PROPERTY_COLUMNS, properties)), tensor)
        if not row.fields["SMILES"]:
            raise row.error("SMILES is empty")
        self.index.append(index)
        self.smiles.append(row.fields["SMILES"])
        self.composition.append(composition)
        self.properties.append(properties)
        self.polarizability.append(tensor)
        self.z.append(z)
        self.pos.append(coordinates)
        self.charges.append(charges)

    def _index(self, row: _Row) -> int:
        text = row.fields["Index"]
        if not text.isdigit() or row.fields["XYZ_file"] != f"dsgdb9nsd_{int(text):06d}.xyz":
            raise row.error(f"Index {text[:40]!r} does not fit XYZ_file")
        index = int(text)
        if self.index and index <= self.index[-1]:
            raise row.error(f"Index {index} follows {self.index[-1]}: they must increase")
        return index

    def arrays(self) -> RawMolecules:
        """Convert all rows to flat arrays."""
        properties = np.array(self.properties, dtype=np.float64).reshape(-1, len(PROPERTY_COLUMNS))
        return RawMolecules(
            index=np.array(self.index, dtype=np.int32),
            smiles=self.smiles,
            num_atoms=np.array([len(z) for z in self.z], dtype=np.int64),
            z=np.frombuffer(b"".join(self.z), dtype=np.uint8),
            pos=np.concatenate(self.pos).reshape(-1, 3),
            charges=np.concatenate(self.charges),
            composition=np.array(self.composition, dtype=np.int64),
            properties={name: properties[:, i] for i, name in enumerate(PROPERTY_COLUMNS)},
            polarizability=np.array(self.polarizability, dtype=np.float64),
        )


def _elements(row: _Row) -> tuple[bytes, list[int]]:
    """Read a row's atomic numbers, and count them in the order H C N O F."""
    symbols = row.fields["Elements"][2:-2].split("','")
    unknown = next((s for s in symbols if s not in ATOMIC_NUMBERS), None)
    if unknown is not None:
        raise row.error(f"Elements holds {unknown[:10]!r}, which is none of H C N O F")
    if row.fields["N_atoms"] != str(len(symbols)):
        raise row.error(f"N_atoms is {row.fields['N_atoms'][:10]!r} for {len(symbols)} elements")
    composition = [symbols.count(symbol) for symbol in STOICHIOMETRY_ORDER]
    if row.fields["Stoichiometry"] != f"[{','.join(map(str, composition))}]":
        raise row.error("Stoichiometry does not fit Elements")
    return bytes(ATOMIC_NUMBERS[symbol] for symbol in symbols), composition


def _coordinates(row: _Row, num_atoms: int) -> NDArray[np.float64]:
    """Read a row's coordinates, [num_atoms * 3]."""
    text = row.fields["XYZ_Ang"]
    if not (text.startswith("[[") and text.endswith("]]")):
        raise row.error("XYZ_Ang is not a list of lists: [[x,y,z],...]")
    atoms = text[2:-2].split("],[")
    if len(atoms) != num_atoms:
        raise row.error(f"XYZ_Ang has the coordinates of {len(atoms)} atoms for {num_atoms}")
    values = row.numbers("XYZ_Ang", ",".join(atoms).split(","))
    # We split the text ourselves because JSON readers refuse numbers such as "0.". The total would
    # not show an atom with two numbers beside one with four, so we count the commas of each atom.
    if len(values) != 3 * num_atoms or any(atom.count(",") != 2 for atom in atoms):
        raise row.error("XYZ_Ang has an atom without exactly three coordinates")
    return np.array(values)


def _charges(row: _Row, num_atoms: int) -> NDArray[np.float64]:
    """Read a row's Mulliken charges, [num_atoms], which sum to zero up to their rounding."""
    texts = row.fields[CHARGES].removeprefix("[").removesuffix("]").split(",")
    if len(texts) != num_atoms:
        raise row.error(f"{CHARGES} has {len(texts)} charges for {num_atoms} atoms")
    charges = np.array(row.numbers(CHARGES, texts))
    if abs(total := charges.sum()) > NEUTRAL:
        raise row.error(f"the charges in {CHARGES} sum to {total:.3g} e instead of 0")
    return charges


def _check_physics(row: _Row, value: Mapping[str, float], tensor: list[float]) -> None:
    """Compare columns that depend on each other, up to the CSV's rounding."""
    trace = (tensor[0] + tensor[2] + tensor[5]) / 3
    if abs(trace - value["alpha"]) > 0.0056:
        raise row.error(
            f"polarizability {value['alpha']} is not a third of the tensor's trace ({trace:.3f})"
        )
    if abs(value["lumo"] - value["homo"] - value["gap"]) > 1.5e-4:
        raise row.error("the gap is not the difference between lumo and homo")
    if abs(value["H"] - value["U"] - RT) > 2.5e-6:
        raise row.error("the enthalpy is not the internal energy plus R T")
    if not value["G"] < value["U0"] < value["U"]:
        raise row.error("the energies are not in the order G < U0 < U")
