"""Files of remote places: whole or not there, read by ranges, and sent again where that fails."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest

from degflow_pipe import files, folders, json_files, ledger
from degflow_pipe.errors import DegflowError, FileError
from degflow_pipe.ledger import Ledger
from degflow_pipe.pictures.photos import find_photos
from degflow_pipe.places import Remote, guard, lease, log, objects
from tests.buckets import Proxy

LARGE = np.random.default_rng(0).bytes(20 * 1024**2)


@pytest.fixture(params=["memory", "bucket"])
def place(request: pytest.FixtureRequest) -> Remote:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Remote)
    return found


def test_what_is_written_is_there(place: Remote) -> None:
    files.write_bytes(place / "a.bin", b"0123456789")
    json_files.write(place / "sub" / "b.json", {"a": 1})
    assert files.names(place) == ["a.bin", "sub"]
    assert files.sizes(place)["a.bin"] == files.size(place / "a.bin") == 10
    assert json_files.read(place / "sub" / "b.json") == {"a": 1}
    assert files.is_folder(place / "sub") and not files.is_folder(place / "a.bin")
    assert files.exists(place / "sub") and not files.exists(place / "su")
    assert files.matches(str(place / "*" / "*.json")) == [place / "sub" / "b.json"]
    assert files.read_spans(place / "a.bin", [(7, 9), (0, 2), (8, 20)]) == [b"78", b"01", b"89"]
    with files.reading(place / "a.bin") as file:
        assert file.seek(0, 2) == 10 and file.seek(4) == 4 and file.read() == b"456789"
    with pytest.raises(FileError, match="limit"):
        files.read_bytes(place / "a.bin", 9)
    files.remove(place / "sub")
    assert files.names(place) == ["a.bin"] and files.names(place / "sub") == []
    files.remove(place / "never there")


def test_an_empty_file(place: Remote) -> None:
    files.write_bytes(place / "empty", b"")
    assert files.read_bytes(place / "empty") == b"" and files.size(place / "empty") == 0


def test_the_order_of_files_is_that_of_this_machine(place: Remote, tmp_path: Path) -> None:
    for name in ("b.png", "a/z.png", "a.png", "a/b/c.png", "a-b/c.png", ".hidden/x.png", "c/.y"):
        files.write_bytes(place / name, b"x")
        files.write_bytes(tmp_path / name, b"x")
    here = [path.relative_to(tmp_path).as_posix() for path in files.walk(tmp_path)]
    assert [path.relative_to(place).as_posix() for path in files.walk(place)] == here


def test_files_that_no_path_can_name_are_counted(bucket: Remote) -> None:
    fs, path = objects.opened(bucket)
    for name in ("a.png", "b//c.png", "/d.png", "e/", "e/f.png", ".g//h.png"):
        fs.pipe_file(f"{path}/{name}", b"x")
    left_out: dict[str, int] = {}
    found = find_photos([str(bucket)], left_out)
    assert [photo.name for photo in found] == ["a.png", "e/f.png"]
    assert left_out == {objects.NO_PATH: 2}


@pytest.mark.parametrize("size", [10, len(LARGE)])
def test_what_is_not_written_to_its_end_is_not_there(place: Remote, size: int) -> None:
    files.write_bytes(place / "a", b"as it was")
    for name in ("a", "b"):
        with pytest.raises(RuntimeError), files.writing(place / name) as file:
            file.write(LARGE[:size])
            raise RuntimeError
    assert files.names(place) == ["a"] and files.read_bytes(place / "a") == b"as it was"


def test_a_large_file_is_sent_in_parts_and_none_is_left(bucket: Remote, proxy: Proxy) -> None:
    with files.writing(bucket / "a") as file:
        for i in range(0, len(LARGE), 10**6):
            file.write(LARGE[i : i + 10**6])
        assert not files.exists(bucket / "a")
    assert files.sha256(bucket / "a") and files.read_bytes(bucket / "a") == LARGE
    with pytest.raises(RuntimeError), files.writing(bucket / "b") as file:
        file.write(LARGE)
        file.write(LARGE)
        file.write(LARGE)
        raise RuntimeError
    fs, path = objects.opened(bucket)
    assert fs.list_multipart_uploads(path) == []


@pytest.mark.parametrize("fault", ["refuse", "cut"])
@pytest.mark.parametrize("size", [1000, len(LARGE)])
def test_what_fails_on_the_way_is_sent_again(
    bucket: Remote, proxy: Proxy, fault: str, size: int
) -> None:
    setattr(proxy, fault, 2)
    with files.writing(bucket / "a") as file:
        file.write(LARGE[:size])
    assert getattr(proxy, fault) == 0 and proxy.requests["PUT"] >= 3
    assert files.read_bytes(bucket / "a") == LARGE[:size]


@pytest.fixture
def few_attempts(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A new client, which waits for no more than a second in all before it gives up."""
    clients = fsspec.get_filesystem_class("s3")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    clients.clear_instance_cache()
    yield
    clients.clear_instance_cache()


