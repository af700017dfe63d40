"""What can be taken out of a network in one step, and how little it seems to matter.

Imports torch, e3nn, `networks` and this package only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from e3nn import o3
from torch import Tensor
from torch_geometric.data import Batch

from analysis.measurement import TargetScale
from networks.layered import LayeredNetwork
from networks.restriction import Kept, KeptLayer, connected, kept_to_json

ChannelImportance = Sequence[Mapping[str, Tensor]]
"""Per layer, irrep to [channels] the importance of each channel, in the order of `kept`."""
Importance = Callable[[Kept], float]
"""From what stays to how much is lost with the rest."""


@dataclass(frozen=True)
class Removal:
    """One step of pruning.

    Attributes
    ----------
    label : str
        E.g. ``2e from all layers``, ``1o from layer 2``, ``edge degree 1 from layer 0``.
    kept : Kept
        What stays, without what the removal cuts off.
    """

    label: str
    kept: Kept


def irrep_removals(network: LayeredNetwork) -> list[Removal]:
    """List what can go in one step: a block, an edge degree of a layer, or a degree everywhere.

    Parameters
    ----------
    network : LayeredNetwork
        Offers `restricted`.

    Returns
    -------
    list of Removal
        Without those after which nothing reaches the readout, and each smaller network once.
    """
    kept = network.kept
    names = list(dict.fromkeys(name for layer in kept for name in layer.channels))
    degrees = sorted({degree for layer in kept for degree in layer.edge_degrees})
    found = [(removal.label, removal.kept) for removal in degree_removals(network)]
    for name in names:
        if name != "0e":
            found.append((f"{name} from all layers", _edited(kept, lambda _, x: _without(x, name))))  # noqa: B023
        for k in (k for k, layer in enumerate(kept) if name in layer.channels):
            label = f"{name} from layer {k}"
            found.append((label, _edited(kept, lambda j, x: _without(x, name) if j == k else x)))  # noqa: B023
    for degree in degrees:
        for k in (k for k, layer in enumerate(kept) if degree in layer.edge_degrees):
            label = f"edge degree {degree} from layer {k}"
            found.append((label, _edited(kept, lambda j, x: _blind(x, degree) if j == k else x)))  # noqa: B023
    return list(_possible(network, found))


def degree_removals(network: LayeredNetwork) -> list[Removal]:
    """List what can go in one step: a degree above 0, of features and edges in all layers.

    Parameters
    ----------
    network : LayeredNetwork
        Network.
    """
    degrees = sorted({o3.Irrep(name).l for layer in network.kept for name in layer.channels} - {0})
    found = [
        (f"l = {degree} from all layers", _without_degree(network.kept, degree))
        for degree in degrees
    ]
    return list(_possible(network, found))


def channel_removals(network: LayeredNetwork, importance: ChannelImportance) -> list[Removal]:
    """List what can go in one step: the less important half of a block's channels.

    Parameters
    ----------
    network : LayeredNetwork
        Offers `restricted`.
    importance : sequence of mapping
        From `channel_importance`; decides which channels of a block stay.

    Returns
    -------
    list of Removal
        One per block with two channels or more, and one per irrep for all layers at once.
    """
    kept = network.kept
    found: list[tuple[str, Kept]] = []
    for name in dict.fromkeys(name for layer in kept for name in layer.channels):
        halves = {
            k: _more_important(layer.channels[name], importance[k][name])
            for k, layer in enumerate(kept)
            if len(layer.channels.get(name, ())) > 1
        }
        if len(halves) > 1:
            label = f"half of {name} in all layers"
            found.append((label, _edited(kept, lambda j, x: _with(x, name, halves.get(j)))))  # noqa: B023
        for k, channels in halves.items():
            label = f"{len(kept[k].channels[name]) - len(channels)} of {name} in layer {k}"
            chosen = {k: channels}
            found.append((label, _edited(kept, lambda j, x: _with(x, name, chosen.get(j)))))  # noqa: B023
    return list(_possible(network, found))


def removal_to(
    network: LayeredNetwork, irreps: o3.Irreps, importance: ChannelImportance
) -> Removal:
    """Keep some irreps in every layer, with at most as many channels as asked for.

    Parameters
    ----------
    network : LayeredNetwork
        Offers `restricted`.
    irreps : o3.Irreps
        What stays, edges of the same degrees included.
    importance : sequence of mapping
        From `channel_importance`; the most important channels stay.

    Raises
    ------
    ValueError
        If the network does not have one of the irreps or so many channels of it, or if nothing
        that reaches the readout would be left.
    """
    wanted = {str(ir): mul for mul, ir in irreps.regroup()}
    for name, mul in wanted.items():
        most = max(len(layer.channels.get(name, ())) for layer in network.kept)
        if mul > most:
            raise ValueError(
                f"irreps {irreps} ask for {mul}x{name}, and the network has {most}x{name}: give a "
                f"subset of {network.irreps}"
            )
    degrees = set(irreps.ls) | {0}

    def keep(k: int, layer: KeptLayer) -> KeptLayer:
        channels = {
            name: _more_important(there, importance[k][name], wanted[name])
            for name, there in layer.channels.items()
            if name in wanted
        }
        return KeptLayer(channels, layer.edge_degrees & degrees)

    kept = _connected(network, _edited(network.kept, keep))
    return Removal(f"all but {irreps}", kept)


def channel_importance(
    network: LayeredNetwork, batches: Sequence[Batch], scale: TargetScale
) -> list[dict[str, Tensor]]:
    r"""First-order Taylor importance of every channel.

    Taking channel c away changes a batch's loss L by about -sum_(n, m) x_ncm dL/dx_ncm. Its
    importance is the mean over batches of the square of that (Molchanov et al., Importance
    Estimation for Neural Network Pruning, 2019, arXiv 1906.10771).

    Parameters
    ----------
    network : LayeredNetwork
        Network.
    batches : sequence of Batch
        With ``y`` [g] in target units.
    scale : TargetScale
        Standardizes targets; the loss is the mean squared error of the standardized target.

    Returns
    -------
    list of dict of str to Tensor
        Per layer and irrep, [channels] float64.
    """
    total: list[dict[str, Tensor]] = [{} for _ in network.kept]
    for batch in batches:
        features: list[Tensor] = []

        def record(k: int, x: Tensor, features: list[Tensor] = features) -> Tensor:
            features.append(x.requires_grad_() if not x.requires_grad else x)
            return x

        with torch.enable_grad():
            loss = _loss(network.run(network.prepare(batch), edit=record), batch, scale)
            gradients = torch.autograd.grad(loss, features, allow_unused=True)
        for k, (x, gradient) in enumerate(zip(features, gradients)):
            change = torch.zeros_like(x) if gradient is None else x.detach() * gradient
            change_c = change.double().sum(0)
            start = 0
            for name, channels in network.kept[k].channels.items():
                dim = o3.Irrep(name).dim
                stop = start + dim * len(channels)
                square = change_c[start:stop].view(-1, dim).sum(1).square() / len(batches)
                total[k][name] = total[k].get(name, torch.zeros_like(square)) + square
                start = stop
    return total


def taylor_importance(
    network: LayeredNetwork, batches: Sequence[Batch], scale: TargetScale
) -> Importance:
    r"""Make the first-order Taylor importance of the weights that a smaller network lacks.

    It is the mean over batches of (sum_w w dL/dw)^2 over all weights w that are left out, the
    square of the first-order change of the loss L (arXiv 1906.10771).

    Parameters
    ----------
    network : LayeredNetwork
        Offers `weight_selections`.
    batches : sequence of Batch
        With ``y`` [g] in target units.
    scale : TargetScale
        Standardizes targets.

    Returns
    -------
    callable
        From what stays to the importance of the rest.
    """
    names, weights = zip(*network.named_parameters())
    changes: list[dict[str, Tensor]] = []
    for batch in batches:
        with torch.enable_grad():
            loss = _loss(network(batch), batch, scale)
            gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        changes.append(
            {n: (w * g).detach() for n, w, g in zip(names, weights, gradients) if g is not None}
        )

    def importance(kept: Kept) -> float:
        gone = list(_left_out(network, kept))
        sums = [
            sum(_sum_of(change[name], axis, rows) for name, axis, rows in gone if name in change)
            for change in changes
        ]
        return sum(one**2 for one in sums) / len(sums)

    return importance


def magnitude_importance(network: LayeredNetwork) -> Importance:
    """Make the sum of the squares of the weights that a smaller network lacks.

    Parameters
    ----------
    network : LayeredNetwork
        Offers `weight_selections`.

    Returns
    -------
    callable
        From what stays to the importance of the rest.
    """
    squares = {name: w.detach().double().square() for name, w in network.named_parameters()}

    def importance(kept: Kept) -> float:
        gone = _left_out(network, kept)
        return sum(_sum_of(squares[name], axis, rows) for name, axis, rows in gone)

    return importance


def describe_removed(network: LayeredNetwork, kept: Kept) -> str:
    """Say in words what a smaller network lacks.

    Parameters
    ----------
    network : LayeredNetwork
        The larger network.
    kept : Kept
        What stays. Edge degrees that only served what is gone are not mentioned.

    Returns
    -------
    str
        E.g. ``2e from layers 1-3, edge degree 2 from layer 4, 4 of 8 channels of 1o from layer 0``;
        empty if nothing is missing.
    """
    whole = network.kept
    parts: list[str] = []
    for name in dict.fromkeys(name for layer in whole for name in layer.channels):
        there = [k for k, layer in enumerate(whole) if layer.channels.get(name)]
        gone = [k for k in there if not kept[k].channels.get(name)]
        if gone:
            parts.append(f"{name} from {_layers(gone, there)}")
        fewer: dict[tuple[int, int], list[int]] = {}
        for k in (k for k in there if k not in gone):
            before, after = len(whole[k].channels[name]), len(kept[k].channels[name])
            if after < before:
                fewer.setdefault((before - after, before), []).append(k)
        for (lost, before), layers in fewer.items():
            parts.append(f"{lost} of {before} channels of {name} from {_layers(layers, there)}")
    for degree in sorted({degree for layer in whole for degree in layer.edge_degrees}):
        there = [k for k, layer in enumerate(whole) if degree in layer.edge_degrees]
        gone = [
            k
            for k in there
            if degree not in kept[k].edge_degrees and _matters(network, kept, k, degree)
        ]
        if gone:
            parts.append(f"edge degree {degree} from {_layers(gone, there)}")
    return ", ".join(parts)


def _matters(network: LayeredNetwork, kept: Kept, k: int, degree: int) -> bool:
    """Whether a network would be another one if layer k saw an edge degree again."""
    again = KeptLayer(kept[k].channels, kept[k].edge_degrees | {degree})
    seeing = (*kept[:k], again, *kept[k + 1 :])
    return (
        connected(seeing, network.irreps_embedding, network.irreps_readout, network.gated) != kept
    )


def _layers(gone: Sequence[int], there: Sequence[int]) -> str:
    """Name layers: ``all layers``, ``layer 2``, ``layers 1-3, 5``."""
    if list(gone) == list(there) and len(there) > 1:
        return "all layers"
    runs: list[list[int]] = []
    for k in gone:
        if runs and k == runs[-1][-1] + 1:
            runs[-1].append(k)
        else:
            runs.append([k])
    named = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    return f"layer{'s' if len(gone) > 1 else ''} {' and '.join(named)}"


def _possible(network: LayeredNetwork, found: Iterable[tuple[str, Kept]]) -> Iterator[Removal]:
    """Drop what a removal cuts off; leave out those that nothing survives, and repetitions."""
    seen = [kept_to_json(network.kept)]
    for label, kept in found:
        try:
            stays = _connected(network, kept)
        except ValueError:  # nothing is left that reaches the readout
            continue
        description = kept_to_json(stays)
        if description not in seen:
            seen.append(description)
            yield Removal(label, stays)


def _connected(network: LayeredNetwork, kept: Kept) -> Kept:
    """Drop what the removal has cut off.

    Raises
    ------
    ValueError
        If a part of the readout gets nothing any more.
    """
    stays = connected(kept, network.irreps_embedding, network.irreps_readout, network.gated)
    missing = {str(ir) for _, ir in network.irreps_readout} - set(stays[-1].channels)
    if missing:
        raise ValueError(f"nothing is left that reaches the readout's {', '.join(sorted(missing))}")
    return stays


def _edited(kept: Kept, edit: Callable[[int, KeptLayer], KeptLayer]) -> Kept:
    return tuple(edit(k, layer) for k, layer in enumerate(kept))


def _without(layer: KeptLayer, name: str) -> KeptLayer:
    channels = {other: c for other, c in layer.channels.items() if other != name}
    return KeptLayer(channels, layer.edge_degrees)


def _blind(layer: KeptLayer, degree: int) -> KeptLayer:
    return KeptLayer(layer.channels, layer.edge_degrees - {degree})


def _without_degree(kept: Kept, degree: int) -> Kept:
    return tuple(
        KeptLayer(
            {name: c for name, c in layer.channels.items() if o3.Irrep(name).l != degree},
            layer.edge_degrees - {degree},
        )
        for layer in kept
    )


def _with(layer: KeptLayer, name: str, channels: tuple[int, ...] | None) -> KeptLayer:
    if channels is None:
        return layer
    return KeptLayer({**layer.channels, name: channels}, layer.edge_degrees)


def _more_important(
    channels: Sequence[int], importance: Tensor, count: int | None = None
) -> tuple[int, ...]:
    """Choose the more important half of some channels, or `count` of them."""
    count = len(channels) // 2 if count is None else min(count, len(channels))
    best = torch.argsort(importance, descending=True, stable=True)[:count]
    return tuple(channels[i] for i in sorted(best.tolist()))


def _loss(prediction: Tensor, batch: Batch, scale: TargetScale) -> Tensor:
    return (prediction - scale.standardize(batch.y).to(prediction.dtype)).square().mean()


def _left_out(network: LayeredNetwork, kept: Kept) -> Iterator[tuple[str, int, Tensor]]:
    """Name, axis and positions of the weights that a smaller network lacks."""
    for name, selection in network.weight_selections(kept).items():
        weight = network.get_parameter(name)
        gone = torch.ones(weight.shape[selection.axis], dtype=torch.bool)
        gone[selection.positions.cpu()] = False
        yield name, selection.axis, gone.nonzero()[:, 0].to(weight.device)


def _sum_of(values: Tensor, axis: int, positions: Tensor) -> float:
    """Sum over some positions of one axis, and over all others."""
    return float(values.index_select(axis, positions).double().sum())
