"""Measure every block of a network on a set of molecules: what it carries, and what it is worth.

Imports torch, `networks.layered`, `records` and this package only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Batch

from analysis.bootstrap import bootstrap_interval
from analysis.probes import PENALTIES, Block, atom_invariants, element_counts, probe_errors
from analysis.refit import pooled_features, refitted_error, without_composition
from analysis.removal import (
    Removed,
    Values,
    can_have_effect,
    choose_donors,
    expanded,
    invariant_means,
    resampled_values,
    run_without,
)
from analysis.utilization import (
    block_columns,
    contribution,
    effective_channels,
    is_invariant,
    power,
    power_share,
    split_blocks,
)
from analysis.verdicts import judge
from networks.layered import LayeredNetwork, Prepared
from records.names import NETWORK
from records.utilization import (
    INTERACTION,
    PAIR,
    BlockUtilization,
    Effect,
    Utilization,
)

ORDER = ("reliance", "resampled", "refitted", "probe", "missed", INTERACTION)
"""Order of the measures in a row."""


@dataclass(frozen=True)
class TargetScale:
    """From a standardized prediction y and a target in its own unit to an error.

    error = |y * std + mean - target| * factor, with the Euclidean norm for vectors and tensors.

    Attributes
    ----------
    mean, std : float
        Of the target over the training molecules, target units (eV). The mean is 0 where the
        target comes without its reference.
    factor : float
        Reporting units in one target unit (1000 for meV in eV).
    """

    mean: float = 0.0
    std: float = 1.0
    factor: float = 1.0

    def standardize(self, target: Tensor) -> Tensor:
        """Centre the target [g] or [g, m] and divide it by its standard deviation, float64."""
        return (target.double() - self.mean) / self.std

    def error(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Absolute error, or norm of the deviation, [g], float64, reporting units."""
        return lengths(prediction.double() - self.standardize(target)) * self.unit

    @property
    def unit(self) -> float:
        """Reporting units in one standardized unit."""
        return self.std * self.factor


@dataclass(frozen=True)
class Scope:
    """What is measured, apart from what every block carries and the reliance on it.

    Attributes
    ----------
    layers : bool
        Take blocks away from single layers too, not only from all layers at once.
    pairs : bool
        Take pairs of irreps away from all layers.
    resampled : bool
        Replace blocks by those of other molecules' atoms.
    probes : bool
        Refit the readout after removal, and fit linear probes; needs training molecules.
    refits : bool
        Refit the readout, where `probes` holds; makes sense for linear readouts only.
    """

    layers: bool = True
    pairs: bool = True
    resampled: bool = True
    probes: bool = True
    refits: bool = True


def lengths(values: Tensor) -> Tensor:
    """Compute absolute values of scalars [g], or Euclidean norms of vectors [g, m]: [g]."""
    return values.abs() if values.dim() == 1 else values.norm(dim=-1)


Key = tuple[str, str]
"""Layer and irrep (or pair of irreps) of a row."""


@dataclass
class _Pass:
    """One batch through the intact network."""

    prepared: Prepared
    element: Tensor  # [n]
    features: list[Tensor]  # [n, dim] per layer
    prediction: Tensor  # [g] or [g, m] standardized
    target: Tensor  # [g] or [g, m] target units
    contribution: list[dict[str, Tensor]]  # per layer, by irrep: [g] standardized; or empty


