"""How W&B's mode is chosen, what its options refuse, what its messages become."""

import pytest

from runtime.wandb_session import Messages, check_project, check_timeout, choose_mode


def test_mode_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert choose_mode()[0] == "disabled"
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(ValueError, match="WANDB_MODE=sometimes: choose one of online"):
        choose_mode()


def test_an_empty_mode_is_no_mode(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("WANDB_MODE", "")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert choose_mode() == (
        "offline",
        "W&B is offline (no API key). Go online with `wandb login`.",
    )


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_wait_without_a_bound_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="--wandb_finish_timeout is"):
        check_timeout("--wandb_finish_timeout", seconds)


@pytest.mark.parametrize("name", ["", " ", "a/b", "a" * 200, "50%"])
def test_what_wandb_takes_for_no_project_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="project"):
        check_project(name)


def test_a_message_that_is_not_about_uploads_is_shown(capsys: pytest.CaptureFixture) -> None:
    messages = Messages()
    messages.info("wandb: hello")
    messages.warning("wandb: WARNING Fatal error while uploading data. Use `wandb sync`.")
    assert capsys.readouterr().err == ""
    assert messages.upload_failed
    messages.error("wandb: ERROR something else")
    assert capsys.readouterr().err == "wandb: ERROR something else\n"
