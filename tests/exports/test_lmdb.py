"""LMDB that export writes, and LMDB that nobody vouches for."""

from __future__ import annotations

import json
import os
import random
import resource
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from degflow_pipe import DegflowError, export
from degflow_pipe.exports import lmdbs
from degflow_pipe.exports.doctor import doctor
from degflow_pipe.exports.lmdb_pages import check_lmdb


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export to basicsr-lmdb. Do not write here."""
    folder = tmp_path_factory.mktemp("lmdb")
    export(shards, "basicsr-lmdb", folder)
    return folder


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    for place in ("gt.lmdb", "lq.lmdb"):
        (tmp_path / place).mkdir()
        for path in (whole / place).iterdir():
            (tmp_path / place / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_the_map_is_of_the_size_of_the_data(whole: Path) -> None:
    for place in ("gt.lmdb", "lq.lmdb"):
        size = (whole / place / "data.mdb").stat().st_size
        with lmdb.open(str(whole / place), readonly=True, lock=False) as base:
            assert base.info()["map_size"] <= max(2 * size, lmdbs.FIRST_MAP)


def test_the_map_grows_with_the_data(
    shards: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same pictures, in a map that begins too small, and in many transactions."""
    monkeypatch.setattr(lmdbs, "FIRST_MAP", 2**16)
    monkeypatch.setattr(lmdbs, "COMMIT_EVERY", 5)
    export(shards, "basicsr-lmdb", tmp_path)
    for place in ("gt.lmdb", "lq.lmdb"):
        size = (tmp_path / place / "data.mdb").stat().st_size
        assert size > 2**16
        with (
            lmdb.open(str(tmp_path / place), readonly=True, lock=False) as base,
            lmdb.open(str(whole / place), readonly=True, lock=False) as other,
            base.begin() as ours,
            other.begin() as theirs,
        ):
            assert list(ours.cursor()) == list(theirs.cursor())
    assert doctor(tmp_path, "basicsr-lmdb").findings == {}


def test_it_is_written_where_address_space_is_short(shards: Path, tmp_path: Path) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (40_000_000 * 1024,) * 2)

    code = (
        "import sys; from pathlib import Path; from degflow_pipe import export; "
        "export(Path(sys.argv[1]), 'basicsr-lmdb', Path(sys.argv[2]), workers=1)"
    )
    command = [sys.executable, "-c", code, str(shards), str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, preexec_fn=limited, env=environment)
    assert doctor(tmp_path / "out", "basicsr-lmdb").findings == {}


def test_neosr_has_the_same_pictures_and_its_own_options(
    shards: Path, whole: Path, tmp_path: Path
) -> None:
    """neosr, neosr/data/data_util.py: roots end in .lmdb, keys are what meta_info.txt says."""
    export(shards, "neosr-lmdb", tmp_path)
    for place in ("gt.lmdb", "lq.lmdb"):
        for name in lmdbs.FILES:
            assert (tmp_path / place / name).read_bytes() == (whole / place / name).read_bytes()
    text = (tmp_path / "train_neosr.toml").read_text()
    assert 'io_backend = { type = "lmdb" }' in text
    assert f'dataroot_gt = "{tmp_path.as_posix()}/gt.lmdb"' in text
    assert doctor(tmp_path, "neosr-lmdb").findings == {}


def cut(part: float) -> Callable[[bytes], bytes]:
    return lambda data: data[: int(len(data) * part)]


def head(kind: str, at: int, value: int) -> Callable[[bytes], bytes]:
    """Both head pages changed."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        for page in (0, 4096):
            struct.pack_into(kind, changed, page + at, value)
        return bytes(changed)

    return change


def leading_out(data: bytes) -> bytes:
    """The first node of the root leads to a page that is not there."""
    changed = bytearray(data)
    root = max(
        struct.unpack_from("<Q", data, page + 128)[0] for page in (0, 4096) if data[page + 144]
    )
    node = root * 4096 + struct.unpack_from("<H", data, root * 4096 + 16)[0]
    flags, size = struct.unpack_from("<HH", data, node + 4)
    # A branch's node holds the number of a page, a leaf's that of its value's first page.
    if flags & 1:
        struct.pack_into("<Q", changed, node + 8 + size, 2**30)
    else:
        struct.pack_into("<HHH", changed, node, 0xFFFF, 0xFFFF, 0x3)
    return bytes(changed)


DAMAGES = {
    **{f"cut to {part}": cut(part) for part in (0.0, 0.001, 0.3, 0.9, 0.999)},
    "the root far out of the file": head("<Q", 128, 2**40),
    "a map of 2^62 bytes": head("<Q", 32, 2**62),
    "pages of 3 bytes": head("<I", 40, 3),
    "a depth of 65535": head("<H", 94, 2**16 - 1),
    "a node that leads out": leading_out,
}
DOCTOR = """
import json, sys
from pathlib import Path
from degflow_pipe.exports.doctor import doctor