def test_what_fails_for_good_is_told_in_one_line(
    bucket: Remote, proxy: Proxy, few_attempts: None
) -> None:
    proxy.refuse = 10**6
    with pytest.raises(FileError, match=rf"^{bucket}/a: cannot write: "):
        files.write_bytes(bucket / "a", b"x")
    proxy.refuse = 0
    assert not files.exists(bucket / "a")


def test_requests_of_reading(bucket: Remote, proxy: Proxy) -> None:
    files.write_bytes(bucket / "a", LARGE)

    def requests(work: Callable[[], object]) -> int:
        proxy.clear()
        work()
        return proxy.requests.total()

    assert requests(lambda: files.read_bytes(bucket / "a")) == 1
    assert (
        requests(lambda: files.read_spans(bucket / "a", [(5, 10**5), (2 * 10**5, 3 * 10**5)])) == 1
    )
    assert requests(lambda: files.sizes(bucket)) == 1
    # The size, then ranges that double from 256 KiB to 8 MiB.
    assert requests(lambda: files.sha256(bucket / "a")) <= 9


# ---- the ledger


def written(folder: Path, numbers: range) -> None:
    with Ledger(folder) as found:
        for n in numbers:
            found.write(n, {"n": n})
        found.remove(3)
        found.write(0, {"n": "again"})


