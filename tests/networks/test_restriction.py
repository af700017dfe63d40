"""Smaller networks compute exactly what the larger one does with the other blocks at zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from e3nn import o3
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call

from networks.channelwise.e3nn_product import path_instructions
from networks.gated import GatedNetwork
from networks.restrictable import RestrictableNetwork
from networks.restriction import Kept, KeptLayer, keep_degrees, kept_from_json, kept_to_json
from tests.analysis.molecules import random_molecules
from tests.networks.variants import VARIANTS, small_network

MOLECULES = random_molecules(4, dtype=torch.float64)
IRREPS = ("4x0e+3x1o+2x2e", "3x0e+2x1o+1x1e+2x2e", "3x0e+2x3o+1x4e")


def network(
    irreps: str, variant: str = "convnet, fast", trim: bool = True, **more: Any
) -> RestrictableNetwork:
    options = {"num_layers": 4, "neighbor_norm": 1.0, "trim_unreachable": trim}
    return small_network(variant, irreps, **options, **more)


def silenced(whole: RestrictableNetwork, kept: Kept) -> Tensor:
    """Predictions of the whole network with everything that is not kept at zero.

    Features are zeroed by edits. An edge degree that a layer no longer sees is silenced by zeroing
    the radial weights of its paths, in the order in which e3nn's own tensor product takes them.
    """
    weights = dict(whole.named_parameters())
    for k, layer in enumerate(kept):
        mask: list[float] = []
        for degree, count in weights_by_path(whole, k):
            mask += [float(degree in layer.edge_degrees)] * count
        name = f"layers.{k}.radial.layer1.weight"
        weights[name] = weights[name] * torch.tensor(mask, dtype=torch.float64)

    def edit(k: int, x: Tensor) -> Tensor:
        columns = []
        for (mul, ir), there in zip(whole.layer_irreps[k], whole.kept[k].channels.values()):
            stay = kept[k].channels.get(str(ir), ())
            assert mul == len(there)
            columns += [float(channel in stay) for channel in there for _ in range(ir.dim)]
        return x * torch.tensor(columns, dtype=x.dtype)

    prepared = whole.prepare(MOLECULES)
    predicted: Tensor = functional_call(
        _Runs(whole), {f"network.{n}": w for n, w in weights.items()}, (prepared, edit)
    )
    return predicted


def weights_by_path(whole: RestrictableNetwork, k: int) -> list[tuple[int, int]]:
    """Edge degree and number of radial weights of every path of a layer, in e3nn's order."""
    if isinstance(whole, GatedNetwork):
        layout = whole._layout(k)
        irreps, instructions = path_instructions(layout.paths, whole.edge_irreps)
        return [(irreps[1][j].ir.l, irreps[0][i].mul) for i, j, *_ in instructions]
    product = o3.FullyConnectedTensorProduct(
        whole.layer_irreps[k - 1] if k > 0 else whole.irreps_embedding,
        whole.layer_edge_irreps[k],
        whole.layer_irreps[k],
        shared_weights=False,
        compile_left_right=False,
    )
    return [
        (whole.layer_edge_irreps[k][path.i_in2].ir.l, path.path_shape[0] * path.path_shape[2])
        for path in product.instructions
    ]


class _Runs(torch.nn.Module):
    def __init__(self, network: RestrictableNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, prepared: Any, edit: Any) -> Tensor:
        return self.network.run(prepared, edit=edit)