def measure_utilization(
    network: LayeredNetwork,
    batches: Sequence[Batch],
    scale: TargetScale,
    training: Sequence[Batch] = (),
    scope: Scope | None = None,
    num_bootstrap: int = 1000,
    seed: int = 0,
    missed: Mapping[frozenset[int], Tensor] | None = None,
    refit_elements: bool = False,
) -> Utilization:
    """Measure what every block carries, and what is lost when it is taken away.

    The intact network runs once; on the molecules to measure on, backward too. A block is then
    replaced, and only the layers behind it are run again on what `prepare` has already computed.
    For `NETWORK` rows the irrep is replaced at each layer's output, before the next layer sees it.
    A block that is unreachable, or that no path fills, has an effect of exactly 0 and is not run.

    - ``reliance``: the block at its invariant mean over all molecules given (zero for l > 0).
    - ``resampled``: each atom's block from an atom of the same element in another molecule, in a
      random orientation.
    - ``refitted``: as reliance, and then readout and affine output fitted anew on the training
      molecules; minus the intact network with the same refit.
    - ``probe``: ridge regression from the invariants of all layers and the element counts to the
      target, without the block's invariants minus with them. Invariants have no direction, so
      vectors and tensors have no probe.
    - ``interaction``: reliance on two irreps together minus the reliance on each.

    The error of a vector or tensor is the norm of its deviation; contributions are to its length.

    Parameters
    ----------
    network : LayeredNetwork
        Within `networks.layered.measuring`, in the mode that is to be measured.
    batches : sequence of Batch
        With ``z``, ``pos``, ``edge_index``, ``batch`` and ``y`` [g] or [g, m] in target units, on
        the network's device. Features of all of them are kept until the end.
    scale : TargetScale
        From standardized to reporting units.
    training : sequence of Batch
        Molecules that the network was trained on, for refits and probes.
    scope : Scope, optional
        What is measured; by default everything that the molecules given allow.
    num_bootstrap : int
        Resamples for the intervals, which are simultaneous over all effects.
    seed : int
        Seed of resamples, donors and orientations.
    missed : mapping, optional
        Degrees taken out to the increase of each molecule's error [g] after training on, reporting
        units, for the same molecules; from `analysis.missed`. Rows of all irreps of these degrees
        get it as ``missed``.
    refit_elements : bool
        Whether ``refitted`` also fits a constant per element, and penalizes the readout's weights
        as cross-validation chooses: for wide networks, and energies that count from other zeros.
        Without effect on vectors and tensors.

    Returns
    -------
    Utilization

    Raises
    ------
    ValueError
        If there are no molecules, or a prediction is not finite.
    """
    scope = scope or Scope()
    passes = [_run_intact(network, batch) for batch in batches]
    if not passes:
        raise ValueError("there are no molecules to measure utilization on: give at least one")
    error_g = torch.cat([scale.error(p.prediction, p.target) for p in passes])
    if not bool(error_g.isfinite().all()):
        raise ValueError("the network's predictions are not finite: utilization is undefined")
    measuring = _Effects(network, scale, passes, error_g, seed)
    increases = measuring.reliance(_removals(network, scope))
    if scope.resampled:
        increases |= measuring.resampled(_removals(network, scope, pairs=False))
    if scope.probes and training:
        training_passes = [_run_forward(network, batch) for batch in training]
        if scope.refits:
            increases |= measuring.refitted(training_passes, refit_elements)
        if passes[0].prediction.dim() == 1:
            increases |= measuring.probes(training_passes, _rows_to_measure(network, scope))
    for layer, name in _rows_to_measure(network, scope):
        gone = frozenset(o3.Irrep(one).l for one in name.split(PAIR))
        if layer == NETWORK and missed is not None and gone in missed:
            increases[(layer, name), "missed"] = missed[gone]
    effects = _intervals(network, increases, error_g, num_bootstrap, seed)
    rows = _rows(network, _content(network, passes, scale), effects, scope)
    return Utilization(rows=rows, mae=float(error_g.mean()), num_molecules=error_g.numel())


@torch.no_grad()
def _run_forward(network: LayeredNetwork, batch: Batch) -> _Pass:
    """Run the intact network on a batch that no contributions are needed of."""
    prepared = network.prepare(batch)
    features, prediction_g = network.run_recording(prepared)
    return _Pass(prepared, batch.z, features, prediction_g, batch.y, [])


def _run_intact(network: LayeredNetwork, batch: Batch) -> _Pass:
    """Run the intact network on a batch, and differentiate each prediction by the features.

    For a vector or tensor it is the prediction's length p = |y| that is differentiated. A network
    that is linear in its features loses with a block just that much of y along its direction, as
    sum t dp/dt = y . (sum t dy/dt) / |y|.
    """
    prepared = network.prepare(batch)
    features: list[Tensor] = []

    def watch(k: int, x: Tensor) -> Tensor:
        # Parameters have no gradient here, so the first features are where differentiation starts.
        features.append(x if x.requires_grad else x.detach().requires_grad_())
        return features[-1]

    prediction_g = network.run(prepared, edit=watch)
    # A molecule's features change its own prediction only, so the sum's derivative holds all.
    size = prediction_g if prediction_g.dim() == 1 else lengths(prediction_g)
    gradients = torch.autograd.grad(size.sum(), features)
    contributions = [
        {
            name: contribution(t, gradient, prepared.batch, len(prediction_g))
            for (name, t), gradient in zip(
                split_blocks(x.detach(), irreps).items(), split_blocks(gradient_nd, irreps).values()
            )
        }
        for irreps, x, gradient_nd in zip(network.layer_irreps, features, gradients)
    ]
    detached = [x.detach() for x in features]
    return _Pass(prepared, batch.z, detached, prediction_g.detach(), batch.y, contributions)


