"""What a sweep file may say, and the one-line error for what it may not."""

import contextlib
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeping.file import SweepFile, load_sweep_file, parse_parameters

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
    assert (sweep.name, sweep.method) == ("demo", "grid")
    assert (sweep.metric.name, sweep.metric.goal) == ("val/mae", "minimize")
    assert sweep.command == ("${env}", "${interpreter}", "${program}", "${args}")
    assert (sweep.run_cap, sweep.project) == (3, "irrepscope")


@pytest.mark.parametrize("name", [NONE, None])
def test_the_name_defaults_to_that_of_the_file(write, name):
    assert load_sweep_file(write(name=name)).name == "sweep"


@pytest.mark.parametrize("name", ["my first sweep", "lr (coarse)", "a=1 + b"])
def test_names_that_wandb_takes_are_names_of_folders(write, name):
    assert load_sweep_file(write(name=name)).name == name


def test_a_null_is_kept_where_json_is_passed_and_for_other_programs(write, tmp_path):
    null = {"a": {"values": [None, 1]}}
    assert load_sweep_file(write(parameters=null, command=["${program}", "${args_json}"]))
    (tmp_path / "other.py").write_text("")
    assert load_sweep_file(write(parameters=null, program="other.py"))


def test_early_terminate_is_noted_not_refused(write):
    sweep = load_sweep_file(write(early_terminate={"type": "hyperband", "min_iter": 3}))
    assert "early_terminate" in sweep.notes[0]


