"""The published network: counts, defaults, order of irreps."""

import pytest

from networks.convnet import EquivariantConvNet


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


def test_order_and_repetition_in_the_string_do_not_matter() -> None:
    assert str(EquivariantConvNet("4x1o+2x0e+3x0e").irreps) == "5x0e+4x1o"