def _rows_to_measure(
    network: LayeredNetwork, scope: Scope, pairs: bool = True
) -> dict[Key, frozenset[Block]]:
    """Blocks that each row takes away, whether or not they can have an effect."""
    names = list(block_columns(network.irreps))
    num_layers = range(len(network.layer_irreps))
    present = [block_columns(irreps) for irreps in network.layer_irreps]
    rows: dict[Key, frozenset[Block]] = {}
    if scope.layers:
        rows |= {
            (f"layer{k}", name): frozenset({(k, name)})
            for k in num_layers
            for name in names
            if name in present[k]
        }
    groups: list[tuple[str, ...]] = [(name,) for name in names]
    if scope.pairs and pairs:
        groups += list(combinations([name for name in names if not is_invariant(name)], 2))
    for group in groups:
        blocks = {(k, name) for k in num_layers for name in group if name in present[k]}
        rows[NETWORK, PAIR.join(group)] = frozenset(blocks)
    return rows


def _removals(
    network: LayeredNetwork, scope: Scope, pairs: bool = True
) -> dict[Key, frozenset[Block]]:
    """Blocks that each row takes away, as far as they can have an effect."""
    live = {
        key: frozenset(block for block in blocks if can_have_effect(network, *block))
        for key, blocks in _rows_to_measure(network, scope, pairs).items()
    }
    return {key: blocks for key, blocks in live.items() if blocks}