folder, place = Path(sys.argv[1]), Path(sys.argv[2])
for damaged in sorted(Path(sys.argv[3]).iterdir()):
    place.unlink()
    damaged.rename(place)
    found = doctor(folder, "basicsr-lmdb", workers=1).findings
    told = found["structure"].examples if "structure" in found else None
    print(json.dumps([damaged.name, told]), flush=True)
"""


def doctored(folder: Path, damages: Callable[[Path], None]) -> dict[str, list[str] | None]:
    """What doctor says of each file in place of a data base, all in one process of its own: it
    lives, or the test fails.
    """
    (folder / "damaged").mkdir()
    damages(folder / "damaged")
    place = folder / "lq.lmdb" / "data.mdb"
    command = [sys.executable, "-c", DOCTOR, str(folder), str(place), str(folder / "damaged")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stdout[-500:], done.stderr[-2000:])
    return dict(json.loads(line) for line in done.stdout.splitlines())


def test_damaged_data_bases_are_findings_and_end_no_process(copied: Path) -> None:
    data = (copied / "lq.lmdb" / "data.mdb").read_bytes()
    random.seed(3)
    pages = [0, 1, *(random.randrange(len(data) // 4096) for _ in range(10))]

    def damages(folder: Path) -> None:
        for name, change in DAMAGES.items():
            (folder / name).write_bytes(change(data))
        for i, page in enumerate(pages * 6):
            flipped = bytearray(data)
            flipped[page * 4096 + random.randrange(160)] ^= random.randrange(1, 256)
            (folder / f"flip {i}").write_bytes(flipped)
        os.mkfifo(folder / "pipe")
        (folder / "zero").symlink_to("/dev/zero")

    found = doctored(copied, damages)
    assert len(found) == len(DAMAGES) + 6 * len(pages) + 2
    for name in (*DAMAGES, "pipe", "zero"):
        assert "lq.lmdb: no LMDB data base" in str(found[name]), (name, found[name])


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_data_base_is_not_mapped(copied: Path, name: str) -> None:
    path = copied / "lq.lmdb" / "data.mdb"
    path.write_bytes(DAMAGES[name](path.read_bytes()))
    with pytest.raises(DegflowError, match=r"data\.mdb"):
        check_lmdb(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=20_000))
def test_any_bytes_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "data.mdb"
    for content in (data, bytes(16) + struct.pack("<IIQQI", 0xBEEFC0DE, 1, 0, 2**20, 4096) + data):
        path.write_bytes(content)
        with pytest.raises(DegflowError):
            check_lmdb(path)


def test_a_list_that_is_no_file_is_not_waited_for(copied: Path) -> None:
    (copied / "lq.lmdb" / "meta_info.txt").unlink()
    os.mkfifo(copied / "lq.lmdb" / "meta_info.txt")
    found = doctor(copied, "basicsr-lmdb").findings
    assert "cannot be read" in found["structure"].examples[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "nobody.png (64,64,3) 1\n",
        lambda text: text + text.splitlines()[0] + "\n",
        lambda text: text + "a" * 5000 + ".png\n",
        lambda text: text + "\0.png\n",
        lambda text: text + ".png\n",
    ],
)
def test_a_list_that_says_more_than_there_is_is_a_finding(
    copied: Path, change: Callable[[str], str]
) -> None:
    for place in ("gt.lmdb", "lq.lmdb"):
        path = copied / place / "meta_info.txt"
        path.write_text(change(path.read_text()))
    assert doctor(copied, "basicsr-lmdb").findings.keys() == {"list"}


def test_large_and_small_values_and_many_pages_are_walked(tmp_path: Path) -> None:
    """Leaves below branches, values in pages of their own and in leaves, pages that were freed."""
    rng = np.random.default_rng(0)
    with lmdb.open(str(tmp_path), map_size=2**27, lock=False, sync=False) as base:
        for turn in range(3):
            with base.begin(write=True) as transaction:
                for i in range(3000):
                    size = int(rng.integers(1, 9000 if i % 10 == 0 else 300))
                    transaction.put(f"{i % 2500:08d}-{turn}".encode(), rng.bytes(size))
                for i in range(0, 2500, 3):
                    transaction.delete(f"{i:08d}-{turn}".encode())
    check_lmdb(tmp_path / "data.mdb")
