"""Normalized spatial scores, by hand and by RDKit."""

import numpy as np
from rdkit import Chem
from rdkit.Chem.SpacialScore import SPS

from analysis.spatial_score import spatial_scores


def test_scores_by_hand() -> None:
    # h s r n^2 a heavy atom: ethane 3*1*1*1 twice; acetylene 1*1*1*1 twice;
    # propane (3 + 3*4 + 3) / 3; cyclopropane 3*1*2*4 three times.
    scores = spatial_scores(["CC", "C#C", "CCC", "C1CC1"])
    np.testing.assert_allclose(scores, [3, 1, 6, 24])


def test_stereo_centres_make_a_molecule_more_complex() -> None:
    smiles = ["CC(O)C#N", "CC(C)C#N"]
    scores = spatial_scores(smiles)
    assert scores[0] > scores[1]
    np.testing.assert_allclose(scores, [SPS(Chem.MolFromSmiles(text)) for text in smiles])


def test_what_cannot_be_read_has_no_score() -> None:
    scores = spatial_scores(["C(C)(C)(C)(C)C", "not a molecule", "[H][H]", "C"])
    assert np.isnan(scores).tolist() == [True, True, True, False]
