"""What becomes of W&B's own messages."""

import pytest

from runtime.wandb_session import Messages


def test_a_message_that_is_not_about_uploads_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    messages = Messages()
    messages.info("wandb: hello")
    messages.warning("wandb: WARNING Fatal error while uploading data. Use `wandb sync`.")
    assert capsys.readouterr().err == ""
    assert messages.upload_failed
    messages.error("wandb: ERROR something else")
    assert capsys.readouterr().err == "wandb: ERROR something else\n"
