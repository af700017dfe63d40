"""Any input, typed or in a file, is either understood or refused in one line."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import report
import sweep
from networks.irreps import parse_irreps
from qm9.source import PART_COLUMNS, PARTS, POLARIZABILITY, TENSOR_COLUMNS, Source, read_molecules
from qm9.targets import TARGETS, get_target
from records.utilization import COLUMNS
from reporting.read.irreps import canonical_irreps
from reporting.read.runs import ReportError, read_run
from runtime.cli import IrrepscopeCLI
from runtime.errors import UsageError
from runtime.run_name import check_run_name
from runtime.signals import StopSignals
from runtime.wandb_server import check_project
from tests.junk import IRREPS, NUMBERS, SCALARS, VALUES, WORDS, examples, mutated
from tests.qm9.fake_source import copy_source

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Work where hostile paths do no harm, beside a program that sweep files can name."""
    path = tmp_path_factory.mktemp("fuzz")
    (path / "train.py").write_text("")
    with contextlib.chdir(path):
        yield path
    assert not list(path.rglob("PWNED")), "a YAML tag was executed"


def one_line(message: str) -> None:
    assert message.strip()
    assert "\n" not in message
    assert "Traceback" not in message


def run_program(main: Callable[[list[str]], int], arguments: list[str]) -> int:
    """Run a program; with exit codes 1 (the file system refuses) and 2 it prints one line only."""
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
    assert code in (0, 1, 2), errors.getvalue()
    if code != 0:
        one_line(errors.getvalue().rstrip("\n"))
    return code


# ---- train.py -------------------------------------------------------------------------------

OPTIONS = [
    "model.irreps", "model.num_layers", "model.embedding_dim", "model.lr", "model.radial_hidden",
    "model.cutoff", "model.channels_l0", "data.target", "data.graph", "data.train_size",
    "data.split", "data.split_seed", "data.batch_size", "data.cache_dir", "seed_everything",
    "run_name", "runs_dir", "project", "wandb_start_timeout", "fresh", "provenance", "ckpt_path",
    "config", "trainer.max_epochs", "trainer.devices", "trainer.precision", "trainer.callbacks",
    "trainer.limit_train_batches", "trainer.max_time", "trainer.strategy", "trainer",
    "trainer.gradient_clip_val", "model", "data", "latent", "latent.layer",
    "utilization.num_molecules",
]  # fmt: skip
OPTION = st.tuples(st.sampled_from(OPTIONS), VALUES).map(lambda pair: f"--{pair[0]}={pair[1]}")
CONFIG = {
    "seed_everything": 0,
    "model": {"irreps": "4x0e+4x1o", "num_layers": 2, "lr": 0.001, "convolution": "fast"},
    "data": {"target": "U0", "graph": "bonds", "train_size": 32, "split_seed": 0},
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "devices": 1, "callbacks": []},
    "latent": {"enabled": False},
    "run_name": "a",
}


def read_command_line(arguments: list[str]) -> None:
    """Do what ``train.py`` does before it reads or writes anything."""
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            IrrepscopeCLI(arguments, StopSignals())
        except UsageError as error:
            one_line(str(error))
        except SystemExit as end:
            if end.code != 0:  # --help and its like exit with 0
                raise


@examples(8)
@given(st.lists(OPTION, min_size=1, max_size=2), st.lists(WORDS, max_size=1))
def test_any_command_line_of_train(options: list[str], words: list[str]) -> None:
    read_command_line([*options, *words])


@examples(8)
@given(mutated(CONFIG))
def test_any_configuration_file_of_train(config: Any) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8", errors="replace")
    read_command_line(["--config=config.yaml"])


@examples(6)
@given(st.binary(max_size=40) | WORDS.map(lambda word: f"model: {word}".encode(errors="replace")))
def test_any_bytes_as_a_configuration_file(content: bytes) -> None:
    Path("config.yaml").write_bytes(content)
    read_command_line(["--config=config.yaml"])


# ---- sweep.py and report.py -------------------------------------------------------------------

NAMES = ["value", "values", "min", "max", "q", "mu", "sigma", "a", "b", "probabilities"]
DISTRIBUTIONS = [
    "uniform", "int_uniform", "q_uniform", "log_uniform", "log_uniform_values", "normal",
    "inv_log_uniform", "q_log_normal", "beta", "constant", "categorical",
]  # fmt: skip
LEAF = st.dictionaries(st.sampled_from(NAMES), NUMBERS | st.lists(SCALARS, max_size=3), max_size=3)
PARAMETER = st.one_of(
    VALUES,
    LEAF,
    st.tuples(LEAF, st.sampled_from(DISTRIBUTIONS)).map(lambda p: {**p[0], "distribution": p[1]}),
    st.tuples(st.sampled_from(DISTRIBUTIONS), NUMBERS, NUMBERS).map(
        lambda p: {"distribution": p[0], "min": p[1], "max": p[2]}
    ),
)
SWEEP = {
    "program": "train.py",
    "method": "grid",
    "metric": {"name": "val/mae", "goal": "minimize"},
    "parameters": {"model.irreps": {"values": ["4x0e", "4x0e+4x1o"]}},
    "run_cap": 2,
}


@examples(100)
@given(mutated(SWEEP))
def test_any_sweep_file(config: Any) -> None:
    Path("sweep.yaml").write_text(yaml.safe_dump(config), encoding="utf-8", errors="replace")
    run_program(sweep.main, ["sweep.yaml", "--dry-run"])


