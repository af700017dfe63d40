"""How stereochemically complex a molecule is: RDKit's normalized spatial score.

Imports NumPy and RDKit only.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def spatial_scores(smiles: Iterable[str]) -> NDArray[np.float64]:
    """Compute the normalized spatial score (nSPS) of each molecule.

    nSPS = (1 / a) sum_atoms h s r n^2 with terms for hybridization, stereo isomerism, non-aromatic
    rings and the number of heavy neighbours n, over a heavy atoms (Krzyzanowski et al. 2023,
    doi:10.1021/acs.jmedchem.3c00689; `rdkit.Chem.SpacialScore`).

    Parameters
    ----------
    smiles : iterable of str
        One a molecule.

    Returns
    -------
    array
        [g] float64, dimensionless; NaN where the SMILES cannot be read or has no heavy atom.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem.SpacialScore import SPS

    # A molecule that cannot be read is an expected outcome here, not news for standard error.
    with rdBase.BlockLogs():
        molecules = [Chem.MolFromSmiles(text) for text in smiles]
    return np.array(
        [
            SPS(molecule) if molecule is not None and molecule.GetNumHeavyAtoms() else np.nan
            for molecule in molecules
        ],
        dtype=np.float64,
    )
