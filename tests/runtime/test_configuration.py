"""A command line becomes one frozen configuration, checked as a whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml

from lightning_modules.regressor import EquivariantRegressor
from networks.choice import NETWORK_DEFAULTS
from records.configuration import configuration_hash, identity
from runtime.cli import IrrepscopeCLI
from runtime.configuration import RunConfiguration, check_timeout, expand_directory
from runtime.signals import StopSignals

OPTIONS = ["--model.irreps=4x0e+4x1o", "--model.cutoff=5.0", "--seed_everything=3"]


def configuration(*arguments: str) -> RunConfiguration:
    return IrrepscopeCLI(list(arguments), StopSignals()).configuration


@pytest.fixture(scope="module")
def bare() -> RunConfiguration:
    return configuration(*OPTIONS)


def test_options_become_typed_fields() -> None:
    found = configuration(
        "predict", *OPTIONS, "--run_name=a", "--runs_dir=~/b", "--output=c.csv", "--project=d",
        "--wandb_start_timeout=2", "--wandb_finish_timeout=3.5",
    )  # fmt: skip
    assert (found.subcommand, found.bare) == ("predict", False)
    assert (found.run_name, found.runs_dir) == ("a", Path.home() / "b")
    assert (found.output, found.ckpt_path) == (Path("c.csv"), None)
    assert (found.project, found.fresh) == ("d", False)
    assert (found.wandb_start_timeout, found.wandb_finish_timeout) == (2.0, 3.5)
    assert found.directory == Path.home() / "b" / "a"


def test_a_command_without_subcommand_is_fit(bare: RunConfiguration) -> None:
    assert (bare.subcommand, bare.bare) == ("fit", True)
    assert configuration("fit", *OPTIONS).bare is False


def test_the_default_name_comes_from_the_configuration(bare: RunConfiguration) -> None:
    assert bare.run_name == f"U0-4x0e+4x1o-s3-{bare.hash}"
    assert bare.seed == 3


def test_it_cannot_be_changed(bare: RunConfiguration) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        bare.fresh = True  # type: ignore[misc]


def test_resolved_options_hold_defaults_and_linked_values(bare: RunConfiguration) -> None:
    assert bare.resolved["data"]["cutoff"] == bare.resolved["model"]["cutoff"] == 5.0
    assert bare.resolved["model"]["target"] == bare.resolved["data"]["target"] == "U0"
    assert bare.identity == identity(bare.resolved)
    assert bare.hash == configuration_hash(bare.resolved)
    assert bare.for_wandb["model.cutoff"] == 5.0
    assert bare.for_wandb["l_values"] == [0, 1]


def test_a_run_without_a_seed_has_none() -> None:
    assert configuration(*OPTIONS, "--seed_everything=false").seed is None


def test_the_command_line_takes_config_yaml_again(bare: RunConfiguration, tmp_path: Path) -> None:
    path = tmp_path / "copy.yaml"  # under its own name, it would name the run that it lies in
    path.write_text(bare.yaml_text)
    again = configuration(f"--config={path}")
    named = {**bare.resolved, "run_name": bare.run_name}
    assert again == dataclasses.replace(bare, resolved=named)


def test_config_yaml_lacks_what_belongs_to_one_command_only() -> None:
    found = configuration("predict", *OPTIONS, "--output=p.csv", "--run_name=a")
    kept: dict[str, Any] = yaml.safe_load(found.yaml_text)
    assert {"output", "ckpt_path", "fresh", "config", "return_predictions"} & set(kept) == set()
    assert kept["run_name"] == "a"
    assert kept["provenance"] == found.provenance


def test_git_is_asked_once() -> None:
    with mock.patch("runtime.provenance.git_commit", return_value="abc") as asked:
        found = configuration(*OPTIONS)
    assert asked.call_count == 1
    assert found.provenance["git_commit"] == "abc"
    assert "git_commit: abc" in found.yaml_text


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_wait_without_a_bound_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="--wandb_finish_timeout is"):
        check_timeout("--wandb_finish_timeout", seconds)


@pytest.mark.parametrize("text", ["a\0b", "~nobody_of_this_name/x"])
def test_directories_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="runs_dir"):
        expand_directory("runs_dir", text)


def sizes_and_graph(found: RunConfiguration) -> dict[str, Any]:
    model, names = found.resolved["model"], NETWORK_DEFAULTS["gated"]
    return {name: model[name] for name in names} | {"graph": found.resolved["data"]["graph"]}


def test_defaults_follow_the_network_wherever_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.yaml").write_text("model: {network: gated}")
    expected = {**NETWORK_DEFAULTS["gated"], "graph": "radius"}
    for arguments in (["--model.network=gated"], [f"--config={tmp_path / 'c.yaml'}"]):
        found = configuration(*arguments)
        assert sizes_and_graph(found) == expected
        assert found.resolved["data"]["cutoff"] == 5.0
        written = yaml.safe_load(found.yaml_text)
        assert (written["model"]["num_elements"], written["data"]["graph"]) == (10, "radius")
        assert "network gated has model.num_layers 4, " in capsys.readouterr().err
    assert sizes_and_graph(configuration()) == {**NETWORK_DEFAULTS["convnet"], "graph": "bonds"}
    assert capsys.readouterr().err == ""


def test_options_that_are_given_win_over_the_networks_defaults(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # These are the other network's defaults.
    given = {**NETWORK_DEFAULTS["convnet"], "graph": "bonds"}
    options = [f"--model.{name}={value}" for name, value in NETWORK_DEFAULTS["convnet"].items()]
    found = configuration("--model.network=gated", *options, "--data.graph=bonds")
    assert sizes_and_graph(found) == given
    assert capsys.readouterr().err == ""
    found = configuration("--model.network=gated", "--model.num_radial=6", "--data.graph=bonds")
    assert sizes_and_graph(found) == {
        **NETWORK_DEFAULTS["gated"],
        "num_radial": 6,
        "graph": "bonds",
    }
    said = capsys.readouterr().err
    assert "num_radial" not in said
    assert "graph" not in said
    found = configuration("--model.network=gated", "--model.cutoff=null", "--model.num_layers=null")
    assert sizes_and_graph(found) == {**NETWORK_DEFAULTS["gated"], "graph": "radius"}
    assert found.resolved["data"]["cutoff"] == 5.0


def test_python_and_command_line_have_the_same_defaults() -> None:
    for network, defaults in NETWORK_DEFAULTS.items():
        model = EquivariantRegressor("4x0e+4x1o", network=network)
        assert {name: model.hparams[name] for name in defaults} == dict(defaults)
