"""How W&B's mode is chosen, and what is said of a server that cannot be used."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime.wandb_server import Problem, check_project, choose_mode, examine_server
from tests.wandb_server import WandbServer

LONG = 60.0
"""Seconds that no answer here takes."""


def test_the_mode_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert choose_mode()[0] == "disabled"
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(ValueError, match="WANDB_MODE=sometimes: choose one of online"):
        choose_mode()


def test_an_empty_mode_counts_as_unset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert choose_mode() == (
        "offline",
        "W&B is offline (no API key). Go online with `wandb login`.",
    )


@pytest.mark.parametrize("name", ["", " ", "a/b", "a" * 200, "50%"])
def test_project_names_that_wandb_refuses_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="project"):
        check_project(name)


def test_a_server_that_knows_the_key_can_be_used(tmp_path: Path) -> None:
    with WandbServer() as server, server.client(tmp_path):
        assert examine_server(LONG) is None
        assert choose_mode() == ("online", "W&B is online.")
        assert server.unknown == []


def test_a_refused_key_is_final_and_named(tmp_path: Path) -> None:
    with WandbServer() as server, server.client(tmp_path, WANDB_API_KEY="f" * 40):
        cause = f"{server.url} does not accept the API key (HTTP 401); see `wandb login`"
        assert examine_server(LONG) == Problem(cause, final=True)
        assert choose_mode() == ("offline", f"W&B is offline: {cause}.")


def test_nobody_listening_is_final(tmp_path: Path) -> None:
    with WandbServer() as server, server.client(tmp_path), server.fault("refuse"):
        problem = examine_server(LONG)
    assert problem is not None
    assert problem.final
    assert "cannot be reached from here (Connection refused)" in problem.cause


def test_an_unknown_host_is_final(tmp_path: Path) -> None:
    with (
        WandbServer() as server,
        server.client(tmp_path, WANDB_BASE_URL="http://no-such-host.invalid"),
    ):
        problem = examine_server(LONG)
    assert problem is not None
    assert problem.final
    assert "http://no-such-host.invalid cannot be reached from here" in problem.cause


@pytest.mark.parametrize(
    ("fault", "words"), [("drop", "breaks connections off"), ("status", "answers with HTTP 503")]
)
def test_a_broken_server_may_recover(fault: str, words: str, tmp_path: Path) -> None:
    with WandbServer() as server, server.client(tmp_path), server.fault(fault) as staged:
        problem = examine_server(LONG)
        assert staged.hits == 1
        assert choose_mode()[0] == "online", "W&B's own client has to find out"
    assert problem is not None
    assert not problem.final
    assert words in problem.cause


def test_a_hanging_server_is_given_up(tmp_path: Path) -> None:
    with WandbServer() as server, server.client(tmp_path), server.fault("hang"):
        problem = examine_server(0.5)
    assert problem == Problem(f"{server.url} has not answered within 0.5 s", final=False)


@contextmanager
def answering(content: bytes) -> Iterator[str]:
    """A server that answers its first connection with this; yields its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(content)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(LONG)


def test_a_server_of_another_kind_is_named(tmp_path: Path) -> None:
    with (
        answering(b"220 mail.example.org ESMTP\r\n") as url,
        WandbServer() as server,
        server.client(tmp_path, WANDB_BASE_URL=url),
    ):
        problem = examine_server(LONG)
    assert problem is not None
    assert not problem.final
    assert f"{url} does not answer as W&B does" in problem.cause


def test_an_unusable_variable_is_named(tmp_path: Path) -> None:
    with (
        WandbServer() as server,
        server.client(tmp_path, WANDB_BASE_URL="not a url"),
        pytest.raises(ValueError, match=r"W&B refuses a setting .*WANDB_"),
    ):
        examine_server(LONG)
