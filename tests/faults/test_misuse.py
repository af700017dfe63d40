"""Commands that would harm a run, or use it otherwise than it was trained."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from records.summary import read_summary
from tests.faults.test_damage import assert_one_line
from tests.programs import run_train

OPTIONS = [
    "--model.irreps=4x0e + 4x1o",
    "--model.num_layers=2",
    "--model.embedding_dim=8",
    "--model.reference=mean",
    "--data.graph=radius",
    "--data.split=published",
    "--data.train_size=64",
    "--data.val_size=16",
    "--data.test_size=30",
    "--trainer.max_epochs=1",
    "--trainer.accelerator=cpu",
    "--utilization.enabled=false",
    "--latent.enabled=false",
]


def train(*arguments: object, **environment: str) -> tuple[int, str]:
    """Run `train.py` without W&B."""
    return run_train([str(a) for a in arguments], **{"WANDB_MODE": "disabled", **environment})


@pytest.fixture(scope="module")
def trained(prepared_qm9: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. Copy it before use."""
    runs = tmp_path_factory.mktemp("runs")
    code, output = train(*OPTIONS, f"--runs_dir={runs}", "--run_name=a")
    assert code == 0, output
    return runs / "a"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, in another place."""
    shutil.copytree(trained, tmp_path / "moved" / "b")
    return tmp_path / "moved" / "b"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Start programs in an empty folder, and find it empty at the end."""
    folder = tmp_path / "working_directory"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder
    assert list(folder.iterdir()) == []


def content(directory: Path) -> dict[str, bytes]:
    files = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


def mae_line(run: Path) -> str:
    summary = read_summary(run / "summary.json")
    assert summary is not None
    return f"test MAE {summary.results['test/mae']:.4g} meV"


# ---- --fresh ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "environment"),
    [
        ("--project=a/b", {}),
        ("--wandb_start_timeout=0", {}),
        ("--data.cache_dir=/proc/nope", {}),
        ("--trainer.precision=8", {}),
        ("--model.irreps=8x0z", {}),
        ("--project=p", {"WANDB_MODE": "sometimes"}),
    ],
)
def test_fresh_removes_nothing_before_everything_was_checked(
    run: Path, argument: str, environment: dict[str, str]
) -> None:
    before = content(run)
    code, output = train(f"--config={run / 'config.yaml'}", "--fresh", argument, **environment)
    assert code == 2, output
    assert_one_line(output)
    assert content(run) == before


def test_fresh_refuses_a_folder_that_is_no_run(run: Path) -> None:
    folder = run.parent / "docs"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    code, output = train(*OPTIONS, f"--runs_dir={run.parent}", "--run_name=docs", "--fresh")
    assert code == 2
    assert_one_line(output, folder, "--fresh clears only runs")
    assert content(folder) == {"thesis.tex": b"years of work"}


def test_fresh_refuses_a_run_that_is_a_link(run: Path) -> None:
    link, before = run.parent / "link", content(run)
    link.symlink_to(run)
    code, output = train(*OPTIONS, f"--runs_dir={run.parent}", "--run_name=link", "--fresh")
    assert code == 2
    assert_one_line(output, link, "symbolic link")
    assert content(run) == before


def test_fresh_leaves_what_others_have_written(run: Path) -> None:
    (run / "notes.txt").write_text("mine")
    (run / ".draft.tmp").write_text("mine")
    code, output = train(f"--config={run / 'config.yaml'}", "--fresh")
    assert code == 0, output
    assert (run / "notes.txt").read_text() == (run / ".draft.tmp").read_text() == "mine"
    summary = read_summary(run / "summary.json")
    assert summary is not None
    assert summary.finished
    assert summary.resumed == 0


# ---- evaluation leaves the run as it is ---------------------------------------------------------


@pytest.mark.parametrize("output_path", ["/proc/nope/x.csv", "/proc", "{run}/summary.json/x.csv"])
def test_predictions_that_cannot_be_written_leave_the_run_finished(
    run: Path, output_path: str
) -> None:
    before = content(run)
    given = output_path.format(run=run)
    code, output = train("predict", f"--config={run / 'config.yaml'}", f"--output={given}")
    assert code == 2
    assert_one_line(output, given, "cannot be written", "--output")
    assert content(run) == before


def test_an_evaluation_that_fails_leaves_the_run_finished(run: Path) -> None:
    best = run / "checkpoints" / "best.ckpt"
    best.write_bytes(best.read_bytes()[:-100])
    before = content(run)
    for subcommand in ("validate", "test", "predict"):
        code, output = train(subcommand, f"--config={run / 'config.yaml'}")
        assert code == 2, output
        assert_one_line(output, best, "is damaged")
        assert content(run) == before


