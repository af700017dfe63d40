from pathlib import Path
from typing import Any

import pytest

from records.summary import Summary, write_summary
from runtime.extension import (
    check_extendable,
    check_not_extended,
    describe_extension,
    epochs_of,
    find_extendable,
)

BEFORE = {"model.lr": 0.1, "trainer.max_epochs": 30}


def asked(epochs: Any = 60, lr: float = 0.1) -> dict[str, Any]:
    return {"model.lr": lr, "trainer.max_epochs": epochs}


def run_of(status: str = "finished", **values: Any) -> Summary:
    return Summary(status=status, configuration=BEFORE, epochs=30).updated(**values)


def test_a_run_is_found_by_all_options_but_its_epochs(tmp_path: Path):
    for name, lr in (("slow", 0.1), ("fast", 0.2)):
        (tmp_path / name).mkdir()
        configuration = {**BEFORE, "model.lr": lr}
        write_summary(tmp_path / name / "summary.json", run_of(configuration=configuration))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "summary.json").write_text("{")
    assert find_extendable(tmp_path, asked()) == "slow"
    with pytest.raises(ValueError, match="finds no run in"):
        find_extendable(tmp_path, asked(lr=0.3))
    (tmp_path / "again").mkdir()
    write_summary(tmp_path / "again" / "summary.json", run_of())
    with pytest.raises(ValueError, match=r"several runs .*\(again, slow\)"):
        find_extendable(tmp_path, asked())


def test_only_a_larger_number_of_epochs_extends():
    assert check_extendable(run_of(), asked(60), "a") == 60
    for epochs in (29, None):
        with pytest.raises(ValueError, match="larger number of epochs than the 30 of run a"):
            check_extendable(run_of(), asked(epochs), "a")
    with pytest.raises(ValueError, match="larger number of epochs than the 90 of run a"):
        check_extendable(run_of(extended_to=90), asked(60), "a")


def test_other_options_must_stay_and_a_run_must_be_there():
    with pytest.raises(ValueError, match=r"other options differ \(model.lr 0.1 -> 0.5\)"):
        check_extendable(run_of(), asked(lr=0.5), "a")
    with pytest.raises(ValueError, match="finds no run a: train it first"):
        check_extendable(Summary(), asked(), "a")


def test_an_interrupted_extension_goes_on_with_extend_only():
    check_not_extended(run_of("preempted"), "a")
    check_not_extended(run_of(extended_to=60), "a")
    interrupted = run_of("preempted", extended_to=60)
    assert epochs_of(interrupted) == 60
    with pytest.raises(ValueError, match="--extend --trainer.max_epochs=60"):
        check_not_extended(interrupted, "a")


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("constant", "stays at 0.1"),
        ("cosine", "rises from 0 to about 0.05"),
        ("plateau", "goes on at the learning rate that it has reached"),
    ],
)
def test_the_consequence_for_the_learning_rate_is_said_in_one_line(schedule: str, words: str):
    text = describe_extension({"lr": 0.1, "lr_schedule": schedule}, 30, 60)
    assert "from 30 to 60 epochs" in text
    assert words in text
    assert "\n" not in text
