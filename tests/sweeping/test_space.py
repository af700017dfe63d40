"""Local sweeps have the configurations of W&B's own engine, as recorded in wandb_engine.json."""

import itertools
import json
from pathlib import Path

import pytest

from sweeping.file import parse_parameters
from sweeping.space import distinct, draws, grid

ENGINE = json.loads((Path(__file__).parent / "wandb_engine.json").read_text())


@pytest.mark.parametrize("name", ENGINE["grids"])
def test_a_grid_has_the_configurations_of_the_engine_in_its_order(name):
    case = ENGINE["grids"][name]
    ours = list(grid(parse_parameters(case["parameters"])))
    assert json.dumps(ours, sort_keys=True) == json.dumps(case["configurations"], sort_keys=True)


@pytest.mark.parametrize("seed", ENGINE["random"])
def test_random_draws_equal_those_of_the_engine_for_the_same_seed(seed):
    parameters = parse_parameters(ENGINE["random_parameters"])
    ours = list(itertools.islice(draws(parameters, int(seed)), 5))
    for mine, theirs in zip(ours, ENGINE["random"][seed], strict=True):
        assert mine.pop("nest")["x"] == pytest.approx(theirs["nest"]["x"], rel=1e-12)
        assert mine.keys() == theirs.keys() - {"nest"}
        for key, value in mine.items():
            expected = theirs[key]
            assert type(value) is type(expected), key
            assert value == (expected if isinstance(value, str) else pytest.approx(expected)), key


def test_a_random_search_ends_when_nothing_new_can_be_drawn():
    parameters = parse_parameters({"a": {"values": [1, 2]}, "b": {"value": "x"}})
    found = list(distinct(draws(parameters, seed=0), 10))
    assert sorted(configuration["a"] for configuration in found) == [1, 2]


def test_the_seed_determines_the_draws():
    parameters = parse_parameters({"lr": {"min": 0.0, "max": 1.0}})
    first, again, other = (list(distinct(draws(parameters, s), 3)) for s in (0, 0, 1))
    assert first == again != other