@pytest.mark.parametrize(
    "arguments", [["test"], ["predict"], ["--data.cutoff=1"], ["fit", "--ckpt_path={best}"]]
)
def test_a_refused_command_leaves_no_folder(
    run: Path, tmp_path: Path, arguments: list[str]
) -> None:
    best = run / "checkpoints" / "best.ckpt"
    given = [argument.format(best=best) for argument in arguments]
    code, output = train(*given, f"--runs_dir={tmp_path / 'new'}")
    assert code == 2, output
    assert not (tmp_path / "new").exists()


def test_a_refused_mode_of_wandb_leaves_no_folder(tmp_path: Path) -> None:
    code, _ = train(*OPTIONS, f"--runs_dir={tmp_path / 'new'}", WANDB_MODE="sometimes")
    assert code == 2
    assert not (tmp_path / "new").exists()


# ---- a run that was moved -----------------------------------------------------------------------


def test_a_moved_run_is_tested_and_continued_where_it_is(trained: Path, run: Path) -> None:
    old, config = content(trained), f"--config={run / 'config.yaml'}"
    assert "nothing was trained" in train(config)[1]
    code, output = train("test", config)
    assert code == 0
    assert mae_line(run) in output
    code, output = train("predict", config)
    assert code == 0
    assert (run / "predictions.csv").is_file()
    code, output = train(config, "--fresh")
    assert code == 0, output
    assert f"Files: {run}" in output
    assert content(trained) == old
    summary = read_summary(run / "summary.json")
    assert summary is not None
    assert summary.run_name == "b"


def test_a_given_place_is_stronger_than_that_of_the_configuration(
    run: Path, tmp_path: Path
) -> None:
    config, other = f"--config={run / 'config.yaml'}", tmp_path / "other"
    code, output = train("test", config, f"--runs_dir={other}")
    assert code == 2
    assert_one_line(output, other / "b" / "checkpoints" / "best.ckpt")


# ---- the options come with the checkpoint -------------------------------------------------------


@pytest.mark.parametrize("place", ["in its run", "alone"])
def test_a_checkpoint_is_tested_as_it_was_trained(run: Path, tmp_path: Path, place: str) -> None:
    best = run / "checkpoints" / "best.ckpt"
    mae = mae_line(run)
    if place == "alone":
        best = Path(shutil.copy(best, tmp_path / "alone.ckpt"))
    before = content(run)
    code, output = train("test", f"--ckpt_path={best}", "--trainer.accelerator=cpu")
    assert code == 0, output
    assert mae in output
    assert content(run) == before


def test_predictions_go_into_the_run_of_the_checkpoint(run: Path) -> None:
    best = run / "checkpoints" / "best.ckpt"
    code, output = train("predict", f"--ckpt_path={best}", "--trainer.accelerator=cpu")
    assert code == 0, output
    assert len((run / "predictions.csv").read_text().splitlines()) == 31


@pytest.mark.parametrize(
    "argument",
    ["--data.graph=bonds", "--data.split=standard", "--data.target=mu", "--model.num_layers=5"],
)
def test_an_option_that_contradicts_the_checkpoint_is_refused(run: Path, argument: str) -> None:
    code, output = train("test", f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}", argument)
    assert code == 2, output
    key = argument.removeprefix("--").partition("=")[0]
    assert_one_line(output, "trained with other options", key, "leave them out")


def test_a_configuration_that_contradicts_the_checkpoint_is_refused(
    run: Path, tmp_path: Path
) -> None:
    best, config = run / "checkpoints" / "best.ckpt", tmp_path / "other.yaml"
    config.write_text("data: {graph: bonds}")
    code, output = train("test", f"--ckpt_path={best}", f"--config={config}")
    assert code == 2, output
    assert_one_line(output, "data.graph radius -> bonds")


def test_another_number_of_test_molecules_is_said_in_one_line(run: Path) -> None:
    best = run / "checkpoints" / "best.ckpt"
    code, output = train(
        "test", f"--ckpt_path={best}", "--data.test_size=20", "--trainer.accelerator=cpu"
    )
    assert code == 0, output
    assert re.findall("^note: .*", output, re.MULTILINE) == [
        "note: not as in training: data.test_size 30 -> 20"
    ]


@pytest.mark.parametrize("command", [[], ["fit"]])
def test_fit_refuses_a_checkpoint(run: Path, command: list[str]) -> None:
    code, output = train(*command, f"--ckpt_path={run / 'checkpoints' / 'best.ckpt'}")
    assert code == 2
    assert_one_line(output, "fit takes no --ckpt_path", "continues its own run")
