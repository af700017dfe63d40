"""Every network: equivariance, invariance, batching, gradients, trimming, refusals."""

import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from tests.networks.variants import VARIANTS, small_network

IRREPS = ["3x0e+2x1o+2x2e", "2x0e+2x1e+3x1o+1x2o+2x3o", "2x0e+1x3o+2x4e"]
ANY_NETWORK = pytest.mark.parametrize("variant", VARIANTS)
DEFAULTS = ("convnet, fast", "gated, auto")


def molecule(num_atoms: int, seed: int) -> Data:
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.combinations(torch.arange(num_atoms), 2).T
    return Data(
        z=torch.randint(1, 9, (num_atoms,), generator=generator),
        pos=torch.randn(num_atoms, 3, generator=generator, dtype=torch.float64) * 1.5,
        edge_index=torch.cat([pairs, pairs.flip(0)], dim=1),
    )


@ANY_NETWORK
@pytest.mark.parametrize("irreps", IRREPS)
@pytest.mark.parametrize("inversion", [False, True])
def test_every_irrep_of_every_layer_transforms_as_it_should(
    irreps: str, inversion: bool, variant: str
) -> None:
    net, data = small_network(variant, irreps), molecule(6, seed=1)
    rotation = o3.rand_matrix(dtype=torch.float64) * (-1 if inversion else 1)
    moved = data.clone()
    moved.pos = data.pos @ rotation.T + torch.randn(3, dtype=torch.float64)
    before, _ = net.run_recording(net.prepare(data))
    after, _ = net.run_recording(net.prepare(moved))
    for layer_irreps, x, y in zip(net.layer_irreps, before, after):
        matrix = _matrix(layer_irreps, rotation)
        torch.testing.assert_close(y, x @ matrix.T, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(net(moved), net(data), rtol=1e-10, atol=1e-11)


def _matrix(irreps: o3.Irreps, rotation: torch.Tensor) -> torch.Tensor:
    """Representation matrix in float64; e3nn computes it in the default dtype."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        return irreps.D_from_matrix(rotation)
    finally:
        torch.set_default_dtype(default)


@ANY_NETWORK
def test_order_of_atoms_does_not_matter(variant: str) -> None:
    net, data = small_network(variant, IRREPS[0]), molecule(7, seed=2)
    order = torch.randperm(7)
    place = order.argsort()
    shuffled = Data(z=data.z[order], pos=data.pos[order], edge_index=place[data.edge_index])
    torch.testing.assert_close(net(shuffled), net(data), rtol=1e-11, atol=1e-12)


@ANY_NETWORK
def test_a_batch_gives_what_single_molecules_give(variant: str) -> None:
    net = small_network(variant, IRREPS[1])
    data = [molecule(n, seed=n) for n in (5, 1, 3, 8)]
    single = torch.cat([net(d) for d in data])
    torch.testing.assert_close(net(Batch.from_data_list(data)), single, rtol=1e-11, atol=1e-12)


@ANY_NETWORK
def test_gradients_are_the_derivatives(variant: str) -> None:
    net, data = small_network(variant, "2x0e+1x1o", num_layers=3), molecule(4, seed=3)

    def predict(pos: torch.Tensor) -> torch.Tensor:
        return net(Data(z=data.z, pos=pos, edge_index=data.edge_index))

    assert torch.autograd.gradcheck(predict, data.pos.clone().requires_grad_())


@ANY_NETWORK
@pytest.mark.parametrize("irreps", IRREPS)
def test_trimming_changes_neither_predictions_nor_reachable_gradients(
    irreps: str, variant: str
) -> None:
    whole = small_network(variant, irreps, trim_unreachable=False)
    trimmed = small_network(variant, irreps, trim_unreachable=True)
    data = Batch.from_data_list([molecule(n, seed=n) for n in (4, 6)])
    for net in (whole, trimmed):
        net(data).pow(2).sum().backward()
    torch.testing.assert_close(trimmed(data), whole(data), rtol=1e-12, atol=1e-13)
    kept = dict(trimmed.named_parameters())
    selections = whole.weight_selections(trimmed.kept)
    assert trimmed.num_parameters() < whole.num_parameters()
    for name, parameter in whole.named_parameters():
        full, part = parameter.grad, kept[name].grad
        if name not in selections:
            torch.testing.assert_close(part, full, rtol=1e-10, atol=1e-12)
            continue
        axis, at, factors = vars(selections[name]).values()
        assert (factors == 1.0).all()
        rest = full.index_fill(axis, at, 0.0)
        assert not rest.any()
        torch.testing.assert_close(part, full.index_select(axis, at), rtol=1e-10, atol=1e-12)


PARTS = st.tuples(st.integers(0, 3), st.integers(0, 13), st.sampled_from("eox"))


@pytest.mark.parametrize("variant", DEFAULTS)
@settings(max_examples=40, deadline=None)
@given(parts=st.lists(PARTS, max_size=3), num_layers=st.integers(1, 3))
def test_any_irreps_string_gives_a_network_that_steps_or_a_clear_error(
    variant: str, parts: list[tuple[int, int, str]], num_layers: int
) -> None:
    irreps = "+".join(f"{mul}x{degree}{parity}" for mul, degree, parity in parts)
    try:
        net = small_network(variant, irreps, num_layers=num_layers)
    except ValueError as error:
        message = str(error)
        assert irreps in message or str(o3.Irreps(irreps).sort().irreps.simplify()) in message
        assert "\n" not in message
        return
    data = molecule(3, seed=0)
    optimizer = torch.optim.AdamW(net.parameters())
    net(data).pow(2).sum().backward()
    optimizer.step()
    assert torch.isfinite(net(data)).all()


@pytest.mark.parametrize("variant", DEFAULTS)
@pytest.mark.parametrize(
    ("irreps", "message"),
    [
        ("16x0e+foo", "cannot be parsed"),
        ("", "is empty"),
        ("16x1o", "has no 0e"),
        ("16x0e+0x1o", "multiplicity of 0"),
        ("16x0e+16x1e", "no tensor product path fills 1e"),
        ("16x0e+2x12e", "degree l=12"),
    ],
)
def test_unusable_irreps_are_named(variant: str, irreps: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small_network(variant, irreps)
