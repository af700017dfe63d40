import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from qm9.cache import (
    FILE_NAME,
    LOCK_NAME,
    PreparedData,
    default_cache_dir,
    load_or_build,
    prepare,
)
from qm9.source import Source
from tests.patience import LIMIT
from tests.qm9.fake_source import copy_source

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return copy_source(tmp_path_factory.mktemp("qm9pack"))


def load(directory: Path, source: Source) -> PreparedData:
    return load_or_build(directory, source=source, progress=False)


def assert_equal(a: PreparedData, b: PreparedData) -> None:
    for name, tensor in vars(a).items():
        assert tensor.dtype == getattr(b, name).dtype
        assert torch.equal(tensor, getattr(b, name)), name


@pytest.fixture
def run_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start programs that have `source`, `directory` and this package at hand."""
    prelude = """
        import sys, time
        from pathlib import Path
        from qm9 import cache
        from qm9.source import Source
        directory = Path(sys.argv[1])
        source = Source(Path(sys.argv[2]), "test", num_molecules=60)
    """
    with contextlib.ExitStack() as stack:

        def start(code: str, directory: Path, source: Source) -> subprocess.Popen[str]:
            program = textwrap.dedent(prelude) + textwrap.dedent(code)
            process = subprocess.Popen(
                [sys.executable, "-c", program, str(directory), str(source.directory)],
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


def test_what_is_read_is_what_was_prepared(tmp_path: Path, source: Source):
    built = load(tmp_path / "new" / "folder", source)
    assert_equal(built, prepare(source, progress=False))
    assert_equal(load(tmp_path / "new" / "folder", source), built)
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} <= {FILE_NAME, LOCK_NAME}


def test_a_second_start_reads_no_csv(tmp_path: Path, source: Source, monkeypatch):
    load(tmp_path, source)
    monkeypatch.setattr("qm9.cache.prepare", None)
    load(tmp_path, source)


def test_smiles_are_those_of_the_csv(prepared_qm9: PreparedData):
    assert [prepared_qm9.smiles(row) for row in (0, 3, 22, 130_830)] == [
        "C",
        "C#C",
        "C#CC#C",
        "C1N2C3C4C5OC13C2C45",
    ]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def replace_by_text(path: Path) -> None:
    path.write_text("not a cache")


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, empty, replace_by_text])
def test_a_damaged_cache_is_rebuilt_with_one_warning(tmp_path: Path, source: Source, damage):
    intact = load(tmp_path, source)
    damage(tmp_path / FILE_NAME)
    with pytest.warns(UserWarning, match="qm9-2.cache is damaged.*built anew") as caught:
        assert_equal(load(tmp_path, source), intact)
    assert len(caught) == 1
    load(tmp_path, source)  # whose warnings would be errors


@pytest.mark.parametrize(
    "header",
    [
        b"[1]", b"null", b"{}", b"{", b"\xff",
        {"arrays": None}, {"arrays": {"z": 1}}, {"arrays": {}},
        {"arrays": {"z": {"dtype": "|O", "shape": [1]}}},
        {"arrays": {"z": {"dtype": "<i8", "shape": [10**30]}}},
        {"format": []}, {"targets": 3},
    ],
)  # fmt: skip
def test_a_cache_with_a_foreign_header_is_rebuilt_though_its_checksum_is_right(
    tmp_path: Path, source: Source, header: bytes | dict[str, object]
):
    intact = load(tmp_path, source)
    path = tmp_path / FILE_NAME
    content = path.read_bytes()
    start = 16 + 8
    length = int.from_bytes(content[16:start], "little")
    if isinstance(header, dict):
        own = json.loads(content[start : start + length])
        header = json.dumps({**own, **header}).encode()
    body = content[:16] + len(header).to_bytes(8, "little") + header + content[start + length : -32]
    path.write_bytes(body + hashlib.sha256(body).digest())
    with pytest.warns(UserWarning, match="qm9-2.cache (is not a|was made by).*built anew"):
        assert_equal(load(tmp_path, source), intact)


@pytest.mark.parametrize("position", range(0, 2000, 61))
def test_no_changed_byte_at_the_start_goes_unnoticed(tmp_path: Path, source: Source, position):
    load(tmp_path, source)
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    content[position] ^= 1
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        load(tmp_path, source)


def test_a_cache_of_another_version_is_rebuilt(tmp_path: Path, source: Source, monkeypatch):
    load(tmp_path, source)
    newer = Source(source.directory, "newer", source.num_molecules)
    with pytest.warns(UserWarning, match="another version of qm9pack"):
        load(tmp_path, newer)
    monkeypatch.setattr("qm9.cache.FORMAT_VERSION", 99)
    with pytest.warns(UserWarning, match="another version of this program"):
        load(tmp_path, newer)


def test_a_changed_source_is_noticed(tmp_path: Path):
    source = copy_source(tmp_path / "csv")
    load(tmp_path, source)
    path = source.directory / "qm9_polarizability.csv"
    path.write_text(path.read_text() + "\n")
    with pytest.warns(UserWarning, match="another version"), pytest.raises(ValueError, match="row"):
        load(tmp_path, source)


def test_a_damaged_source_leaves_no_cache(tmp_path: Path):
    source = copy_source(tmp_path / "csv")
    (source.directory / "qm9_part2.csv").write_text("no,columns\n")
    with pytest.raises(ValueError, match=r"qm9_part2\.csv, line 1"):
        load(tmp_path / "cache", source)
    assert not (tmp_path / "cache" / FILE_NAME).exists()


def test_default_folder_follows_the_users_cache(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_dir().name == "irrepscope"


# ---- several processes ------------------------------------------------------------------------

LOAD = """
    data = cache.load_or_build(directory, source=source, progress=False)
    print(int(data.targets.sum() * 1000), flush=True)