@st.composite
def kept_parts(draw: st.DrawFn, whole: Kept) -> Kept:
    def some(channels: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(c for c in channels if draw(st.booleans()) or draw(st.booleans()))

    return tuple(
        KeptLayer(
            {
                name: some(channels)
                for name, channels in layer.channels.items()
                if draw(st.integers(0, 3)) > 0
            },
            frozenset(degree for degree in layer.edge_degrees if draw(st.integers(0, 3)) > 0),
        )
        for layer in whole
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("irreps", IRREPS)
@given(data=st.data())
@settings(max_examples=4, deadline=None, derandomize=True, phases=[Phase.generate])
def test_values_and_gradients_are_those_of_the_whole_network(
    variant: str, irreps: str, data: st.DataObject
) -> None:
    whole = network(irreps, variant, trim=data.draw(st.booleans()))
    kept = data.draw(kept_parts(whole.kept))
    try:
        smaller = whole.restricted(kept)
    except ValueError:  # nothing is left that reaches the readout
        assume(False)
    expected = silenced(whole, kept)
    torch.testing.assert_close(smaller(MOLECULES), expected, rtol=1e-10, atol=1e-11)

    # Gradients of the larger network's weights through the smaller one.
    whole.zero_grad()
    silenced(whole, kept).square().sum().backward()
    gradients = {n: p.grad for n, p in whole.named_parameters()}
    whole.zero_grad()
    weights = whole.restricted_parameters(smaller)
    functional_call(smaller, weights, (MOLECULES,)).square().sum().backward()
    for name, parameter in whole.named_parameters():
        one = torch.zeros_like(parameter) if gradients[name] is None else gradients[name]
        other = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-9 * float(one.abs().max() + 1))


@pytest.mark.parametrize("variant", ["convnet, fast", "gated, auto"])
def test_a_restriction_of_a_restriction_is_one(variant: str) -> None:
    whole = network(IRREPS[0], variant)
    once = whole.restricted(keep_degrees(whole.kept, (0, 1)))
    twice = once.restricted(keep_degrees(once.kept, (0,)))
    at_once = whole.restricted(keep_degrees(whole.kept, (0,)))
    torch.testing.assert_close(twice(MOLECULES), at_once(MOLECULES), rtol=1e-12, atol=1e-13)
    assert twice.num_parameters() == at_once.num_parameters()
    assert twice.operations(twice.prepare(MOLECULES)) < once.operations(once.prepare(MOLECULES))


def test_kept_survives_json() -> None:
    kept = keep_degrees(network(IRREPS[0], "convnet, fast").kept, (0, 2))
    assert kept_from_json(kept_to_json(kept)) == kept


@pytest.mark.parametrize("variant", ["convnet, fast", "gated, auto"])
def test_a_restricted_network_is_rebuilt_from_its_description(variant: str) -> None:
    whole = network(IRREPS[0], variant)
    smaller = whole.restricted(keep_degrees(whole.kept, (0, 2)))
    again = network(IRREPS[0], variant, kept=kept_to_json(smaller.kept))
    again.load_state_dict(smaller.state_dict())
    assert torch.equal(again(MOLECULES), smaller(MOLECULES))


@pytest.mark.parametrize("variant", ["convnet, fast", "gated, auto"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda kept: kept[:-1], "describes 3 layers, but the network has 4"),
        (
            lambda kept: (KeptLayer({"5o": (0,)}, frozenset({0})), *kept[1:]),
            r"channels \[0\] of 5o",
        ),
        (
            lambda kept: (KeptLayer({"0e": (9,)}, frozenset({0})), *kept[1:]),
            r"\[9\] of 0e in layer 0",
        ),
        (lambda kept: (KeptLayer({"0e": (0,)}, frozenset({7})), *kept[1:]), r"edge degrees \[7\]"),
        (lambda kept: (*kept[:-1], KeptLayer({}, frozenset({0}))), "no 1x0e in the last layer"),
    ],
)
def test_what_cannot_be_kept_is_refused(variant: str, change: Any, words: str) -> None:
    whole = network(IRREPS[0], variant)
    with pytest.raises(ValueError, match=words):
        whole.restricted(change(whole.kept))


@pytest.mark.parametrize("variant", ["convnet, e3nn", "gated, auto"])
def test_weights_of_a_block_are_those_that_its_values_and_gradients_depend_on(variant: str) -> None:
    whole = network(IRREPS[0], variant)
    prepared = whole.prepare(MOLECULES)
    for k, irrep in ((0, "1o"), (1, "2e"), (3, "0e")):
        features, _ = whole.run_recording(prepared)
        block = whole.layer_irreps[k].slices()[
            [str(ir) for _, ir in whole.layer_irreps[k]].index(irrep)
        ]
        weights = whole.block_parameters(k, irrep)
        loss = features[k][:, block].square().sum()
        for written in (w for w in weights if w.writes):
            (gradient,) = torch.autograd.grad(loss, written.parameter, retain_graph=True)
            touched = gradient.reshape(-1, gradient.shape[-1]).abs().sum(0).nonzero()[:, 0]
            assert set(touched.tolist()) == set(written.columns.tolist())
        changed = {n: p.clone() for n, p in whole.named_parameters()}
        names = {id(p): n for n, p in whole.named_parameters()}
        for read in (w for w in weights if not w.writes):
            changed[names[id(read.parameter)]][..., read.columns] = 0.0

        def without(j: int, x: Tensor, k: int = k, block: slice = block) -> Tensor:
            return x if j != k else x.index_fill(1, torch.arange(block.start, block.stop), 0.0)

        # The other network's residual connection carries a block past the weights that read it.
        if k == 3 or isinstance(whole, GatedNetwork):
            expected = whole.run(prepared, edit=without)
            found = functional_call(whole, changed, (MOLECULES,))
            torch.testing.assert_close(found, expected)
