"""Truncated, altered and malicious files: named, rebuilt where that is possible, never executed."""

from __future__ import annotations

import pickle
import random
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from records.metrics import read_metrics
from runtime.checkpoints import read_checkpoint
from tests.faults.trains import BARE, EPOCHS, identical, metrics_of
from tests.programs import run_train

Damage = Callable[[Path], None]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80
    path.write_bytes(content)


class Payload:
    """Creates a file as soon as it is unpickled."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.victim,))


def is_noticed(path: Path) -> bool:
    """Return whether reading a checkpoint raises an error that names it."""
    try:
        read_checkpoint(path)
    except ValueError as error:
        return str(path) in str(error)
    return False


@pytest.fixture
def broken(killed_run: Path, tmp_path: Path) -> Path:
    """A copy of the killed run."""
    shutil.copytree(killed_run, tmp_path / "runs")
    return tmp_path / "runs" / "tiny"


def go_on(run: Path, *more: str) -> tuple[int, str]:
    """Give the same command again."""
    quiet = "--trainer.enable_progress_bar=false"
    arguments = [*BARE, f"--runs_dir={run.parent}", quiet, *more]
    return run_train(arguments, WANDB_MODE="disabled")


def assert_one_line(output: str, *words: object) -> None:
    """Check that the error is one line with these words, and that there is no traceback."""
    (line,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in output
    for word in words:
        assert str(word) in line


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit])
def test_a_damaged_checkpoint_is_named(damage: Damage, broken: Path) -> None:
    path = broken / "checkpoints" / "last.ckpt"
    damage(path)
    assert is_noticed(path)


def test_the_best_checkpoint_can_take_the_place_of_a_damaged_last_one(
    broken: Path, killed_run: Path
) -> None:
    last, best = broken / "checkpoints" / "last.ckpt", broken / "checkpoints" / "best.ckpt"
    flip_a_bit(last)
    code, output = go_on(broken)
    assert code == 1
    assert_one_line(output, last, "is damaged", f"`cp {best} {last}`", "--fresh")
    rows = read_metrics(broken / "metrics.csv")
    assert rows == read_metrics(killed_run / "tiny" / "metrics.csv"), "rows were lost"
    shutil.copy(best, last)
    code, output = go_on(broken)
    assert code == 0, output
    assert sorted(read_metrics(broken / "metrics.csv")) == list(range(EPOCHS))


def test_a_damaged_best_checkpoint_is_named(broken: Path) -> None:
    best = broken / "checkpoints" / "best.ckpt"
    flip_a_bit(best)
    code, output = run_train(["test", *BARE, f"--runs_dir={broken.parent}"])
    assert code == 2
    assert_one_line(output, best, "is damaged", "--fresh")


def test_no_altered_byte_reaches_a_weight(broken: Path, tmp_path: Path) -> None:
    """A changed byte is either noticed or has no effect; torch alone would go on with it."""
    path = broken / "checkpoints" / "last.ckpt"
    content, intact = path.read_bytes(), read_checkpoint(path)
    chance, altered = random.Random(0), tmp_path / "altered.ckpt"
    noticed = 0
    for _ in range(100):
        damaged = bytearray(content)
        damaged[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        altered.write_bytes(damaged)
        if is_noticed(altered):
            noticed += 1
        else:
            assert identical(read_checkpoint(altered), intact)
    assert noticed > 50


def compressed(path: Path) -> None:
    """Zeros that take a thousand times the size of their file."""
    torch.save({"state_dict": {}}, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(2**27))


def nested(path: Path) -> None:
    """Lists in lists, deeper than Python's own writer of such files can go."""
    torch.save({"state_dict": {}}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = (name for name in parts if name.endswith("data.pkl"))
    key = b"X\x0a\x00\x00\x00state_dict}X\x01\x00\x00\x00x"
    parts[pickled] = b"\x80\x02}(" + key + b"]" * 100_000 + b"a" * 99_999 + b"u."
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


def aliased(path: Path) -> None:
    """9^40 values, of which the file holds 40."""
    value: list[Any] = ["x"]
    for _ in range(40):
        value = [value] * 9
    torch.save({"state_dict": {}, "hyper_parameters": {"lr": value}}, path)


def without_weights(path: Path) -> None:
    torch.save({"state_dict": {"network.x": "y"}}, path)


@pytest.mark.parametrize("hostile", [compressed, nested, aliased, without_weights])
def test_a_checkpoint_made_to_exhaust_the_machine_is_refused(
    hostile: Damage, tmp_path: Path
) -> None:
    path = tmp_path / "best.ckpt"
    hostile(path)
    code, output = run_train(["test", f"--ckpt_path={path}", f"--runs_dir={tmp_path}"])
    assert code == 2
    assert_one_line(output, path)


def test_options_that_are_no_values_are_refused(broken: Path, tmp_path: Path) -> None:
    """A tensor that seems to fill the memory, as an option."""
    checkpoint, path = read_checkpoint(broken / "checkpoints" / "best.ckpt"), tmp_path / "a.ckpt"
    checkpoint["hyper_parameters"]["lr"] = torch.zeros(1).expand(10**12)
    torch.save(checkpoint, path)
    code, output = run_train(["test", f"--ckpt_path={path}", "--model.lr=1", "--runs_dir=x"])
    assert code == 2
    assert_one_line(output, path, "model.lr")


def test_the_weights_of_another_network_are_refused(broken: Path) -> None:
    """As an option, and when training goes on; the run and its rows stay as they are."""
    last, best = broken / "checkpoints" / "last.ckpt", broken / "checkpoints" / "best.ckpt"
    checkpoint, rows = read_checkpoint(last), (broken / "metrics.csv").read_bytes()
    name = next(name for name in checkpoint["state_dict"] if name.startswith("network."))
    checkpoint["state_dict"][name] = torch.zeros(3)
    for path in (last, best):
        torch.save(checkpoint, path)
    code, output = run_train(["test", f"--ckpt_path={best}", "--runs_dir=x"])
    assert code == 2
    assert_one_line(output, best, "another network")
    code, output = go_on(broken)
    assert code == 1
    assert_one_line(output, last, "another network", name, "--fresh")
    assert (broken / "metrics.csv").read_bytes() == rows


def test_a_malicious_checkpoint_is_refused_and_not_executed(broken: Path, tmp_path: Path) -> None:
    victim = tmp_path / "executed"
    checkpoint: dict[str, Any] = {"state_dict": Payload(victim), "epoch": 0}
    last, best = broken / "checkpoints" / "last.ckpt", broken / "checkpoints" / "best.ckpt"
    torch.save(checkpoint, last)
    best.write_bytes(pickle.dumps(checkpoint))
    # The payload works, so the refusals below are not luck.
    function, arguments = checkpoint["state_dict"].__reduce__()
    function(*arguments)
    assert victim.exists()
    victim.unlink()
    for code, output in (
        go_on(broken),
        run_train(["test", *BARE, f"--runs_dir={broken.parent}"]),
        run_train(["test", f"--ckpt_path={best}", f"--runs_dir={broken.parent}"]),
    ):
        assert code in (1, 2)
        assert_one_line(output, "holds code", "nothing in it was executed")
        assert not victim.exists()


def test_a_damaged_metrics_file_is_named_with_its_line_and_kept(broken: Path) -> None:
    path = broken / "metrics.csv"
    truncate(path)
    before = path.read_bytes()
    code, output = go_on(broken)
    assert code == 1
    assert_one_line(output, path, "is damaged in line", "--fresh")
    assert path.read_bytes() == before


def test_a_truncated_configuration_is_written_anew_and_refused_as_an_option(broken: Path) -> None:
    config = broken / "config.yaml"
    whole = config.read_bytes()
    for damaged in (whole[: len(whole) // 2] + b"\n  x: [", b"\xff\xfe\x00"):
        config.write_bytes(damaged)
        code, output = run_train([f"--config={config}"])
        assert code == 2, output
        assert_one_line(output, config)
    code, output = go_on(broken)
    assert code == 0, output
    assert "provenance" in yaml.safe_load(config.read_text())


def test_a_damaged_summary_is_named(broken: Path) -> None:
    truncate(broken / "summary.json")
    code, output = go_on(broken)
    assert code == 2
    assert_one_line(output, broken / "summary.json", "is damaged", "--fresh")


def test_fresh_starts_over_whatever_is_there(broken: Path, killed_run: Path) -> None:
    for path in broken.rglob("*"):
        if path.is_file() and path.name != ".lock":
            truncate(path)
    code, output = go_on(broken, "--fresh")
    assert code == 0, output
    killed = metrics_of(killed_run / "tiny")
    assert {epoch: metrics_of(broken)[epoch] for epoch in (0, 1)} == {e: killed[e] for e in (0, 1)}