class _Effects:
    """Increases of each molecule's error, by row and measure, where they can differ from zero."""

    def __init__(
        self,
        network: LayeredNetwork,
        scale: TargetScale,
        passes: Sequence[_Pass],
        error_g: Tensor,
        seed: int,
    ) -> None:
        self.network = network
        self.scale = scale
        self.passes = passes
        self.error_g = error_g
        self.seed = seed
        self._means = invariant_means([p.features for p in passes], network)
        self._removals: Mapping[Key, frozenset[Block]] = {}
        self._pooled: dict[Key, Tensor] = {}

    @torch.no_grad()
    def reliance(self, removals: Mapping[Key, frozenset[Block]]) -> dict[tuple[Key, str], Tensor]:
        """Take blocks away; remember what the readout takes of the last layer, for refits."""
        self._removals = removals
        found: dict[tuple[Key, str], Tensor] = {}
        for key, blocks in removals.items():
            runs = list(self._run(self.passes, blocks, self._means))
            found[key, "reliance"] = self._errors([run.prediction for run in runs]) - self.error_g
            self._pooled[key] = self._pool(self.passes, [run.last for run in runs])
        for layer, name in list(removals):
            if PAIR in name:
                single = [found.get(((layer, one), "reliance"), 0.0) for one in name.split(PAIR)]
                found[(layer, name), INTERACTION] = found[(layer, name), "reliance"] - sum(single)
        return found

    @torch.no_grad()
    def resampled(self, removals: Mapping[Key, frozenset[Block]]) -> dict[tuple[Key, str], Tensor]:
        """Replace blocks by those of other molecules' atoms."""
        generator = torch.Generator().manual_seed(self.seed)
        sizes = [len(p.prediction) for p in self.passes]
        first = [sum(sizes[:i]) for i in range(len(sizes))]
        molecule = torch.cat([p.prepared.batch + f for p, f in zip(self.passes, first)]).cpu()
        element = torch.cat([p.element for p in self.passes]).cpu()
        donors = choose_donors(element, molecule, generator)
        values = resampled_values(
            [p.features for p in self.passes], self.network, donors, generator
        )
        found: dict[tuple[Key, str], Tensor] = {}
        for key, blocks in removals.items():
            runs = self._run(self.passes, blocks, values)
            found[key, "resampled"] = self._errors([run.prediction for run in runs]) - self.error_g
        return found

    @torch.no_grad()
    def refitted(
        self, training: Sequence[_Pass], with_elements: bool
    ) -> dict[tuple[Key, str], Tensor]:
        """Fit the readout anew after each removal, and once for the intact network."""
        train_target = self._targets(training)
        target = self._targets(self.passes)
        counts = [self._counts(passes, training) for passes in (training, self.passes)]
        with_elements = with_elements and target.dim() == 1
        penalties = PENALTIES if with_elements else ()

        def error(train_pooled: Tensor, pooled: Tensor) -> Tensor:
            fitted, own = (train_pooled, train_target), (pooled, target)
            if with_elements:
                fitted, own = without_composition(counts[0], *fitted, counts[1], *own)
            return refitted_error(*fitted, *own, penalties).cpu() * self.scale.unit

        intact = error(
            self._pool(training, [p.features[-1] for p in training]),
            self._pool(self.passes, [p.features[-1] for p in self.passes]),
        )
        found: dict[tuple[Key, str], Tensor] = {}
        for key, blocks in self._removals.items():
            last = [run.last for run in self._run(training, blocks, self._means)]
            found[key, "refitted"] = error(self._pool(training, last), self._pooled[key]) - intact
        return found

    @torch.no_grad()
    def probes(
        self, training: Sequence[_Pass], rows: Mapping[Key, frozenset[Block]]
    ) -> dict[tuple[Key, str], Tensor]:
        """Fit ridge regressions from all invariants, and from all but those of each row."""
        elements = torch.cat([p.element for p in training]).unique().tolist()
        train, test = (self._invariants(passes, elements) for passes in (training, self.passes))
        left_out = [frozenset(), *rows.values()]
        errors = probe_errors(
            train, self._targets(training), test, self._targets(self.passes), left_out
        )
        intact, *others = (torch.as_tensor(error) * self.scale.unit for error in errors)
        return {(key, "probe"): other - intact for key, other in zip(rows, others)}

    def _run(
        self, passes: Sequence[_Pass], blocks: frozenset[Block], values: Values
    ) -> Iterator[Removed]:
        """Run batches without blocks; `values` has one row for all nodes, or one for each."""
        first = 0
        for one in passes:
            num_nodes = one.features[0].shape[0]
            span = slice(first, first + num_nodes)
            first += num_nodes
            needed = [
                {
                    name: v if v.shape[0] == 1 else v[span]
                    for name, v in layer.items()
                    if (k, name) in blocks
                }
                for k, layer in enumerate(values)
            ]
            spread = expanded(needed, num_nodes)
            yield run_without(self.network, one.prepared, one.features, blocks, spread)

    def _errors(self, predictions: Sequence[Tensor]) -> Tensor:
        return torch.cat(
            [self.scale.error(y, one.target) for y, one in zip(predictions, self.passes)]
        )

    def _targets(self, passes: Sequence[_Pass]) -> Tensor:
        return torch.cat([self.scale.standardize(one.target) for one in passes])

    def _pool(self, passes: Sequence[_Pass], last: Sequence[Tensor]) -> Tensor:
        name = str(self.network.irreps_readout[0].ir)
        columns = block_columns(self.network.layer_irreps[-1])[name]
        dim = o3.Irrep(name).dim
        return torch.cat(
            [
                pooled_features(x, columns, dim, one.prepared.batch, len(one.prediction))
                for x, one in zip(last, passes)
            ]
        )

    def _counts(self, passes: Sequence[_Pass], training: Sequence[_Pass]) -> Tensor:
        """Count the atoms of each element that occurs in training, [g, elements]."""
        elements = torch.cat([p.element for p in training]).unique().tolist()
        return torch.cat(
            [
                element_counts(one.element, one.prepared.batch, len(one.prediction), elements)
                for one in passes
            ]
        )

    def _invariants(
        self, passes: Sequence[_Pass], elements: Sequence[int]
    ) -> dict[Block | None, Tensor]:
        parts: dict[Block | None, list[Tensor]] = {}
        for one in passes:
            shape = one.prepared.batch, len(one.prediction)
            invariants = atom_invariants(one.features, self.network.layer_irreps, *shape)
            for block, values in invariants.items():
                parts.setdefault(block, []).append(values)
            parts.setdefault(None, []).append(element_counts(one.element, *shape, elements))
        return {block: torch.cat(values) for block, values in parts.items()}