def test_a_ledger_has_the_bytes_of_this_machines(
    place: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LINES", 8)
    for numbers in (range(20), range(20, 30)):
        written(place / "done", numbers)
        written(tmp_path / "done", numbers)
        assert files.names(place / "done") == files.names(tmp_path / "done")
        for name in files.names(tmp_path / "done"):
            here = files.read_bytes(tmp_path / "done" / name)
            assert files.read_bytes(place / "done" / name) == here
    assert dict(Ledger(place / "done").records()) == dict(Ledger(tmp_path / "done").records())


def test_a_ledger_that_is_written_to_is_read_as_it_will_be(place: Remote) -> None:
    with Ledger(place / "done") as found:
        found.write(1, {"n": 1})
        assert found.record(1) == {"n": 1} and dict(found.records()) == {"1": {"n": 1}}
        assert files.names(place / "done") == []


def test_a_writer_that_is_killed_loses_what_it_noted_since_it_was_sent(
    place: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "LINES", 4)
    killed = Ledger(place / "done").__enter__()
    for n in range(10):
        killed.write(n, {"n": n})
    assert len(Ledger(place / "done")) == 8
    killed.sync()
    assert len(Ledger(place / "done")) == 10


def test_requests_of_a_ledger(bucket: Remote, proxy: Proxy) -> None:
    proxy.clear()
    with Ledger(bucket / "done") as found:
        for n in range(1000):
            found.write(n, {"n": n})
    assert proxy.requests["PUT"] == 4  # 1000 / 256 and the end
    proxy.clear()
    found = Ledger(bucket / "done")
    assert proxy.requests.total() == 3  # the list, the tag and the bytes of a segment
    proxy.clear()
    found.record(500)
    assert proxy.requests.total() == 1


# ---- the lock


def test_a_second_writer_is_told_of_the_first(place: Remote) -> None:
    with (
        folders.one_writer(place / "out", "store"),
        pytest.raises(FileError, match=r"process \d+ of .*, since .*, last heard of \d+ s ago"),
        folders.one_writer(place / "out", "store"),
    ):
        pass
    with folders.one_writer(place / "out", "store"):
        pass
    assert files.names(place / "out") == [folders.MARK]


def test_who_loses_the_lock_writes_nothing_more(
    place: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "RENEWED", 0.05)
    out = place / "out"
    with folders.one_writer(out, "store"):
        files.write_bytes(out / "a", b"x")
        assert "process" in (folders.break_lock(str(out)) or "")
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                guard.require(out / "a")
            except FileError:
                break
            time.sleep(0.02)
        for write in (files.write_bytes, lambda path, data: files.remove(path)):
            with pytest.raises(FileError, match="taken over"):
                write(out / "a", b"y")
        files.write_bytes(place / "elsewhere", b"x")
    assert files.read_bytes(out / "a") == b"x"
    with folders.one_writer(out, "store"):
        files.write_bytes(out / "a", b"z")
    assert folders.break_lock(out) is None


def test_a_lease_is_renewed(place: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWED", 0.05)
    monkeypatch.setattr(lease, "_now", iter(f"2026-01-01 00:00:{n:02}" for n in range(60)).__next__)
    with folders.locked(place):
        deadline = time.monotonic() + 60
        while not files.exists(place / lease.HEARD) and time.monotonic() < deadline:
            time.sleep(0.02)
        taken, heard = (json_files.read(place / name) for name in (lease.LEASE, lease.HEARD))
        assert heard["token"] == taken["token"] and heard["heard"] > taken["heard"]
    assert files.names(place) == []


def test_storage_without_conditional_writes_is_refused(
    memory: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs, _ = objects.opened(memory)
    put = type(fs).pipe_file
    monkeypatch.setattr(type(fs), "pipe_file", lambda *args, mode="", **how: put(*args, **how))
    with pytest.raises(FileError, match="conditional writes"), folders.one_writer(memory, "store"):
        pass
    assert files.names(memory) == []


KILLED = """
import sys, time
from degflow_pipe import files, folders
from degflow_pipe.places import place_of
out = place_of(sys.argv[1])
with folders.one_writer(out, "set of shards"), files.writing(out / "a.tar") as file:
    for _ in range(8):
        file.write(bytes(10 * 2**20))
    print("on its way", flush=True)
    time.sleep(600)
"""


def test_a_writer_that_is_killed_leaves_nothing_that_looks_whole(bucket: Remote) -> None:
    out = bucket / "out"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(out)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "on its way\n"
        writer.send_signal(signal.SIGKILL)
    assert files.names(out) == [lease.LEASE, folders.MARK]
    with (
        pytest.raises(FileError, match=rf"process {writer.pid} of .*`break_lock`"),
        folders.one_writer(out, "set of shards"),
    ):
        pass
    assert f"process {writer.pid}" in (folders.break_lock(out) or "")
    with folders.one_writer(out, "set of shards"), files.writing(out / "a.tar") as file:
        file.write(b"whole")
    assert files.read_bytes(out / "a.tar") == b"whole"


@pytest.mark.parametrize("data", [b"", b"{}", b'{"process": "x"}', b"\xff" * 9000])
def test_a_lease_that_cannot_be_read_is_somebodys(memory: Remote, data: bytes) -> None:
    files.write_bytes(memory / lease.LEASE, data)
    with pytest.raises(DegflowError), folders.locked(memory):
        pass
    assert folders.break_lock(memory)
    with folders.locked(memory):
        pass
