"""Stereochemical complexity of molecules: RDKit's normalized spatial score.

Imports NumPy; RDKit where it is used.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def spatial_scores(smiles: Iterable[str]) -> NDArray[np.float64]:
    """Compute the normalized spatial score (nSPS) of each molecule.

    nSPS = (1 / a) sum_i h_i s_i r_i n_i^2 over the a heavy atoms i, with terms for hybridization
    h, stereoisomerism s, non-aromatic rings r and the number of heavy neighbours n (Krzyzanowski
    et al. 2023, doi:10.1021/acs.jmedchem.3c00689; `rdkit.Chem.SpacialScore`).

    Parameters
    ----------
    smiles : iterable of str
        One per molecule.

    Returns
    -------
    array
        [g] float64, dimensionless; NaN where the SMILES cannot be read or has no heavy atom.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem.SpacialScore import SPS

    # Unreadable SMILES are an expected outcome here; RDKit would print each to standard error.
    with rdBase.BlockLogs():
        molecules = [Chem.MolFromSmiles(text) for text in smiles]
    return np.array(
        [
            SPS(molecule) if molecule is not None and molecule.GetNumHeavyAtoms() else np.nan  # type: ignore[no-untyped-call]
            for molecule in molecules
        ],
        dtype=np.float64,
    )
