"""Linear probes: what a block's invariants tell about the target, whatever the readout does.

Imports NumPy, torch, e3nn's irreps and this package; scikit-learn where it is used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from e3nn import o3
from numpy.typing import NDArray
from torch import Tensor

from analysis.utilization import is_invariant, split_blocks

PENALTIES = tuple(10.0**exponent for exponent in range(-4, 4))
"""Ridge penalties per molecule that cross-validation chooses from."""
Block = tuple[int, str]
"""Layer and irrep."""


def atom_invariants(
    features: Sequence[Tensor], irreps: Sequence[o3.Irreps], batch: Tensor, num_graphs: int
) -> dict[Block, Tensor]:
    """Invariants of every block, summed over each molecule's atoms.

    ``0e`` gives its values, every other irrep the norm of each channel.

    Parameters
    ----------
    features : sequence of Tensor
        Each layer's [n, dim].
    irreps : sequence of o3.Irreps
        Of each layer.
    batch : Tensor
        [n] int64, the molecule of each node.
    num_graphs : int
        Number of molecules g.

    Returns
    -------
    dict
        (layer, irrep) to [g, c] float64.
    """
    found: dict[Block, Tensor] = {}
    for k, (x, layer_irreps) in enumerate(zip(features, irreps)):
        for name, t in split_blocks(x, layer_irreps).items():
            values = t.squeeze(2) if is_invariant(name) else t.double().square().sum(2).sqrt()
            summed = values.double().new_zeros(num_graphs, values.shape[1])
            found[k, name] = summed.index_add(0, batch, values.double())
    return found


def element_counts(
    element: Tensor, batch: Tensor, num_graphs: int, elements: Sequence[int]
) -> Tensor:
    """Count each molecule's atoms by element.

    Parameters
    ----------
    element, batch : Tensor
        [n] int64, atomic number and molecule of each node.
    num_graphs : int
        Number of molecules g.
    elements : sequence of int
        Atomic numbers of the columns.

    Returns
    -------
    Tensor
        [g, elements] float64.
    """
    is_element = element[:, None] == torch.as_tensor(elements, device=element.device)
    counts = torch.zeros(num_graphs, len(elements), dtype=torch.float64, device=element.device)
    return counts.index_add(0, batch, is_element.double())


def probe_errors(
    train: Mapping[Block | None, Tensor],
    train_target: Tensor,
    test: Mapping[Block | None, Tensor],
    test_target: Tensor,
    without: Sequence[frozenset[Block]],
) -> list[NDArray[np.float64]]:
    """Absolute errors of ridge regressions from all blocks but some.

    Features are standardized on the training molecules. The penalty is chosen by generalized
    cross-validation (scikit-learn's `RidgeCV`), anew for each regression.

    Parameters
    ----------
    train, test : mapping
        (layer, irrep) to [g, c] invariants; the key None holds what every regression gets.
    train_target, test_target : Tensor
        [g].
    without : sequence of frozenset
        Blocks that each regression does not see; the empty set for all.

    Returns
    -------
    list of array
        For each entry of `without`, [g] float64 errors on the test molecules.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    scaled: dict[Block | None, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for key, values in train.items():
        scaler = StandardScaler().fit(_array(values))
        scaled[key] = scaler.transform(_array(values)), scaler.transform(_array(test[key]))
    y_train, y_test = _array(train_target), _array(test_target)
    penalties = [penalty * len(y_train) for penalty in PENALTIES]
    errors = []
    for left_out in without:
        kept = [pair for key, pair in scaled.items() if key not in left_out]
        x_train, x_test = (np.concatenate(parts, axis=1) for parts in zip(*kept))
        model = RidgeCV(alphas=penalties).fit(x_train, y_train)
        errors.append(np.abs(model.predict(x_test) - y_test))
    return errors


def _array(values: Tensor) -> NDArray[np.float64]:
    return values.detach().cpu().double().numpy()
