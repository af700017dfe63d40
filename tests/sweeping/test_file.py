"""What a sweep file may say, and the one line that answers what it may not."""

import contextlib

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeping.file import KNOWN_KEYS, load_sweep_file, parse_parameters

GOOD = {
    "name": "demo",
    "program": "train.py",
    "method": "grid",
    "metric": {"name": "val/mae", "goal": "minimize"},
    "parameters": {"seed": {"values": [0, 1]}},
}
NONE = object()


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a sweep file with changes to a good one, beside an existing program."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("")

    def write_file(**changes):
        config = {**GOOD, **changes}
        config = {key: value for key, value in config.items() if value is not NONE}
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    return write_file


def test_a_good_file_is_read(write):
    sweep = load_sweep_file(write(run_cap=3, project="irrepscope"))
    assert (sweep.name, sweep.method, sweep.metric, sweep.goal) == (
        "demo",
        "grid",
        "val/mae",
        "minimize",
    )
    assert sweep.command == ("${env}", "${interpreter}", "${program}", "${args}")
    assert (sweep.run_cap, sweep.project) == (3, "irrepscope")


def test_the_name_defaults_to_the_files(write):
    assert load_sweep_file(write(name=NONE)).name == "sweep"


def test_early_terminate_is_noted_not_refused(write):
    sweep = load_sweep_file(write(early_terminate={"type": "hyperband", "min_iter": 3}))
    assert "early_terminate" in sweep.notes[0]


BAD = {
    "bayes": ({"method": "bayes"}, "wandb sweep"),
    "custom": ({"method": "custom"}, "wandb sweep"),
    "unknown method": ({"method": "gird"}, "unknown method 'gird'"),
    "no method": ({"method": NONE}, "unknown method None"),
    "no program": ({"program": NONE}, "no `program:`"),
    "missing program": ({"program": "nothere.py"}, "no program nothere.py"),
    "no parameters": ({"parameters": NONE}, "no `parameters:`"),
    "empty parameters": ({"parameters": {}}, "no `parameters:`"),
    "empty grid": ({"parameters": {"a": {"values": []}}}, "at least one item"),
    "no metric": ({"metric": NONE}, "no metric"),
    "metric without name": ({"metric": {"goal": "minimize"}}, "no metric"),
    "wrong goal": ({"metric": {"name": "x", "goal": "min"}}, "minimize or maximize"),
    "unknown key": ({"parameter": {}}, "did you mean `parameters`?"),
    "bare value": ({"parameters": {"a": 3}}, "`a: {value: 3}`"),
    "unknown parameter key": ({"parameters": {"a": {"value": 1, "q": 2}}}, "has q"),
    "neither value nor range": ({"parameters": {"a": {"min": 1}}}, "needs `value`"),
    "float range in a grid": ({"parameters": {"a": {"min": 0.1, "max": 1.0}}}, "cannot enumerate"),
    "mixed range": ({"parameters": {"a": {"min": 0, "max": 1.5}}}, "ambiguous"),
    "string range": ({"parameters": {"a": {"min": "1e-5", "max": "1e-3"}}}, "1.0e-3"),
    "reversed range": ({"parameters": {"a": {"min": 5, "max": 2}}}, "not less than"),
    "bad name": ({"parameters": {"a b": {"value": 1}}}, "'a b'"),
    "bad distribution": (
        {"parameters": {"a": {"distribution": "gaussian", "mu": 0}}},
        "unknown distribution",
    ),
    "probabilities": (
        {"method": "random", "parameters": {"a": {"values": [1, 2], "probabilities": [1, 1]}}},
        "do not sum to 1",
    ),
    "command": ({"command": "python train.py"}, "must be a list"),
    "unquoted command": ({"command": [{"env": None}]}, "plain items"),
    "run_cap": ({"run_cap": 0}, "run_cap"),
    "name": ({"name": "../elsewhere"}, "cannot name a folder"),
    "early_terminate": ({"early_terminate": {"type": "median"}}, "hyperband"),
    "early_terminate without a band": ({"early_terminate": {"type": "hyperband"}}, "min_iter"),
}


@pytest.mark.parametrize("case", BAD)
def test_each_mistake_gets_one_line_that_names_it(write, case):
    changes, expected = BAD[case]
    with pytest.raises(ValueError) as caught:
        load_sweep_file(write(**changes))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a: [", "", "- 1", "just words", "method: grid\n\tprogram: x"])
def test_what_is_no_sweep_at_all_is_said_in_one_line(tmp_path, text):
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=str(path)) as caught:
        load_sweep_file(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="no sweep file"):
        load_sweep_file(tmp_path / "nothere.yaml")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["value", "values", "min", "max", "probabilities", "parameters", "a"])
            | st.just("distribution"),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(["a", "b.c", "d e", ""]), json_values, max_size=2))
def test_any_parameters_are_parsed_or_refused_clearly(parameters):
    try:
        leaves = parse_parameters(parameters)
    except ValueError:
        return
    assert leaves


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(changes=st.dictionaries(st.sampled_from(sorted(KNOWN_KEYS)), json_values, max_size=3))
def test_any_sweep_file_is_read_or_refused_clearly(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    with contextlib.suppress(ValueError):
        assert load_sweep_file(path).parameters
