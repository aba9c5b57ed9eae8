"""What export may write over and remove, what it believes, and what an index may say."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degflow_pipe import DegflowError, FileError, ShardError, export, folders
from degflow_pipe.exports.findings import whole_png
from degflow_pipe.exports.owned import below
from degflow_pipe.ledger import Ledger
from degflow_pipe.reading.samples import pairs_of, picture

Tree = Callable[[Path], dict[str, bytes]]


def everything(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder, hidden ones too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize(
    "name", ["photo.jpg", "gt/a.png", ".degflow/mine.txt", "pairs.jsonl", "train_basicsr.yml"]
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_of_others_is_left_as_it_is(
    shards: Path, tmp_path: Path, name: str, overwrite: bool
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(FileError, match="is not empty and was not made by degflow-pipe"):
        export(shards, "basicsr", tmp_path, overwrite=overwrite)
    assert everything(tmp_path) == {name: b"mine"}


def test_a_file_or_a_device_as_out_is_refused(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(FileError, match="Not a directory"):
        export(shards, "basicsr", tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="Not a directory"):
        export(shards, "basicsr", tmp_path / "pipe")
    assert (tmp_path / "file").read_bytes() == b"mine"


@pytest.mark.parametrize("to", ["basicsr", "basicsr-lmdb", "realesrgan", "ddir"])
def test_overwrite_removes_what_export_wrote_alone(
    shards: Path, tmp_path: Path, tree: Tree, to: str
) -> None:
    out = tmp_path / "out"
    export(shards, to, out)
    places = {"basicsr-lmdb": "gt.lmdb", "ddir": "Train/HR2"}
    mine = {"notes.txt", f"{places.get(to, 'gt')}/mine.png", f"{places.get(to, 'gt')}/sub/a.txt"}
    for name in mine:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(b"mine")
    export(shards, "kair", out, overwrite=True, relative=True)
    found = tree(out)
    assert {name for name, data in found.items() if data == b"mine"} == mine
    export(shards, "kair", tmp_path / "fresh", relative=True)
    assert {name: data for name, data in found.items() if data != b"mine"} == tree(
        tmp_path / "fresh"
    )


class Stopping:
    """A progress at which the user stops after the first unit."""

    @contextmanager
    def task(
        self, name: str, total: float | None, done: float = 0, counts: str = ""
    ) -> Iterator[Stopping]:
        yield self

    def advance(self, count: float = 1) -> None:
        raise KeyboardInterrupt

    def note(self, text: str) -> None: ...


@pytest.mark.parametrize("to", ["basicsr", "basicsr-lmdb"])
def test_what_an_export_that_was_stopped_wrote_is_known_as_its_own(
    shards: Path, tmp_path: Path, tree: Tree, to: str
) -> None:
    out = tmp_path / "out"

    with pytest.raises(KeyboardInterrupt):
        export(shards, to, out, workers=1, progress=Stopping())
    assert not (out / "pairs.jsonl").exists() and Ledger(out / ".degflow/written").every_key()
    export(shards, "kair", out, overwrite=True, relative=True)
    export(shards, "kair", tmp_path / "fresh", relative=True)
    assert tree(out) == tree(tmp_path / "fresh")


def test_the_same_again_changes_no_byte_of_the_ledger(shards: Path, tmp_path: Path) -> None:
    export(shards, "basicsr", tmp_path, workers=1)
    before = everything(tmp_path)
    assert ".degflow/written/00000000.jsonl" in before
    assert export(shards, "basicsr", tmp_path, workers=3).written == 0
    assert everything(tmp_path) == before


def test_a_file_of_others_among_those_to_come_is_refused_and_nothing_removed(
    shards: Path, tmp_path: Path
) -> None:
    export(shards, "basicsr", tmp_path)
    (tmp_path / "gt" / "mine.png").write_bytes(b"mine")
    before = everything(tmp_path)
    with pytest.raises(FileError, match=r"mine.png is of no export: move it"):
        export(shards, "neosr", tmp_path, overwrite=True)
    assert everything(tmp_path) == before


def test_an_option_file_that_was_changed_is_not_overwritten(shards: Path, tmp_path: Path) -> None:
    export(shards, "basicsr", tmp_path)
    (tmp_path / "train_basicsr.yml").write_text("mine")
    before = everything(tmp_path)
    with pytest.raises(FileError, match=r"train_basicsr.yml was changed since export wrote it"):
        export(shards, "kair", tmp_path, overwrite=True)
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    "path", ["../mine.png", "/etc/hostname", "gt/../../mine.png", "link/a.png"]
)
def test_a_journal_that_leads_out_removes_nothing(shards: Path, tmp_path: Path, path: str) -> None:
    out = tmp_path / "out"
    export(shards, "basicsr", out)
    (tmp_path / "mine.png").write_bytes(b"mine")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.png").write_bytes(b"mine")
    (out / "link").symlink_to(tmp_path / "there")
    strange: list[dict[str, Any]] = [{"paths": [path]}, {"paths": [1]}, {"paths": path}, {}]
    with Ledger(out / ".degflow/written") as ledger:
        for number, record in enumerate(strange, 10**6):
            ledger.write(number, record)
    with (out / ".degflow/written/00000000.jsonl").open("a") as file:
        file.write("[" * 100_000)
    with (out / "pairs.jsonl").open("a") as file:
        file.write(json.dumps({"hr": path, "lr": None}))
    export(shards, "kair", out, overwrite=True)
    assert (tmp_path / "mine.png").read_bytes() == b"mine"
    assert (tmp_path / "there" / "a.png").read_bytes() == b"mine"


def test_half_a_data_base_that_lies_elsewhere_is_not_removed(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(shards, "basicsr-lmdb", out)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "data.mdb").write_bytes(b"mine")
    (out / "gt.lmdb.part").symlink_to(tmp_path / "there")
    export(shards, "kair", out, overwrite=True)
    assert (tmp_path / "there" / "data.mdb").read_bytes() == b"mine"


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"trainer": []}', '{"trainer": "basicsr"}', "[" * 99999]
)
def test_a_mark_that_is_not_ours_is_refused(shards: Path, tmp_path: Path, text: str) -> None:
    folders.claim(tmp_path, "export")
    (tmp_path / ".degflow").mkdir()
    (tmp_path / ".degflow/export.json").write_text(text)
    with pytest.raises(FileError, match=r"export.json is damaged: give another folder"):
        export(shards, "basicsr", tmp_path, overwrite=True)
    assert (tmp_path / ".degflow/export.json").read_text() == text


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def zeroed(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(16) + data[middle + 16 :]


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("damage", [cut, zeroed, lambda data: b"", lambda data: data + b"x"])
def test_damaged_pictures_are_made_again(
    shards: Path, tmp_path: Path, scale: int, damage: Callable[[bytes], bytes]
) -> None:
    """Pictures as the shards have them, and pictures that were made smaller."""
    export(shards, "neosr", tmp_path, scale=scale)
    before = everything(tmp_path)
    (tmp_path / "export.json").unlink()
    for folder in ("gt", "lq"):
        path = sorted((tmp_path / folder).iterdir())[3]
        path.write_bytes(damage(path.read_bytes()))
    again = export(shards, "neosr", tmp_path, scale=scale)
    assert again.written == 2 + again.linked, "what is damaged is so under all its names"
    after = everything(tmp_path)
    assert {n: d for n, d in after.items() if n[0] != "."} == {
        n: d for n, d in before.items() if n[0] != "."
    }


def test_what_is_no_file_where_a_picture_goes_is_not_waited_for(
    shards: Path, tmp_path: Path
) -> None:
    export(shards, "neosr", tmp_path)
    path = sorted((tmp_path / "gt").iterdir())[0]
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(FileError, match="is in the way, and no file"):
        export(shards, "neosr", tmp_path)


@given(st.binary(max_size=300), st.integers(0, 70))
def test_bytes_that_are_no_whole_png_are_told(data: bytes, side: int) -> None:
    assert not whole_png(data, side)
    assert not whole_png(b"\x89PNG\r\n\x1a\n" + data, side)


@given(st.text(max_size=40))
def test_a_name_in_a_list_leads_below_or_nowhere(name: str) -> None:
    found = below(Path("/there"), name)
    assert found is None or os.path.normpath(found).startswith("/there/")


# What an index may say


Line = dict[str, Any]


def damaged(shards: Path, tmp_path: Path, change: Callable[[list[Line]], list[Line | str]]) -> Path:
    """A copy of the shards whose index was changed."""
    broken = Path(shutil.copytree(shards, tmp_path / "broken"))
    index = broken / "degflow-000000.index.jsonl"
    rows = change([json.loads(line) for line in index.read_text().splitlines()])
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    index.write_text("".join(f"{line}\n" for line in lines))
    return broken


def with_key(key: Any) -> Callable[[list[Line]], list[Line | str]]:
    return lambda rows: [{**rows[0], "key": key}, *rows[1:]]


def with_info(**info: Any) -> Callable[[list[Line]], list[Line | str]]:
    return lambda rows: [{**rows[0], "json": {**rows[0]["json"], **info}}, *rows[1:]]


def with_text(text: str) -> Callable[[list[Line]], list[Line | str]]:
    return lambda rows: [text, *rows[1:]]


CHANGES = {
    "../ in the key": with_key("../../../out-of-it"),
    "an absolute key": with_key("/tmp/out-of-it"),
    "a dot": with_key("a.b"),
    "nothing": with_key(""),
    "NUL": with_key("a\0b"),
    "half a surrogate": with_key("a\ud800"),
    "a long key": with_key("a" * 300),
    "a number": with_key(7),
    "a list": with_key(["a"]),
    "../ in the level": with_info(level="../../../out-of-it"),
    "NUL in the level": with_info(level="\0"),
    "a level of another kind": with_info(level={"a": 1}),
    "t too large": with_info(t=2),
    "t no number": with_info(t="0.5"),
    "t true": with_info(t=True),
    "scale of 400 digits": with_info(scale=10**400),
    "scale below 1": with_info(scale=-1),
    "a side of 400 digits": with_info(hr_size=[10**400] * 2),
    "a side of parts": with_info(hr_size=[64.0, 64.0]),
    "no side": with_info(hr_size=None),
    "a side below": with_info(lr_size=[-1, -1]),
    "no object": with_text("3"),
    "deep": with_text("[" * 200_000 + "]" * 200_000),
    "Infinity": with_text('{"key": Infinity}'),
    "a field twice": with_text('{"key": "a", "key": "b"}'),
    "a long line": with_text("x" * (17 * 1024**2)),
    "a sample twice": lambda rows: [rows[0], *rows],
    "another order": lambda rows: list(reversed(rows)),
    "members of another kind": lambda rows: [{**rows[0], "members": [1]}, *rows[1:]],
    "a tar of another kind": lambda rows: [{**rows[0], "tar": {"a": 1}}, *rows[1:]],
    "a tar elsewhere": lambda rows: [{**rows[0], "tar": "../x.tar"}, *rows[1:]],
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_index_that_says_what_it_may_not_is_refused(
    shards: Path, tmp_path: Path, change: Callable[[list[Line]], list[Line | str]]
) -> None:
    broken = damaged(shards, tmp_path, change)
    outside = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(ShardError, match=r"degflow-000000\.index\.jsonl") as refusal:
        export(broken, "basicsr", tmp_path / "deep" / "out")
    assert len(str(refusal.value).splitlines()) == 1 and len(str(refusal.value)) < 600
    assert sorted(path.name for path in tmp_path.iterdir()) == outside
    assert not Path("/tmp/out-of-it").exists()


@pytest.mark.parametrize(
    "span", [[0, 10**400], [-1, 5], ["a", 1], [0], None, [True, True], {"a": 1}, [10**12, 1]]
)
def test_a_span_that_is_none_of_the_tar_is_refused(shards: Path, tmp_path: Path, span: Any) -> None:
    def change(rows: list[Line]) -> list[Line | str]:
        rows[0]["members"]["hr.png"] = span
        return [*rows]

    with pytest.raises(ShardError, match="by the index, the tar has"):
        export(damaged(shards, tmp_path, change), "basicsr", tmp_path / "out")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(max_examples=300)
@given(
    st.text(max_size=8),
    JSON | st.fixed_dictionaries({"t": JSON, "scale": JSON, "level": JSON, "levels": JSON}),
)
def test_any_json_of_a_sample_is_taken_or_refused(key: str, info: Any) -> None:
    try:
        pairs = pairs_of(key, info)
    except (KeyError, TypeError, ValueError):
        return
    assert all("/" not in name and "\0" not in name and "." not in name for name, _, _ in pairs)


def test_errors_of_the_index_are_of_the_users(shards: Path, tmp_path: Path) -> None:
    broken = damaged(shards, tmp_path, with_text("{}"))
    with pytest.raises(
        DegflowError, match=r"damaged line b'\{\}\\n': 'key'; copy the shards again"
    ):
        export(broken, "kair", tmp_path / "out")


def test_a_picture_that_claims_a_billion_pixels_is_not_decoded() -> None:
    """900 megapixels in a few kB: OpenCV alone would take 2.7 GB."""
    rows = zlib.compressobj()
    body = b"".join(rows.compress(bytes(30_001 * 3 * 100)) for _ in range(3)) + rows.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    with pytest.raises(ShardError, match="cannot be decoded"):
        picture(bomb, "here")