def _intervals(
    network: LayeredNetwork,
    increases: Mapping[tuple[Key, str], Tensor],
    error_g: Tensor,
    num_bootstrap: int,
    seed: int,
) -> dict[tuple[Key, str], Effect]:
    """Intervals and verdicts that hold together for all rows and measures."""
    if not increases:
        return {}
    increase_gk = torch.stack([values.cpu() for values in increases.values()], dim=1)
    low_k, high_k = bootstrap_interval(increase_gk, num_bootstrap, seed, simultaneous=True)
    mae, count = float(error_g.mean()), error_g.numel()
    found = {}
    for (key, measure), value, low, high in zip(
        increases, increase_gk.mean(0).tolist(), low_k.tolist(), high_k.tolist()
    ):
        reachable = measure == "probe" or _is_reachable(network, *key)
        verdict = judge(measure, low, high, mae, count, reachable)
        found[key, measure] = Effect(value, low, high, verdict)
    return found


def _is_reachable(network: LayeredNetwork, layer: str, name: str) -> bool:
    layers = network.reachable
    if layer != NETWORK:
        layers = [layers[_index(layer)]]
    return any(blocks.get(one, False) for blocks in layers for one in name.split(PAIR))


def _content(
    network: LayeredNetwork, passes: Sequence[_Pass], scale: TargetScale
) -> dict[Key, dict[str, float]]:
    """Power, effective channels and contribution of every block of every layer."""
    content: dict[Key, dict[str, float]] = {}
    for k, irreps in enumerate(network.layer_irreps):
        x = torch.cat([one.features[k] for one in passes])
        powers: dict[str, float] = {}
        for name, t in split_blocks(x, irreps).items():
            powers[name] = float(power(t))
            parts = [one.contribution[k][name] for one in passes]
            contribution_g = torch.cat(parts).double() * scale.unit
            content[f"layer{k}", name] = {
                "power": powers[name],
                "effective_channels": float(effective_channels(t, center=is_invariant(name))),
                "contribution": float(contribution_g.mean()),
                "contribution_sd": float(contribution_g.std(correction=0)),
            }
        for name, share in power_share(powers).items():
            content[f"layer{k}", name]["power_share"] = share
    return content


def _rows(
    network: LayeredNetwork,
    content: Mapping[Key, Mapping[str, float]],
    effects: Mapping[tuple[Key, str], Effect],
    scope: Scope,
) -> list[BlockUtilization]:
    """Put the table together."""
    names = list(block_columns(network.irreps))
    keys = [(f"layer{k}", name) for k in range(len(network.layer_irreps)) for name in names]
    keys += [key for key in _rows_to_measure(network, scope) if key[0] == NETWORK]
    measured = {measure for _, measure in effects}
    rows = []
    for layer, name in keys:
        irreps = network.irreps if layer == NETWORK else network.layer_irreps[_index(layer)]
        reachable = _is_reachable(network, layer, name)
        found = {m: effects[(layer, name), m] for m in ORDER if ((layer, name), m) in effects}
        if layer == NETWORK or scope.layers:
            found = {**_no_effect(reachable, PAIR in name, measured), **found}
        rows.append(
            BlockUtilization(
                layer=layer,
                irrep=name,
                channels=sum(irreps.count(one) for one in name.split(PAIR)),
                reachable=reachable,
                effects=found,
                **content.get((layer, name), {}),
            )
        )
    return rows


def _no_effect(reachable: bool, is_pair: bool, measured: set[str]) -> dict[str, Effect]:
    """Effects of a block that was not run, as its removal cannot change the prediction."""
    none = Effect(0.0, 0.0, 0.0, "negligible" if reachable else "unreachable")
    measures = ("reliance", "refitted") if is_pair else ("reliance", "resampled", "refitted")
    return {measure: none for measure in measures if measure in measured}


def _index(layer: str) -> int:
    return int(layer.removeprefix("layer"))