"""
COUNT_BUILDS = """
    prepare = cache.prepare
    def counted(*args, **kwargs):
        print("built", flush=True)
        time.sleep(1.5)  # long enough for all others to arrive
        return prepare(*args, **kwargs)
    cache.prepare = counted
"""
HANG_HALFWAY = """
    def half(file, *content):
        file.write(b"half a file")
        file.flush()
        print("holding", flush=True)
        time.sleep(600)
    cache.array_file._write = half
"""


def test_many_processes_with_a_cold_cache_build_once(run_python, tmp_path: Path, source: Source):
    code = COUNT_BUILDS + LOAD
    processes = [run_python(code, tmp_path, source) for _ in range(4)]
    outputs = [process.communicate(timeout=LIMIT) for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, outputs
    printed = [line for out, _ in outputs for line in out.split()]
    assert printed.count("built") == 1
    assert len(set(printed)) == 2  # "built" and one checksum, the same in all


def test_a_process_killed_while_it_builds_blocks_nobody(run_python, tmp_path: Path, source: Source):
    holder = run_python(HANG_HALFWAY + LOAD, tmp_path, source)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "holding\n"
    waiter = run_python(LOAD, tmp_path, source)
    time.sleep(1.0)
    assert waiter.poll() is None
    assert len(list(tmp_path.glob("*.tmp"))) == 1
    os.kill(holder.pid, signal.SIGKILL)
    holder.communicate()
    _, errors = waiter.communicate(timeout=LIMIT)
    assert waiter.returncode == 0, errors
    assert {path.name for path in tmp_path.iterdir()} <= {FILE_NAME, LOCK_NAME}
    assert_equal(load(tmp_path, source), prepare(source, progress=False))


# ---- folders and disks ------------------------------------------------------------------------


def test_an_unusable_folder_is_named(tmp_path: Path, source: Source):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/cache cannot be used .*--data\.cache_dir"):
        load(tmp_path / "file" / "cache", source)


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """A folder that this process may read but not write, also where the tests run as root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        user = os.geteuid()
        try:
            if user == 0:
                os.seteuid(65534)  # root may write anywhere
            yield Path(folder)
        finally:
            os.seteuid(user)
            Path(folder).chmod(0o755)


def test_a_read_only_folder_is_named(read_only_folder: Path):
    source = Source(Path("not read"), "test")
    with pytest.raises(
        ValueError, match=r"cannot be used \(Permission denied\).*--data\.cache_dir"
    ):
        load(read_only_folder, source)
    with pytest.raises(
        ValueError, match=r"cannot be used \(Permission denied\).*--data\.cache_dir"
    ):
        load(read_only_folder / "below", source)


def test_a_finished_cache_can_be_read_from_a_read_only_folder(tmp_path: Path, source: Source):
    load(tmp_path, source)
    (tmp_path / LOCK_NAME).unlink(missing_ok=True)
    tmp_path.chmod(0o500)
    load(tmp_path, source)
    assert not (tmp_path / LOCK_NAME).exists()  # as root, nothing else would show a write


def test_a_full_disk_is_named_and_leaves_the_old_file(run_python, tmp_path: Path, source: Source):
    load(tmp_path, source)
    before = (tmp_path / FILE_NAME).read_bytes()
    # A limit on the size of files: writing fails in the middle, as on a full disk.
    limited = """
        import json, resource, signal
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            data = cache.prepare(source, progress=False)
            cache.write_cache(directory / cache.FILE_NAME, data, source)
        except OSError as error:
            print(json.dumps(str(error)))
    """
    process = run_python(limited, tmp_path, source)
    output, errors = process.communicate(timeout=LIMIT)
    message = json.loads(output or '""')
    assert "cannot write" in message, errors
    assert str(tmp_path / FILE_NAME) in message
    assert "--data.cache_dir" in message
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert list(tmp_path.glob("*.tmp")) == []


def test_loading_warns_about_nothing(tmp_path: Path, source: Source):
    load(tmp_path, source)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(tmp_path, source)
