"""The published network: counts, equivariance, invariance, batching, trimming, refusals."""

from typing import Literal

import pytest
import torch
from e3nn import o3
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from networks.convnet import EquivariantConvNet

SMALL = {"embedding_dim": 4, "num_radial": 5, "radial_hidden": 4}
CONVOLUTIONS: list[Literal["fast", "e3nn"]] = ["fast", "e3nn"]
IRREPS = ["3x0e+2x1o+2x2e", "2x0e+2x1e+3x1o+1x2o+2x3o", "2x0e+1x3o+2x4e"]


def molecule(num_atoms: int, seed: int) -> Data:
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.combinations(torch.arange(num_atoms), 2).T
    return Data(
        z=torch.randint(1, 9, (num_atoms,), generator=generator),
        pos=torch.randn(num_atoms, 3, generator=generator, dtype=torch.float64) * 1.5,
        edge_index=torch.cat([pairs, pairs.flip(0)], dim=1),
    )


def network(irreps: str, **options: object) -> EquivariantConvNet:
    torch.manual_seed(0)
    return EquivariantConvNet(irreps, **{**SMALL, **options}).double()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("degrees", "channels", "published"),
    [
        ((0, 1, 2), 32, 1_648_032),
        ((0, 1, 2, 3, 4), 16, 778_064),
        (tuple(range(7)), 16, 1_859_408),
        (tuple(range(9)), 16, 3_678_032),
        ((0, 3, 4, 5, 6), 16, 827_216),
    ],
)
def test_published_parameter_counts(degrees: tuple, channels: int, published: int) -> None:
    irreps = "+".join(f"{channels}x{l}{'eo'[l % 2]}" for l in degrees)  # noqa: E741
    net = EquivariantConvNet(irreps, trim_unreachable=False)
    assert net.num_parameters() == published
    trimmed = EquivariantConvNet(irreps)
    assert trimmed.num_parameters() == net.num_reachable_parameters() < published


def test_published_hyper_parameters_are_the_defaults() -> None:
    net = EquivariantConvNet(convolution="e3nn")
    assert str(net.irreps) == "32x0e+32x1o+32x2e"
    assert len(net.layers) == 5
    assert net.embedding.weight.shape == (100, 64)
    assert net.layers[0].radial.hs[:2] == [20, 32]
    assert net.layers[0].neighbor_norm == 6.08275253
    assert net.cutoff == 6.0


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
@pytest.mark.parametrize("irreps", IRREPS)
@pytest.mark.parametrize("inversion", [False, True])
def test_every_irrep_of_every_layer_transforms_as_it_should(
    irreps: str, inversion: bool, convolution: str
) -> None:
    net, data = network(irreps, convolution=convolution), molecule(6, seed=1)
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


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_order_of_atoms_does_not_matter(convolution: str) -> None:
    net, data = network(IRREPS[0], convolution=convolution), molecule(7, seed=2)
    order = torch.randperm(7)
    place = order.argsort()
    shuffled = Data(z=data.z[order], pos=data.pos[order], edge_index=place[data.edge_index])
    torch.testing.assert_close(net(shuffled), net(data), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_a_batch_gives_what_single_molecules_give(convolution: str) -> None:
    net = network(IRREPS[1], convolution=convolution)
    data = [molecule(n, seed=n) for n in (5, 1, 3, 8)]
    single = torch.cat([net(d) for d in data])
    torch.testing.assert_close(net(Batch.from_data_list(data)), single, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
def test_gradients_are_the_derivatives(convolution: str) -> None:
    net, data = network("2x0e+1x1o", num_layers=3, convolution=convolution), molecule(4, seed=3)

    def predict(pos: torch.Tensor) -> torch.Tensor:
        return net(Data(z=data.z, pos=pos, edge_index=data.edge_index))

    assert torch.autograd.gradcheck(predict, data.pos.clone().requires_grad_())


@pytest.mark.parametrize("convolution", CONVOLUTIONS)
@pytest.mark.parametrize("irreps", IRREPS)
def test_trimming_changes_neither_predictions_nor_reachable_gradients(
    irreps: str, convolution: str
) -> None:
    whole = network(irreps, trim_unreachable=False, convolution=convolution)
    trimmed = network(irreps, trim_unreachable=True, convolution=convolution)
    data = Batch.from_data_list([molecule(n, seed=n) for n in (4, 6)])
    for net in (whole, trimmed):
        net(data).pow(2).sum().backward()
    torch.testing.assert_close(trimmed(data), whole(data), rtol=1e-12, atol=1e-13)
    kept = dict(trimmed.named_parameters())
    for name, parameter in whole.named_parameters():
        full, part = parameter.grad, kept[name].grad
        if full.shape == part.shape:
            torch.testing.assert_close(part, full, rtol=1e-10, atol=1e-12)
        else:
            live = full.abs().sum(0) > 0
            assert int(live.sum()) <= part.shape[1] < full.shape[1]
            reached = part.abs().sum(0) > 0
            torch.testing.assert_close(part[:, reached], full[:, live], rtol=1e-10, atol=1e-12)


PARTS = st.tuples(st.integers(0, 3), st.integers(0, 13), st.sampled_from("eox"))


@settings(max_examples=40, deadline=None)
@given(st.lists(PARTS, max_size=3), st.integers(1, 3))
def test_any_irreps_string_gives_a_network_that_steps_or_a_clear_error(
    parts: list[tuple[int, int, str]], num_layers: int
) -> None:
    irreps = "+".join(f"{mul}x{degree}{parity}" for mul, degree, parity in parts)
    try:
        net = EquivariantConvNet(irreps, num_layers=num_layers, **SMALL)  # type: ignore[arg-type]
    except ValueError as error:
        message = str(error)
        assert irreps in message or str(o3.Irreps(irreps).sort().irreps.simplify()) in message
        assert "\n" not in message
        return
    data = molecule(3, seed=0)
    data.pos = data.pos.float()
    optimizer = torch.optim.AdamW(net.parameters())
    net(data).pow(2).sum().backward()
    optimizer.step()
    assert torch.isfinite(net(data)).all()


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
def test_unusable_irreps_are_named(irreps: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EquivariantConvNet(irreps)


def test_order_and_repetition_in_the_string_do_not_matter() -> None:
    assert str(EquivariantConvNet("4x1o+2x0e+3x0e").irreps) == "5x0e+4x1o"
