"""Damaged and hostile shards: a clear error, in little memory, or left out and counted if asked."""

from __future__ import annotations

import gzip
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

from degflow_pipe import reading
from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.reading import SRPairs, sr_pairs
from tests.reading.conftest import EVERY, coded, edit_line, name_of, write_shards

INFO = {"t": 0.1, "scale": 1.3}
PICTURE = coded(np.zeros((4, 4, 3), np.uint8))


def block(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar header of whatever it claims."""
    info = tarfile.TarInfo(name)
    info.type = kind
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT)


def filled(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(records: bytes, kind: bytes = tarfile.XHDTYPE) -> bytes:
    return block("x", len(records), kind) + filled(records)


def record(key: str, value: str) -> bytes:
    for length in range(len(key) + len(value) + 3, 10**6):
        line = f"{length} {key}={value}\n".encode()
        if len(line) == length:
            return line
    raise AssertionError


def sample(**members: bytes) -> bytes:
    """A tar's blocks of one sample, without the end mark."""
    data = {"hr.png": PICTURE, "json": json.dumps(INFO).encode(), "lr.png": PICTURE} | members
    return b"".join(block(f"a.{ext}", len(d)) + filled(d) for ext, d in data.items())


END = bytes(1024)
GIGABYTE = 1024**3


def packed(begin: bytes, zeros: int) -> bytes:
    """A gzip file of `begin` and so many zeros, made without writing them."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    head = packer.compress(begin) + packer.flush(zlib.Z_FULL_FLUSH)
    chunk = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + head + chunk * (zeros >> 20) + packer.flush()


SPARSE = record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0")
COUNTS = filled(b"1000000000000000000\n" + b"1\n" * (1 << 20))
BOMBS = {
    "member": packed(block("a.hr.png", 6 * GIGABYTE), 6 * GIGABYTE),
    "sample": packed(block("a.0", 96 << 20) + bytes(96 << 20) + block("a.1", 96 << 20), GIGABYTE),
    "header": packed(block("x", 6 * GIGABYTE, tarfile.XHDTYPE), 6 * GIGABYTE),
    "name": packed(block("x", 6 * GIGABYTE, tarfile.GNUTYPE_LONGNAME), 6 * GIGABYTE),
    "map": packed(pax(SPARSE) + block("a.hr.png", GIGABYTE) + COUNTS, 6 * GIGABYTE),
    "nothing": packed(b"", 6 * GIGABYTE),
}
TARS = {
    "sparse member": block("a.hr.png", 20 * GIGABYTE, tarfile.GNUTYPE_SPARSE) + END,
    "negative": block("a.hr.png", -(2**60)) + END,
    "huge": block("a.hr.png", 10**18) + END,
    "huge by its pax header": pax(record("size", str(10**18))) + block("a.hr.png", 4) + END,
    "10^400": pax(record("size", "1" + "0" * 400)) + block("a.hr.png", 4) + END,
    "sparse by its pax header": pax(record("GNU.sparse.map", "0,1,9,1")) + block("a.b", 4) + END,
    "nested headers": pax(record("comment", "a")) * 5000 + sample() + END,
    "headers for all": b"".join(
        pax(record(f"k{n}", "v" * 60000), tarfile.XGLTYPE) for n in range(1500)
    ),
    "a header that ends": pax(record("comment", "a")),
    "more than there is": block("a.hr.png", 10**6) + bytes(1000),
    "no end mark": sample(),
    "cut in a header": sample() + sample()[:200],
    "a damaged header": sample() + b"x" * 512 + END,
    "zeros in between": sample() + END + sample() + END,
    "zeros only": bytes(10240),
    "many members": b"".join(block(f"a.{n}", 0) for n in range(10_001)) + END,
    "a name that is no text": block("a", 0).replace(b"a\0", b"\xff.", 1) + END,
}


def in_little_memory(*shards: str) -> list[str]:
    """What reading each says, all in one process that may take 1 GB more and two minutes."""
    code = """
import resource, sys
from degflow_pipe import sr_pairs
from degflow_pipe.errors import DegflowError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for shards in sys.argv[1:]:
    try:
        print(len(list(sr_pairs(shards))))
    except DegflowError as error:
        print(error)
assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1e6
"""
    command = [sys.executable, "-c", code, *shards]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# Tars


def test_packed_bombs(tmp_path: Path) -> None:
    for name, data in BOMBS.items():
        (tmp_path / f"{name}.tgz").write_bytes(data)
    paths = [str(tmp_path / f"{name}.tgz") for name in BOMBS]
    for path, line in zip(paths, in_little_memory(*paths), strict=True):
        assert line.startswith(f"{path}: cannot be read as a tar: "), line


@pytest.mark.parametrize("name", TARS)
def test_tars_that_lie(tmp_path: Path, name: str) -> None:
    stored = write_shards(tmp_path / "shards", per_tar=24)
    tar = stored / "degflow-000000.tar"
    tar.write_bytes(TARS[name])
    for shards in (str(tar), stored):
        with pytest.raises(ShardError, match=r"degflow-000000.tar: cannot be read as a tar: "):
            list(sr_pairs(shards))


def test_plain_headers_of_other_writers(tmp_path: Path) -> None:
    """Long names, comments and times in fractions of a second come in extended headers."""
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "x"}) as archive:
        for ext, data in (
            ("hr.png", PICTURE),
            ("json", json.dumps(INFO).encode()),
            ("lr.png", PICTURE),
        ):
            info = tarfile.TarInfo(f"{'long' * 60}.{ext}")
            info.size, info.mtime = len(data), 1.5
            archive.addfile(info, io.BytesIO(data))
    assert len(list(sr_pairs(str(tar)))) == 1
    (tmp_path / "a.tgz").write_bytes(gzip.compress(tar.read_bytes()))
    assert len(list(sr_pairs(str(tmp_path / "a.tgz")))) == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="webdataset reads HTTP by curl")
def test_a_connection_that_ends_early_is_an_error(tmp_path: Path) -> None:
    """Also where a member ends just there."""
    data = (write_shards(tmp_path, per_tar=24) / "degflow-000000.tar").read_bytes()

    class Cut(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data[: int(self.path.split("/")[1])])
            self.close_connection = True

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Cut) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert len(list(sr_pairs(f"{url}/{len(data)}/a.tar"))) == 24
        for length in (0, 512, 512 * 20, len(data) // 2, len(data) // 2 + 7, len(data) - 10240):
            with pytest.raises(ShardError, match=r"a.tar: cannot be read as a tar"):
                list(sr_pairs(f"{url}/{length}/a.tar"))
        server.shutdown()


def test_a_tar_that_is_not_the_one_of_the_index(tmp_path: Path) -> None:
    stored = write_shards(tmp_path / "shards")
    (stored / "degflow-000001.tar").write_bytes((stored / "degflow-000002.tar").read_bytes())
    with pytest.raises(ShardError, match=r"000001.tar lacks 3 samples of the index"):
        list(sr_pairs(stored, shuffle=0))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    names = ["degflow-000000.tar", "degflow-000000.index.jsonl", "degflow.json"]
    folders = []
    for name in names:
        for kind in ("pipe", "device"):
            folders.append(write_shards(tmp_path / f"{kind}-{name}", per_tar=24))
            (folders[-1] / name).unlink()
            if kind == "pipe":
                os.mkfifo(folders[-1] / name)
            else:
                (folders[-1] / name).symlink_to("/dev/zero")
    lines = in_little_memory(*map(str, folders))
    for folder, line in zip(folders, lines, strict=True):
        assert line.startswith(f"{folder}/{folder.name.partition('-')[2]}"), line


# Samples


def one_sample(path: Path, **members: bytes) -> str:
    path.write_bytes(sample(**members) + END)
    return str(path)


JSONS = [
    *("[" * 200_000, '{"a":' * 200_000, '"t scale"', json.dumps(INFO | {"a": "x" * 1024**2})),
    *('{"t": Infinity, "scale": 1}', '{"t": 1, "scale": NaN}', '{"t": true, "scale": "1"}'),
    *('{"t": 1, "scale": 1' + "0" * 400 + "}", '{"t": 1e400, "scale": 1}'),
    '{"levels": [{"level": "\\ud800", "t": 1, "scale": 1}]}',
    json.dumps({**{str(n): 0 for n in range(40_000)}, "levels": [{}] * 100_000}),
]


@pytest.mark.parametrize("text", JSONS, ids=range(len(JSONS)))
def test_json_that_is_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(ShardError, match=r"a.tar: a has no JSON of a training pair"):
        list(sr_pairs(one_sample(tmp_path / "a.tar", json=text.encode())))


@pytest.mark.parametrize("side", [20_000, 2**31 - 1])
@pytest.mark.parametrize("kind", ["png", "ppm", "webp", "jpg"])
def test_pictures_of_absurd_size(tmp_path: Path, kind: str, side: int) -> None:
    if kind == "png":
        chunk = b"IHDR" + side.to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
        header = (
            PICTURE[:8] + (13).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        )
        data = header + PICTURE[33:]
    elif kind == "ppm":
        data = f"P6 {side} {side} 255\n".encode() + bytes(100)
    elif kind == "jpg":
        data = coded(np.zeros((4, 4, 3), np.uint8), "jpg")
        at = data.index(b"\xff\xc0") + 5
        data = data[:at] + min(side, 65535).to_bytes(2, "big") * 2 + data[at + 4 :]
    else:
        data = b"RIFF" + (22).to_bytes(4, "little") + b"WEBPVP8X" + (10).to_bytes(4, "little")
        data += bytes(4) + (min(side, 2**24) - 1).to_bytes(3, "little") * 2
    path = one_sample(tmp_path / "a.tar", **{f"hr.{kind}": data})
    path = path if kind == "png" else _without(path, "a.hr.png")
    with pytest.raises(ShardError, match=r"a.tar: a: a picture"):
        list(sr_pairs(path))


def _without(path: str, name: str) -> str:
    with tarfile.open(path) as archive:
        kept = [(m, archive.extractfile(m).read()) for m in archive if m.name != name]  # type: ignore[union-attr]
    with tarfile.open(path, "w") as archive:
        for info, data in kept:
            archive.addfile(info, io.BytesIO(data))
    return path


def test_pairs_that_wait_take_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = write_shards(tmp_path)
    usual = [name_of(info) for *_, info in sr_pairs(stored)]
    monkeypatch.setattr(reading.coded, "WAITING", 10 * len(PICTURE))
    few = [name_of(info) for *_, info in sr_pairs(stored)]
    assert sorted(few) == sorted(usual) == EVERY
    assert few != usual
    with pytest.raises(UsageError, match=r"batch=9: pairs of \d sizes and scales wait"):
        list(sr_pairs(stored, batch=9))


def damaged(folder: Path, keys: list[str], member: str = "lr.png", **layout: Any) -> Path:
    """Shards some of whose samples have a picture of zeros."""
    stored = write_shards(folder, **layout)
    indexes = sorted(stored.glob("*.index.jsonl"))
    for line in "".join(index.read_text() for index in indexes).splitlines():
        entry = json.loads(line)
        if entry["key"] in keys:
            start, size = entry["members"][member]
            with (stored / entry["tar"]).open("r+b") as file:
                file.seek(start)
                file.write(bytes(size))
    return stored


BAD = [f"{n:08d}-9f86d081-t0350" for n in (1, 5)]
LEFT = [(x, t) for x, t in EVERY if (x, t) not in ((16, 0.35), (80, 0.35))]


@pytest.mark.parametrize("member", ["lr.png", "hr.png", "json"])
@pytest.mark.parametrize("by_url", [False, True])
@pytest.mark.parametrize("batch", [None, 4])
def test_damaged_samples_are_left_out_and_counted(
    tmp_path: Path, member: str, by_url: bool, batch: int | None
) -> None:
    stored = damaged(tmp_path, BAD, member)
    shards = sorted(map(str, stored.glob("*.tar"))) if by_url else stored
    with pytest.raises(ShardError, match="t0350"):
        list(sr_pairs(shards, batch=batch))
    stream = sr_pairs(shards, batch=batch, on_error="skip", shuffle=0)
    for epoch in range(2):
        with pytest.warns(UserWarning, match=r"left out, .*00000001-9f86d081-t0350") as told:
            found = list(stream)
        assert len(told) == 1
        names = [name_of(one) for *_, info in found for one in (info if batch else [info])]
        assert sorted(names) == LEFT
        assert stream.skipped == 2 * (epoch + 1)


@pytest.mark.filterwarnings("ignore:left out")
def test_workers_count_what_they_leave_out(tmp_path: Path) -> None:
    stream = sr_pairs(damaged(tmp_path, BAD), on_error="skip")
    assert len(list(DataLoader(stream, batch_size=None, num_workers=2))) == 22
    assert stream.skipped == 2


@pytest.mark.filterwarnings("ignore:left out")
def test_equal_numbers_whatever_is_damaged(tmp_path: Path) -> None:
    """Whole batches are lost on one rank; each makes up for them by the one before."""
    keys = [f"{n:08d}-9f86d081-t0350" for n in range(8)]
    stored = damaged(tmp_path, keys)
    for batch in (None, 2):
        counts = []
        for rank in range(3):
            ask: dict[str, Any] = {"even": "pad", "batch": batch, "ranks": (rank, 3)}
            ask |= {"on_error": "skip", "shuffle": 3}
            stream = sr_pairs(stored, **ask)
            whole = [name_of(one) for *_, i in stream for one in (i if batch else [i])]
            counts.append(len(list(stream)))
            assert stream.skipped
            for stop in range(counts[-1]):
                iterator, again = iter(sr_pairs(stored, **ask)), iter(sr_pairs(stored, **ask))
                found = [next(iterator) for _ in range(stop)]
                again.load_state_dict(iterator.state_dict())
                found += list(again)
                names = [name_of(one) for *_, i in found for one in (i if batch else [i])]
                assert names == whole
        assert len(set(counts)) == 1


def test_a_shortened_tar_of_a_folder_is_counted_too(tmp_path: Path) -> None:
    stored = write_shards(tmp_path, per_tar=24)
    tar = stored / "degflow-000000.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    stream = sr_pairs(stored, on_error="skip")
    with pytest.warns(UserWarning, match=r"000000.tar: cannot be read as a tar"):
        found = len(list(stream))
    assert 8 < found < 16 and stream.skipped == 24 - found
    with pytest.raises(ShardError):
        list(sr_pairs(str(tar), on_error="skip"))


def test_nothing_left_to_make_up_with(tmp_path: Path) -> None:
    keys = [f"{n:08d}-9f86d081-t0350" for n in range(8)]
    stored = damaged(tmp_path, keys)
    stream = sr_pairs(stored, t=(0.3, 0.4), even="cut", on_error="skip", ranks=(0, 2))
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(ShardError, match="all of the 4 batches of this worker are damaged"),
    ):
        list(stream)


def test_a_member_that_is_larger_than_memory(tmp_path: Path) -> None:
    """By the index, in a tar with a hole of 20 GB in it."""
    stored = write_shards(tmp_path, patches=1)
    with (stored / "degflow-000000.tar").open("r+b") as file:
        file.truncate(20 * GIGABYTE)
    span = [0, 20 * GIGABYTE]
    edit_line(stored, members={"hr.png": span, "lr.png": span})
    with pytest.raises(ShardError, match=r"000000.tar: .* bytes"):
        SRPairs(stored)[0]


# Elsewhere


def test_reading_needs_nothing_of_posix(tmp_path: Path) -> None:
    stored = write_shards(tmp_path, patches=1)
    code = """
import sys
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules[name] = None
from degflow_pipe import SRPairs, sr_pairs
print(len(list(sr_pairs(sys.argv[1]))), len(SRPairs(sys.argv[1])))
"""
    command = [sys.executable, "-c", code, str(stored)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["3", "3"], done.stderr
