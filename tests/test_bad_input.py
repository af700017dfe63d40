"""Everything unusable that a user may give: one clear line, exit code 2, before any work."""

import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.cli import IrrepscopeCLI, UsageError
from runtime.stop_signals import StopSignals

ROOT = Path(__file__).parent.parent

BAD = [
    (["--model.irreps=16x0e+foo"], ["16x0e+foo", "cannot be parsed", "32x0e+32x1o"]),
    (["--model.irreps="], ["is empty"]),
    (["--model.irreps=16x1o+16x2e"], ["has no 0e", "add it"]),
    (["--model.irreps=16x0e+0x1o"], ["1o", "multiplicity of 0"]),
    (["--model.irreps=16x0e+16x1e"], ["no tensor product path fills 1e"]),
    (["--model.irreps=16x0e+16x2e", "--model.num_layers=1"], ["degree l=2", "cannot reach"]),
    (["--model.irreps=16x0e+16x12e"], ["l=12", "l=11"]),
    (["--model.convolution=slow"], ["slow", "fast", "e3nn"]),
    (["--model.cutoff=0"], ["cutoff", "0"]),
    (["--model.cutoff=-2"], ["cutoff", "-2"]),
    (["--model.lr=0"], ["lr is 0"]),
    (["--model.num_layers=two"], ["num_layers", "two"]),
    (["--data.target=energy"], ["energy", "U0", "alpha_aniso"]),
    (["--data.graph=knn"], ["knn", "bonds", "radius"]),
    (["--data.split=random"], ["random", "standard", "published"]),
    (["--data.train_size=0"], ["train_size", "0", "110000"]),
    (["--data.train_size=110001"], ["train_size", "110001", "110000"]),
    (["--data.batch_size=0"], ["batch_size", "0"]),
    (["--latent.layer=9"], ["layer", "9"]),
    (["--utilization.num_molecules=0"], ["num_molecules is 0"]),
    (["--run_name=a/b"], ["run_name", "a/b"]),
    (["--config=nowhere.yaml"], ["nowhere.yaml"]),
    (["--no_such_option=1"], ["no_such_option"]),
    (["--model.no_such_option=1"], ["no_such_option"]),
    (["train"], ["train"]),
    (["test", "--ckpt_path=nowhere.ckpt"], ["nowhere.ckpt"]),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=lambda value: " ".join(value)[:40])
def test_one_clear_line(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    command, options = _split(arguments)
    options = [*options, f"--runs_dir={tmp_path / 'runs'}", f"--data.cache_dir={tmp_path / 'c'}"]
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


def test_config_that_is_not_yaml(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("model: [")
    with pytest.raises(UsageError, match="config"):
        IrrepscopeCLI([f"--config={config}"], StopSignals())


def test_process_ends_with_2_and_one_line_and_no_traceback() -> None:
    result = subprocess.run(
        [sys.executable, "train.py", "--model.irreps=16x0e+foo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "16x0e+foo" in line


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), max_size=4))
def test_no_command_line_gives_anything_but_a_usage_error(words: list[str]) -> None:
    with suppress(UsageError):
        IrrepscopeCLI([f"--model.irreps={word}" for word in words] or ["fit"], StopSignals())


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    if arguments[0].startswith("-"):
        return [], arguments
    return [arguments[0]], arguments[1:]
