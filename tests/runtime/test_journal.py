"""What a run records of itself, and what it compares with an earlier record."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from records.summary import Summary, read_summary, write_summary
from runtime.configuration import RunConfiguration
from runtime.journal import RunJournal
from runtime.run_directory import RunDirectory


@pytest.fixture(autouse=True)
def no_wandb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


def journal(
    runs_dir: Path, lr: float = 0.1, ckpt_path: Path | None = None, is_writer: bool = True
) -> RunJournal:
    resolved: dict[str, Any] = {"seed_everything": 0, "model": {"lr": lr}}
    configuration = RunConfiguration(
        subcommand="fit",
        bare=True,
        run_name="a",
        runs_dir=runs_dir,
        fresh=False,
        project="p",
        wandb_start_timeout=1.0,
        wandb_finish_timeout=1.0,
        output=None,
        ckpt_path=ckpt_path,
        resolved=resolved,
        provenance={},
        yaml_text="",
    )
    stop, deferring = mock.Mock(), mock.MagicMock()
    return RunJournal(configuration, RunDirectory(runs_dir, "a"), stop, deferring, is_writer)


def record_a_run(runs_dir: Path) -> None:
    """Leave the record of a run with a learning rate of 0.1."""
    earlier = journal(runs_dir)
    earlier.record(configuration=earlier.configuration.identity, **{"val/mae": 3.0})


def test_what_is_recorded_is_merged_and_on_disk(tmp_path: Path) -> None:
    record_a_run(tmp_path)
    later = journal(tmp_path)
    later.open()
    later.record(status="running", **{"test/mae": 2.5})
    read = read_summary(later.directory.summary)
    assert read == later.summary
    assert read is not None
    assert read.results == {"val/mae": 3.0, "test/mae": 2.5}


def test_other_processes_write_and_print_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = journal(tmp_path, is_writer=False)
    second.record(status="running")
    second.say("hello")
    second.complain("oh")
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")


def test_another_configuration_under_the_same_name_is_refused(tmp_path: Path) -> None:
    record_a_run(tmp_path)
    with pytest.raises(ValueError, match=r"another configuration \(model.lr 0.1 -> 0.2\).*--fresh"):
        journal(tmp_path, lr=0.2).open()


def test_a_checkpoint_that_is_named_may_have_another_configuration(tmp_path: Path) -> None:
    record_a_run(tmp_path)
    other = journal(tmp_path, lr=0.2, ckpt_path=tmp_path / "best.ckpt")
    other.open()
    assert other.summary.results == {"val/mae": 3.0}


def test_a_damaged_summary_is_named(tmp_path: Path) -> None:
    damaged = journal(tmp_path)
    damaged.directory.path.mkdir()
    damaged.directory.summary.write_text('{"status": "fin')
    with pytest.raises(ValueError, match=r"summary\.json is damaged.*--fresh"):
        damaged.open()


def test_keys_of_other_versions_survive_a_record(tmp_path: Path) -> None:
    write_summary(tmp_path / "a" / "summary.json", Summary(other={"notes": "keep me"}))
    later = journal(tmp_path)
    later.open()
    later.end("finished", 0)
    assert read_summary(later.directory.summary) == Summary(
        status="finished", other={"notes": "keep me"}
    )
