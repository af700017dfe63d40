"""The private parts of wandb that are used here are still there and still do what they did."""

from pathlib import Path

import wandb

from records.wandb_internals import API_ERRORS, SERVICE_GONE, Record, stored_api_key
from tests.wandb_server import API_KEY, WandbServer


def test_the_key_that_wandb_login_stores_is_found(tmp_path: Path) -> None:
    with WandbServer() as server, server.client(tmp_path, WANDB_API_KEY=""):
        assert stored_api_key(server.url) is None
        assert wandb.login(key=API_KEY, host=server.url, relogin=True)
        assert stored_api_key(server.url) == API_KEY
        assert stored_api_key("http://127.0.0.1:1") is None, "the key of another server"


def test_the_errors_of_a_dead_service_are_ordinary_exceptions() -> None:
    """That W&B raises them is tested by killing its service, in tests/faults."""
    assert len(set(SERVICE_GONE)) == 5
    for error in SERVICE_GONE:
        assert issubclass(error, Exception)
        assert error is not Exception, "that would hide every failure of W&B"


def test_the_api_has_errors_of_its_own() -> None:
    """That W&B's API raises them is tested by servers that refuse, in tests/reporting/wandb."""
    assert all(issubclass(error, Exception) for error in API_ERRORS)


def test_a_record_of_a_run_file_holds_rows() -> None:
    record = Record()
    item = record.history.item.add()
    item.nested_key.append("val/mae")
    item.value_json = "1.5"
    again = Record()
    again.ParseFromString(record.SerializeToString())
    assert again.history.item[0].value_json == "1.5"