@examples(150)
@given(
    st.dictionaries(st.sampled_from(["a", "b.c"]), PARAMETER, min_size=1, max_size=2),
    st.sampled_from(["grid", "random"]),
)
def test_any_parameters_of_a_sweep(parameters: dict[str, Any], method: str) -> None:
    config = {**SWEEP, "method": method, "parameters": parameters}
    Path("sweep.yaml").write_text(yaml.safe_dump(config), encoding="utf-8", errors="replace")
    run_program(sweep.main, ["sweep.yaml", "--dry-run"])


@examples(60)
@given(st.binary(max_size=60) | WORDS.map(lambda w: f"parameters: {w}".encode(errors="replace")))
def test_any_bytes_as_a_sweep_file(content: bytes) -> None:
    Path("sweep.yaml").write_bytes(content)
    assert run_program(sweep.main, ["sweep.yaml", "--dry-run"]) == 2


FLAGS = ["--workers", "--devices", "--count", "--seed", "--grace", "--runs_dir", "--retry-failed"]


@examples(80)
@given(
    st.sampled_from(["good.yaml", ".", "train.py"]) | WORDS,
    st.lists(
        st.tuples(st.sampled_from(FLAGS), SCALARS).map(lambda p: f"{p[0]}={p[1]}"), max_size=2
    ),
)
def test_any_command_line_of_sweep(file: str, options: list[str]) -> None:
    Path("good.yaml").write_text(yaml.safe_dump(SWEEP))
    run_program(sweep.main, [file, *options, "--dry-run"])


@examples(80)
@given(
    st.lists(WORDS.filter(lambda word: word not in ("/", "/proc/x", "../..")), max_size=2),
    st.lists(
        st.tuples(
            st.sampled_from(["--reference", "--sweep", "--csv", "-o", "--x", "--wandb"]), WORDS
        )
        # With one slash it would be a project, and the network would be asked for it.
        .filter(lambda pair: pair[0] != "--wandb" or pair[1].count("/") != 1),
        max_size=2,
    ),
)
def test_any_command_line_of_report(runs: list[str], options: list[tuple[str, str]]) -> None:
    run_program(report.main, [*runs, *(part for option in options for part in option)])


SUMMARY = {
    "status": "finished", "run_name": "a", "irreps": "4x0e+4x1o", "target": "U0", "unit": "meV",
    "seed": 0, "configuration": {"model.irreps": "4x0e"}, "test/mae": 1.5, "epochs": 3,
    "molecules": {"train": 5, "val": 5, "test": 5},
}  # fmt: skip


@examples(80)
@given(
    mutated(SUMMARY),
    st.lists(st.lists(SCALARS.map(str), max_size=len(COLUMNS)), max_size=3),
    st.sampled_from(["metrics.csv", "utilization.csv"]),
)
def test_any_run_directory_in_a_report(summary: Any, rows: list[list[str]], name: str) -> None:
    run = Path("run")
    run.mkdir(exist_ok=True)
    for old in run.iterdir():
        old.unlink()
    (run / "summary.json").write_text(json.dumps(summary))
    with (run / name).open("w", encoding="utf-8", errors="replace", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    try:
        found = read_run(run)
    except ReportError as error:
        one_line(str(error))
    else:
        assert found.name
        assert found.epochs in (found.summary.epochs, len(found.trained_rows()))
        assert isinstance(found.training_seconds(), float | None)


# ---- single values -----------------------------------------------------------------------------


@examples(300)
@given(IRREPS | WORDS)
def test_any_irreps(text: str) -> None:
    for read in (parse_irreps, canonical_irreps):
        try:
            assert read(text) is not None
        except ValueError as error:
            one_line(repr(str(error)))


@examples(100)
@given(WORDS | st.sampled_from(sorted(TARGETS)))
def test_any_name_of_target_run_or_project(text: str) -> None:
    for read in (get_target, check_run_name, check_project):
        with contextlib.suppress(ValueError):
            assert read(text)


# ---- rows of QM9 --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return copy_source(tmp_path_factory.mktemp("qm9pack"), rows=3)


@examples(80)
@given(
    name=st.sampled_from([PARTS[1], POLARIZABILITY]),
    row=st.integers(1, 3),
    column=st.sampled_from([*PART_COLUMNS, *TENSOR_COLUMNS]),
    value=SCALARS.map(str) | st.sampled_from(["[[1,2,3]]", "['H']", "[[nan,nan,nan]]", "１", "²"]),
)
def test_any_field_of_a_row_of_qm9(
    source: Source, name: str, row: int, column: str, value: str
) -> None:
    path = source.directory / name
    content = path.read_text(encoding="ascii")
    table = list(csv.reader(io.StringIO(content)))
    if column not in table[0]:
        return
    table[row][table[0].index(column)] = value
    damaged = io.StringIO()
    csv.writer(damaged, lineterminator="\n").writerows(table)
    path.write_text(damaged.getvalue(), encoding="utf-8", errors="replace")
    try:
        raw = read_molecules(source, progress=False)
        problem = ""
    except ValueError as error:
        problem = str(error)
    finally:
        path.write_text(content, encoding="ascii")
    if problem:
        one_line(repr(problem))
        assert ".csv, row" in problem or ".csv has" in problem
    else:
        assert np.isfinite(raw.pos).all()
        assert len(raw.index) == 9
