"""Whatever unusable input a user gives: one clear line and exit code 2, before any work."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import probe
import prune
import report
import sweep
import train
import upload
from runtime.cli import IrrepscopeCLI
from runtime.errors import UsageError
from runtime.signals import StopSignals
from tests.programs import run_program
from tests.records.test_bounded import HOSTILE_YAML

ROOT = Path(__file__).parent.parent

HOSTILE_VALUES = [
    "[" * 900 + "]" * 900,
    f"{{{', '.join(HOSTILE_YAML['billion laughs'].splitlines())}}}",
    "1:" * 50_000 + "1",
    "&a [*a]",
]
"""Values that the parser, which reads them as YAML, would not finish with, or not survive."""
TOO_LONG = "x" * 5000
BAD = [
    (["--model.irreps=16x0e+foo"], ["16x0e+foo", "cannot be parsed", "32x0e+32x1o"]),
    (["--model.irreps="], ["is empty"]),
    (["--model.irreps=16x1o+16x2e"], ["has no 0e", "add it"]),
    (["--model.irreps=16x0e+0x1o"], ["1o", "multiplicity of 0"]),
    (["--model.irreps=16x0e+16x1e"], ["no tensor product path fills 1e"]),
    (["--model.irreps=16x0e+16x2e", "--model.num_layers=1"], ["degree l=2", "cannot reach"]),
    (["--model.irreps=16x0e+16x12e"], ["l=12", "l=11"]),
    (["--model.convolution=slow"], ["slow", "fast", "e3nn"]),
    (["--model.irreps=1x0e+"], ["1x0e+", "cannot be parsed"]),
    (["--model.irreps=-3x1o"], ["-3x1o", "cannot be parsed"]),
    (["--model.irreps=0x0e"], ["0e", "multiplicity of 0"]),
    (["--model.irreps=99999999x0e"], ["99999999x0e", "weights", "smaller"]),
    (["--model.embedding_dim=99999999999"], ["embedding_dim", "weights"]),
    (["--model.num_layers=1000000"], ["num_layers is 1000000", "100"]),
    (["--model.num_elements=9"], ["num_elements is 9", "fluorine"]),
    (["--model.cutoff=1e300"], ["cutoff", "1000"]),
    (["--model.cutoff=0"], ["cutoff", "0"]),
    (["--model.cutoff=-2"], ["cutoff", "-2"]),
    (["--model.lr=0"], ["lr is 0"]),
    (["--model.num_layers=two"], ["num_layers", "two"]),
    (["--data.target=energy"], ["energy", "U0", "alpha_aniso"]),
    (["--data.graph=knn"], ["knn", "bonds", "radius"]),
    (["--data.target=charge_dipole", "--model.irreps=8x0e"], ["no 1o", "is a vector", "8x0e+8x1o"]),
    (["--data.target=charge_dipole", "--model.reference=mean"], ["vector", "reference none"]),
    (["--data.target=charge_dipole", "--model.irrep_dropout=uniform"], ["l=1 always"]),
    (["--model.inner_irreps=64x0e"], ["inner_irreps '64x0e' has 64x0e", "part of irreps"]),
    (["--data.split=random"], ["random", "standard", "published"]),
    (["--data.train_size=0"], ["train_size", "0", "110000"]),
    (["--data.train_size=110001"], ["train_size", "110001", "110000"]),
    (["--data.batch_size=0"], ["batch_size", "0"]),
    (["--latent.layer=9"], ["layer", "9"]),
    (["--utilization.num_molecules=0"], ["num_molecules is 0"]),
    (["--pretraining.epochs=-1"], ["pretraining", "epochs is -1", "0"]),
    (["--pretraining.sigma=0"], ["sigma is 0", "positive", "0.05"]),
    (["--pretraining.lr=-1"], ["lr is -1", "positive"]),
    (["--pretraining.epochs=1", "--data.target=charge_dipole"], ["charge_dipole is a vector"]),
    (["--pretraining.epochs=1", "--model.cuda_graph=true"], ["leave model.cuda_graph at false"]),
    (["--run_name=a/b"], ["run_name", "a/b"]),
    (["--config=nowhere.yaml"], ["nowhere.yaml"]),
    (["--config=tests"], ["tests", "not a file"]),
    (["--config=docs/report.png"], ["docs/report.png", "cannot be read"]),
    (["--config=\0"], ["cannot be parsed"]),
    (["--runs_dir=~nobody_of_this_name/x"], ["nobody_of_this_name", "no such user"]),
    (["--seed_everything=-1"], ["seed_everything -1", "4294967295"]),
    (["--trainer.max_epochs=-5"], ["max_epochs", "-5"]),
    (["--trainer.devices=0"], ["devices", "0"]),
    (["--trainer.accelerator=abacus"], ["abacus"]),
    (["--trainer.accelerator=mps"], ["mps", "no float64", "CPU"]),
    (["--trainer.precision=16-mixed"], ["16-mixed", "32-true", "bf16-mixed"]),
    (["--trainer.precision=16-true"], ["16-true", "32-true", "bf16-mixed"]),
    (["--model.cuda_graph=true"], ["cuda_graph needs a CUDA device", "cpu"]),
    (["--trainer.accumulate_grad_batches=0"], ["accumulate_grad_batches is 0"]),
    (["--trainer.limit_val_batches=0"], ["limit_val_batches is 0"]),
    (["--trainer.profiler=foo"], ["profiler", "simple"]),
    (["--project=a/b"], ["project", "a/b"]),
    (["--wandb_start_timeout=0"], ["--wandb_start_timeout is 0", "more than 0"]),
    (["--wandb_finish_timeout=1e6"], ["--wandb_finish_timeout is 1e+06", "a day"]),
    (["--no_such_option=1"], ["no_such_option"]),
    (["--model.no_such_option=1"], ["no_such_option"]),
    *(([f"--model.lr={text}"], ["--model.lr", "cannot be read"]) for text in HOSTILE_VALUES),
    (["train"], ["train"]),
    (["test", "--ckpt_path=nowhere.ckpt"], ["nowhere.ckpt"]),
]


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (train.main, [f"--config={TOO_LONG}"]),
        (train.main, ["test", f"--ckpt_path={TOO_LONG}"]),
        (train.main, [f"--init_from={TOO_LONG}"]),
        (train.main, [f"--data.path={TOO_LONG}"]),
        (sweep.main, [TOO_LONG]),
        (report.main, [TOO_LONG]),
        (prune.main, [TOO_LONG]),
        (probe.main, [TOO_LONG]),
        (probe.main, [f"sevenn:{TOO_LONG}.pth"]),
        (upload.main, [TOO_LONG]),
    ],
    ids=lambda value: value.__module__ if callable(value) else str(value)[:30],
)
def test_a_name_that_is_too_long_for_the_file_system_is_refused(
    main: Callable[[list[str]], int], arguments: list[str]
) -> None:
    code, output = run_program(main, arguments)
    assert code in (1, 2)
    (line,) = output.splitlines()
    assert "error: " in line
    assert "Traceback" not in line


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=lambda value: " ".join(value)[:40])
def test_one_clear_line(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    command, options = _split(arguments)
    options = [f"--runs_dir={tmp_path / 'runs'}", f"--data.cache_dir={tmp_path / 'c'}", *options]
    with pytest.raises(UsageError) as caught:
        IrrepscopeCLI([*command, *options], StopSignals())
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    assert list(tmp_path.iterdir()) == [], "work was done before the error"


def test_unknown_key_in_a_config_file(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("model:\n  irrep: 8x0e\n")
    with pytest.raises(UsageError, match="irrep"):
        IrrepscopeCLI([f"--config={config}"], StopSignals())


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: &a [*a]", "contains itself"),
        ("model: !!python/object/apply:os.system ['touch PWNED']", "cannot be read"),
        ("seed_everything: 0\n5: 6", "5"),
        ("model: null", "model"),
    ],
)
def test_configuration_files_that_are_not_plain_values(
    text: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(text)
    with pytest.raises(UsageError, match=word):
        IrrepscopeCLI(["--config=config.yaml"], StopSignals())
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_config_that_is_not_yaml(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("model: [")
    with pytest.raises(UsageError, match="config"):
        IrrepscopeCLI([f"--config={config}"], StopSignals())


def test_process_says_a_word_before_it_loads_torch_and_ends_with_2_and_one_line() -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "train.py", "--model.irreps=16x0e+foo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    imports = [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]
    first, line = (line for line in lines if not line.startswith("import time:"))
    assert first.startswith("train.py: starting")
    before = [line.rpartition("|")[2].strip() for line in lines[: lines.index(first)]]
    assert {"torch", "numpy", "lightning"} <= set(imports) - set(before)
    assert line.startswith("error: ")
    assert "16x0e+foo" in line


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if arguments[0].startswith("-"):
        return [], arguments
    return [arguments[0]], arguments[1:]
