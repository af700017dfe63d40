"""Subsets and Shapley values against brute force over permutations."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import pytest
import torch

from analysis.decomposition import degree_label
from analysis.subsets import (
    joining_orders,
    measured_subsets,
    shapley_values,
    subset_errors,
    summarize_subsets,
)
from networks.convnet import EquivariantConvNet
from networks.nested import NestedNetworks
from networks.restriction import keep_degrees
from tests.analysis.molecules import random_molecules


def random_errors(count: int, molecules: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(molecules, count, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("degrees", [(1,), (1, 2), (1, 2, 4), (1, 2, 3, 4, 5)])
def test_shapley_values_are_the_average_over_all_permutations(degrees: tuple[int, ...]) -> None:
    measured = measured_subsets(degrees)
    errors = random_errors(len(measured))
    value = {frozenset(s): errors[:, i] for i, s in enumerate(measured)}
    expected = {degree: torch.zeros(len(errors), dtype=torch.float64) for degree in degrees}
    for order in permutations(degrees):
        for i, degree in enumerate(order):
            joined = value[frozenset(order[: i + 1])] - value[frozenset(order[:i])]
            expected[degree] += joined / factorial(len(degrees))
    brute_force = torch.stack(list(expected.values()), dim=1)
    found = shapley_values(errors, measured)
    torch.testing.assert_close(found, brute_force)
    by_orders = shapley_values(errors, measured, joining_orders(degrees))
    torch.testing.assert_close(by_orders, brute_force)


def test_shapley_values_of_an_additive_error_are_what_each_degree_takes_off() -> None:
    gain = {1: 5.0, 2: 3.0, 4: -1.0}
    measured = measured_subsets(tuple(gain))
    errors = torch.tensor([[20.0 - sum(gain[d] for d in s) for s in measured]])
    assert shapley_values(-errors, measured)[0].tolist() == pytest.approx(list(gain.values()))


def test_degrees_that_only_help_together_share_what_they_help() -> None:
    measured = measured_subsets((1, 2))
    errors = torch.tensor([[10.0 if s != (1, 2) else 4.0 for s in measured]])
    assert shapley_values(-errors, measured)[0].tolist() == pytest.approx([3.0, 3.0])


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_all_subsets_of_up_to_five_degrees_are_measured(count: int) -> None:
    measured = measured_subsets(range(1, count + 1))
    assert len(set(measured)) == len(measured) == 2**count


@pytest.mark.parametrize("count", [6, 7, 8, 11])
def test_of_more_degrees_a_fixed_sample_is_measured(count: int) -> None:
    degrees = tuple(range(1, count + 1))
    measured, orders = measured_subsets(degrees), joining_orders(degrees)
    assert measured == measured_subsets(degrees)
    assert measured[0] == ()
    assert measured[-1] == degrees
    assert count + 1 <= len(measured) <= 32
    assert all(sorted(order) == list(degrees) for order in orders)
    # Whatever the orders: what the degrees add sums to the whole fall of the error.
    errors = random_errors(len(measured))
    total = shapley_values(-errors, measured, orders).sum(1)
    torch.testing.assert_close(total, errors[:, 0] - errors[:, -1])


def test_in_the_orders_of_six_degrees_each_joins_once_in_every_position() -> None:
    orders = joining_orders(range(1, 7))
    assert all(sorted(place) == [1, 2, 3, 4, 5, 6] for place in zip(*orders, strict=True))


def test_sampled_values_approach_the_exact_ones_with_more_subsets() -> None:
    degrees = tuple(range(1, 7))
    everything = measured_subsets(degrees, limit=64)
    errors = random_errors(64)
    exact = shapley_values(errors, everything)
    deviations = []
    for limit in (32, 63):
        columns = [everything.index(s) for s in measured_subsets(degrees, limit)]
        part = [everything[c] for c in columns]
        found = shapley_values(errors[:, columns], part, joining_orders(degrees, limit))
        deviations.append(float((found - exact).abs().mean()))
    assert deviations[1] < deviations[0] < 0.3


def test_a_sample_too_small_for_one_order_is_refused() -> None:
    with pytest.raises(ValueError, match="6 subsets of 6 degrees: give at least 7"):
        measured_subsets(range(1, 7), limit=6)


def test_errors_are_those_of_the_restricted_networks() -> None:
    torch.manual_seed(0)
    network = EquivariantConvNet(
        "3x0e+2x1o+2x2e", num_layers=2, embedding_dim=4, num_elements=10, num_radial=4
    ).double()
    batches = [random_molecules(3, dtype=torch.float64), random_molecules(2, dtype=torch.float64)]
    measured = measured_subsets((1, 2))
    found = subset_errors(NestedNetworks(network), batches, measured, unit=1000.0)
    for column, subset in enumerate(measured):
        alone = network.restricted(keep_degrees(network.kept, (0, *subset)))
        expected = torch.cat([(alone(b) - b.y).abs() * 1000 for b in batches])
        torch.testing.assert_close(found[:, column], expected.detach(), rtol=1e-9, atol=1e-9)


def test_the_summary_has_means_and_intervals_that_cover_them() -> None:
    measured = measured_subsets((1, 2))
    errors = random_errors(4) + torch.tensor([3.0, 2.0, 1.5, 1.0])
    nested = summarize_subsets(errors, measured, num_bootstrap=200)
    assert list(nested.mae) == [degree_label(s) for s in measured] == ["0", "0,1", "0,2", "0,1,2"]
    assert [e.value for e in nested.mae.values()] == pytest.approx(errors.mean(0).tolist())
    assert nested.num_molecules == 40
    for estimate in (*nested.mae.values(), *nested.shapley.values()):
        assert estimate.low < estimate.value < estimate.high
    total = sum(estimate.value for estimate in nested.shapley.values())
    assert total == pytest.approx(nested.mae["0"].value - nested.mae["0,1,2"].value)
