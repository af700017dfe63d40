"""What a run tells its user."""

from __future__ import annotations

from pathlib import Path

import pytest

from records.files import shown
from records.summary import Summary
from records.upload_command import PROGRAM
from runtime import messages
from runtime.run_directory import RunDirectory

BASELINES = {
    "baseline/mean_mae": 7145.0,
    "baseline/elements_mae": 864.0,
    "baseline/bonds_mae": 718.0,
}


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    """A run below the working directory."""
    monkeypatch.chdir(tmp_path)
    return RunDirectory(Path("my runs"), "a")


def test_a_path_below_the_working_directory_is_relative(directory: RunDirectory) -> None:
    assert shown(directory.best) == "my runs/a/checkpoints/best.ckpt"
    assert shown(Path("/elsewhere/a")) == "/elsewhere/a"


def test_an_offline_run_says_how_to_upload_it(directory: RunDirectory) -> None:
    line = messages.wandb_line(directory, "offline", "W&B is offline.")
    command = f"python {PROGRAM} 'my runs/a'"
    assert line == f"W&B is offline. Upload later: `{command}`"
    assert messages.wandb_line(directory, "online", "W&B is online.") == "W&B is online."


def with_test_mae(mae: float, **more: float) -> Summary:
    return Summary(molecules={"test": 10_831}, results={"test/mae": mae, "val/mae": 1.0, **more})


def test_the_test_error_stands_beside_those_without_a_network(directory: RunDirectory) -> None:
    mae, known, files = messages.conclusion(
        directory, with_test_mae(39.31, **BASELINES), "meV"
    ).splitlines()
    assert known.startswith("Without a network: 718 meV from element and bond counts")
    assert mae == "Test MAE 39.31 meV (10,831 molecules)"
    assert files == "Files: my runs/a"


def test_the_judgement_follows_the_numbers_that_it_is_based_on(directory: RunDirectory) -> None:
    mae, known, judgement, files = messages.conclusion(
        directory, with_test_mae(700.0, **BASELINES), "meV"
    ).splitlines()
    assert mae.startswith("Test MAE 700 meV")
    assert known.startswith("Without a network: 718 meV")
    assert judgement.startswith("This network has learned too little")
    assert files.startswith("Files: ")


def test_a_run_of_an_earlier_version_has_no_baselines(directory: RunDirectory) -> None:
    mae, _ = messages.conclusion(directory, with_test_mae(39.31), "meV").splitlines()
    assert mae == "Test MAE 39.31 meV (10,831 molecules)"


def test_without_a_test_the_validation_error_is_given(directory: RunDirectory) -> None:
    mae, _ = messages.conclusion(directory, Summary(results={"val/mae": 40.0}), "meV").splitlines()
    assert mae == "Best validation MAE 40 meV"


def test_a_run_without_any_result_still_says_where_its_files_are(directory: RunDirectory) -> None:
    assert messages.conclusion(directory, Summary(), "meV") == "Files: my runs/a"


@pytest.mark.parametrize(("part", "prefix"), [("validation", "val"), ("test", "test")])
def test_an_evaluation_names_part_errors_and_checkpoint(
    part: str, prefix: str, directory: RunDirectory
) -> None:
    results = {f"{prefix}/mae": 40.0, f"{prefix}/rmse": 55.5}
    line = messages.evaluation(part, results, "meV", directory.best)
    assert line == f"{part} MAE 40 meV, RMSE 55.5 meV (my runs/a/checkpoints/best.ckpt)"