BAD = {
    "bayes": ({"method": "bayes"}, "wandb sweep"),
    "custom": ({"method": "custom"}, "wandb sweep"),
    "unknown method": ({"method": "gird"}, "unknown method 'gird'"),
    "no method": ({"method": NONE}, "no `method:`"),
    "method of a wrong type": ({"method": ["grid"]}, "unknown method ['grid']"),
    "no program": ({"program": NONE}, "no `program:`"),
    "missing program": ({"program": "nothere.py"}, "no program nothere.py"),
    "no parameters": ({"parameters": NONE}, "no `parameters:`"),
    "empty parameters": ({"parameters": {}}, "no `parameters:`"),
    "empty grid": ({"parameters": {"a": {"values": []}}}, "at least one item"),
    "no metric": ({"metric": NONE}, "no metric"),
    "metric that is a name": ({"metric": "val/mae"}, "metric must be a mapping, got 'val/mae'"),
    "metric without name": ({"metric": {"goal": "minimize"}}, "the metric has no name"),
    "wrong goal": (
        {"metric": {"name": "x", "goal": "min"}},
        "metric.goal must be 'minimize' or 'maximize', got 'min'",
    ),
    "unknown key of the metric": (
        {"metric": {"name": "x", "gaol": "minimize"}},
        "unknown key `metric.gaol`; did you mean `goal`?",
    ),
    "unknown key": (
        {"parameter": {}, "parameters": NONE},
        "unknown key `parameter`; did you mean `parameters`?",
    ),
    "unknown key with a dot": ({"metric.name": "x"}, "unknown key `metric.name`"),
    "bare value": ({"parameters": {"a": 3}}, "`a: {value: 3}`"),
    "unknown parameter key": ({"parameters": {"a": {"value": 1, "q": 2}}}, "has q"),
    "neither value nor range": ({"parameters": {"a": {"min": 1}}}, "needs `value`"),
    "float range in a grid": ({"parameters": {"a": {"min": 0.1, "max": 1.0}}}, "cannot enumerate"),
    "mixed range": ({"parameters": {"a": {"min": 0, "max": 1.5}}}, "ambiguous"),
    "string range": ({"parameters": {"a": {"min": "1e-5", "max": "1e-3"}}}, "1.0e-3"),
    "reversed range": ({"parameters": {"a": {"min": 5, "max": 2}}}, "min 5 is not less than max 2"),
    "truth value as a limit": (
        {"parameters": {"a": {"min": True, "max": 2, "distribution": "q_uniform"}}},
        "min must be a number, got True",
    ),
    "fraction of an integer": (
        {"parameters": {"a": {"min": 0.5, "max": 2, "distribution": "int_uniform"}}},
        "min must be a whole number, got 0.5",
    ),
    "step of zero": (
        {"parameters": {"a": {"min": 0, "max": 2, "q": 0, "distribution": "q_uniform"}}},
        "q must be greater than 0, got 0",
    ),
    "step too small to count": (
        {"parameters": {"a": {"min": 0, "max": 1e300, "q": 1e-300, "distribution": "q_uniform"}}},
        "q 1e-300 is too small",
    ),
    "logarithm of zero": (
        {
            "method": "random",
            "parameters": {"a": {"min": 0, "max": 2, "distribution": "log_uniform_values"}},
        },
        "min must be greater than 0, got 0",
    ),
    "negative standard deviation": (
        {"method": "random", "parameters": {"a": {"sigma": -1, "distribution": "normal"}}},
        "sigma must be at least 0, got -1",
    ),
    "range without an end": (
        {"parameters": {"a": {"min": 1, "distribution": "int_uniform"}}},
        "(int_uniform) lacks max",
    ),
    "bad name": ({"parameters": {"a b": {"value": 1}}}, "'a b'"),
    "bad distribution": (
        {"parameters": {"a": {"distribution": "gaussian", "mu": 0}}},
        "unknown distribution",
    ),
    "probabilities": (
        {"method": "random", "parameters": {"a": {"values": [1, 2], "probabilities": [1, 1]}}},
        "do not sum to 1",
    ),
    "too few probabilities": (
        {"method": "random", "parameters": {"a": {"values": [1, 2], "probabilities": [1]}}},
        "one probability per value",
    ),
    "null": ({"parameters": {"data.train_size": {"values": [None, 9]}}}, '"null" in quotes'),
    "constant null": ({"parameters": {"run_name": {"value": None}}}, "`run_name` has a null"),
    "null in a mapping": (
        {"parameters": {"trainer": {"value": {"gradient_clip_val": None}}}},
        "`trainer` has a null",
    ),
    "null in a nested parameter": (
        {"parameters": {"data": {"parameters": {"train_size": {"values": [[1, None]]}}}}},
        "`data.train_size` has a null",
    ),
    "flag": (
        {
            "command": ["python", "${program}", "${args_no_boolean_flags}"],
            "parameters": {"fresh": {"values": [1, False]}},
        },
        "write ${args} in `command:`",
    ),
    "name that ends with a space": ({"name": "demo "}, "cannot name a folder"),
    "command": ({"command": "python train.py"}, "must be a list"),
    "unquoted command": ({"command": [{"env": None}]}, "plain items"),
    "run_cap": ({"run_cap": 0}, "run_cap must be at least 1, got 0"),
    "run_cap that is true": ({"run_cap": True}, "run_cap must be a whole number, got True"),
    "project": ({"project": 7}, "project must be text, got 7"),
    "name": ({"name": "../elsewhere"}, "cannot name a folder"),
    "early_terminate": (
        {"early_terminate": {"type": "median", "min_iter": 3}},
        "early_terminate.type must be 'hyperband', got 'median'",
    ),
    "early_terminate without a type": ({"early_terminate": {"min_iter": 3}}, "`type: hyperband`"),
    "early_terminate without a band": ({"early_terminate": {"type": "hyperband"}}, "min_iter"),
}


@pytest.mark.parametrize("case", BAD)
def test_each_mistake_gets_one_line_that_names_it(write, case):
    changes, expected = BAD[case]
    with pytest.raises(ValueError, match=re.escape(expected)) as caught:
        load_sweep_file(write(**changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: [",
        "",
        "- 1",
        "just words",
        "method: grid\n\tprogram: x",
        "method: &a [*a]",
        "method: .nan",
        "method: 2024-13-45",
        "method: " + "[" * 5000 + "]" * 5000,
        "parameters: " + "{a: {parameters: " * 2000 + "}}" * 2000,
    ],
    ids=lambda text: text[:20],
)
def test_a_file_that_holds_no_sweep_gets_one_line_that_names_it(tmp_path, text):
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
@given(
    changes=st.dictionaries(
        st.sampled_from(sorted(SweepFile.model_fields)), json_values, max_size=3
    )
)
def test_any_sweep_file_is_read_or_refused_clearly(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}))
    with contextlib.suppress(ValueError):
        assert load_sweep_file(path).parameters
