"""An error is one line for the user."""

import errno

import pytest

from runtime.errors import fail, one_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (KeyError(), "KeyError"),
        (OSError(errno.ENOSPC, "cannot write a"), "cannot write a"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a"), "[Errno 2] No such file: 'a'"),
    ],
)
def test_a_message_is_put_on_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_unusable_input_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        fail("lr is 0")
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: lr is 0\n"
