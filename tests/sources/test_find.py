"""Photos are found in tars, in Parquet files and beside metadata, and hostile ones are named."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from degflow_pipe.errors import DegflowError, PhotoError, UsageError
from degflow_pipe.formats import parquet_layout
from degflow_pipe.pictures.photos import PhotoFile, decode, find_photos, read_file, read_photo
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.sources import parquet
from degflow_pipe.stages.shard import shard
from tests.sources.conftest import IMAGE, NAMES, hugging_face, write_parquet

Tar = Callable[..., Path]


def found_in(*sources: object) -> tuple[list[PhotoFile], dict[str, int]]:
    left_out: dict[str, int] = {}
    return list(find_photos([str(source) for source in sources], left_out)), left_out


def problem_of(photo: PhotoFile) -> str:
    with pytest.raises(PhotoError) as raised:
        read_photo(photo)
    return str(raised.value)


def test_the_members_of_a_tar_are_its_photos(data_sets: Path, pictures: list[bytes]) -> None:
    found, left_out = found_in(data_sets / "photos-000000.tar")
    assert [photo.name for photo in found] == [f"photos-000000.tar::{name}" for name in NAMES]
    assert left_out == {".txt": 3}
    for photo, data in zip(pickle.loads(pickle.dumps(found)), pictures, strict=True):
        assert read_file(photo)[0] == data and photo.length() == len(data)
    assert found[2].stem == "photos-000000.tar_sub%2Fcoffee.webp"


@pytest.mark.parametrize("noted", [True, False])
def test_the_rows_of_a_parquet_file_are_its_photos(
    tmp_path: Path, pictures: list[bytes], noted: bool
) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures, noted=noted)
    found, _ = found_in(path)
    assert [photo.name for photo in found] == [f"a.parquet::{row}" for row in range(3)]
    for row in (2, 0, 1, 0, 2):  # in any order
        assert read_file(pickle.loads(pickle.dumps(found[row])))[0] == pictures[row]
    assert found[1].stem == "a.parquet_1"


def test_a_file_that_is_written_anew_is_read_anew(tmp_path: Path, pictures: list[bytes]) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures)
    found, _ = found_in(path)
    assert read_file(found[0])[0] == pictures[0]
    write_parquet(path, pictures[::-1][:2])
    assert read_file(found[0])[0] == pictures[2]
    assert "has 2 rows by now" in problem_of(found[2])


def test_columns_of_pictures_are_told_from_others(tmp_path: Path, pictures: list[bytes]) -> None:
    one = pictures[:1]
    columns = {
        "plain": pa.array(one, pa.binary()),
        "large": pa.array(one, pa.large_binary()),
        "blob": pa.array([b"0123456789"], pa.binary()),
        "sound": pa.array([{"bytes": one[0], "path": None}], IMAGE),
        "text": pa.array(["a"]),
        "a.b": pa.array([{"bytes": one[0], "path": None}], IMAGE),
    }
    path = tmp_path / "a.parquet"
    noted = hugging_face(sound="Audio", plain="Value")
    pq.write_table(pa.table(columns).replace_schema_metadata(noted), path)
    found, _ = found_in(path)
    assert [photo.name for photo in found] == [
        f"a.parquet::0.{name}" for name in ("plain", "large", "a.b")
    ]
    assert all(read_file(photo)[0] == one[0] for photo in found)
    pq.write_table(pa.table({"text": ["a"]}), path)
    found, _ = found_in(path)
    assert "no column of pictures is in it" in problem_of(found[0])


def test_folders_and_globs_of_them(data_sets: Path, photo_folder: Path, tmp_path: Path) -> None:
    """With metadata beside photos as `imagefolder` has it, and Parquet files of other things."""
    folder = Path(shutil.copytree(photo_folder, tmp_path / "photos"))
    (folder / "metadata.csv").write_text("file_name,text\nastronaut.png,a woman\n")
    (folder / "metadata.jsonl").write_text('{"file_name": "astronaut.png"}\n')
    (folder / "metadata.parquet").write_text("not even read")
    pq.write_table(pa.table({"text": ["a"]}), folder / "other.parquet")
    (folder / "sub" / "old.zip").write_bytes(b"PK\3\4")
    found, left_out = found_in(folder)
    assert [photo.name for photo in found] == list(NAMES)
    assert left_out == {".csv": 1, ".jsonl": 1, ".parquet": 2, ".zip": 1}
    shutil.copytree(data_sets, folder / "sub" / "sets")
    found, _ = found_in(folder)
    assert len(found) == 9 and found[-1].name == "sub/sets/train-00000.parquet::2"
    for pattern, number in (("sub/*/*.tar", 3), ("sub/sets/*", 6), ("*", 9)):
        assert len(found_in(folder / pattern)[0]) == number


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "a.tgz", "a.tar.zst"])
def test_compressed_archives_are_refused(tmp_path: Path, pictures: list[bytes], name: str) -> None:
    (tmp_path / name).write_bytes(b"PK\3\4")
    for source in (tmp_path / name, tmp_path, tmp_path / "a.*"):
        with pytest.raises(UsageError, match="unpack it, or make a plain"):
            found_in(source)


def test_pairs_of_ours_are_no_photos(data_sets: Path, ready_store: Path, tmp_path: Path) -> None:
    shard(ready_store, tmp_path / "sets" / "shards", ShardSettings(), workers=1)
    shutil.copy(data_sets / "photos-000000.tar", tmp_path / "sets")
    found, left_out = found_in(tmp_path / "sets")
    assert sum(".tar" in photo.name for photo in found) == 3 and left_out[".tar"] == 1
    found, _ = found_in(tmp_path / "sets" / "shards" / "degflow-000000.tar")
    assert "a set of shards that degflow-pipe made" in problem_of(found[0])


def test_what_is_made_of_a_photo_in_a_file_is_called_as_no_other(
    tar_of: Tar, pictures: list[bytes], tmp_path: Path
) -> None:
    names = ["0001.jpg", "0001.png", "a/b.jpg", "a_b.jpg", "a%2Fb.jpg", "a:b.jpg", r"a\b.jpg"]
    names += [f"{'n' * 150}{ending}" for ending in (".jpg", ".png")] + ["\u00e9" * 99 + ".png"]
    found, _ = found_in(tar_of(*((name, pictures[0]) for name in names)))
    stems = {photo.stem for photo in found}
    assert len(stems) == len(names) and "a.tar_a%2Fb.jpg" in stems
    assert all(len(stem.encode()) < 130 and not set(stem) & set('/\\:*?"<>|') for stem in stems)
    rows = pa.array([{"bytes": pictures[0], "path": None}], IMAGE)
    pq.write_table(pa.table({"image": rows, "other": rows}), tmp_path / "t.parquet")
    found, _ = found_in(tmp_path / "t.parquet")
    assert [photo.stem for photo in found] == ["t.parquet_0.image", "t.parquet_0.other"]


def test_a_compressed_tar_by_a_plain_name(tar_of: Tar, pictures: list[bytes]) -> None:
    found, _ = found_in(tar_of(("a.png", pictures[0]), mode="w:gz"))
    assert "a.tar: it is compressed (gzip): unpack it first" in problem_of(found[0])


def test_members_that_are_no_photos_to_take(tar_of: Tar, pictures: list[bytes]) -> None:
    data = pictures[0]
    path = tar_of(
        ("a.png", data),
        ("b.jpg", b"no picture at all, but long enough to have a header in it"),
        ("../../x.png", data),
        ("/etc/x.png", data),
        ("a.png", pictures[1]),
        ("n" * 2000 + ".png", data),
        ("\x1b[2J\u202e.png", data),
        ("c.jpg", b""),
        ("._a.png", data),
        ("__meta__/a.png", data),
        ("k.seg.PNG", data),
    )
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    found, left_out = found_in(path)
    names = [photo.name.removeprefix("a.tar::") for photo in found]
    long = names.pop(5)
    assert long.startswith("nnnn") and len(long) < 120
    assert names == [
        *("a.png", "b.jpg", "../../x.png", "/etc/x.png", "a.png#2"),
        *(r"\x1b[2J\u202e.png", "c.jpg", "k.seg.PNG"),
    ]
    assert left_out == {"(link)": 1, ".png": 2}
    told = {i: problem_of(found[i]) for i in (1, 2, 3, 4, 5, 7)}
    assert "a.tar::b.jpg: not a PNG" in told[1] and "a.tar::c.jpg: empty, 0 bytes" in told[7]
    assert "its name leads out of the tar" in told[2] and "its name leads out" in told[3]
    assert "a.png is in the tar already" in told[4]
    assert "a name of 2004 characters, more than the limit of 1000" in told[5]
    for i in (0, 6, 8):
        assert read_file(found[i])[0] == data
    assert all("/" not in photo.stem and ".." not in photo.stem.split("/") for photo in found)


def test_a_tar_that_is_cut_off(data_sets: Path, tmp_path: Path, pictures: list[bytes]) -> None:
    path = tmp_path / "a.tar"
    shutil.copy(data_sets / "photos-000000.tar", path)
    os.truncate(path, 512 * 4 + len(pictures[0]))
    photos, _ = found_in(path)
    assert photos[0].name == "a.tar::astronaut.png" and read_file(photos[0])[0] == pictures[0]
    assert "a.tar: damaged: truncated header, " in problem_of(photos[-1])
    os.truncate(path, 2000)
    photos, _ = found_in(path)
    assert "::astronaut.png: the tar ends" in problem_of(photos[0]) and len(photos) == 2
    path.write_bytes(b"")
    photos, _ = found_in(path)
    assert "a.tar: damaged: empty header" in problem_of(photos[0])


def test_rows_without_bytes(tmp_path: Path, pictures: list[bytes]) -> None:
    for paths in (True, False):
        path = write_parquet(tmp_path / "a.parquet", [None, pictures[0], None], paths=paths)
        found, _ = found_in(path)
        assert "a.parquet::0: no bytes are in this row" in problem_of(found[0])
        assert read_file(found[1])[0] == pictures[0]
        assert "a.parquet::2: no bytes" in problem_of(found[2])


def test_parquet_files_that_are_damaged(tmp_path: Path, pictures: list[bytes]) -> None:
    path = write_parquet(tmp_path / "a.parquet", pictures)
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    photos, _ = found_in(path)
    assert "no Parquet file that can be read: its end is not" in problem_of(photos[0])
    path.write_bytes(b"PAR1" + bytes(20) + whole[-8:])
    photos, _ = found_in(path)
    assert "damaged" in problem_of(photos[0])
    where = whole.index(pictures[0][100:200])  # in the page of the first two rows
    path.write_bytes(whole[: where + 300] + bytes(600) + whole[where + 900 :])
    photos, _ = found_in(path)
    assert len(photos) == 3 and read_file(photos[2])[0] == pictures[2]
    assert "a.parquet::0: damaged" in problem_of(photos[0])


def test_sizes_that_would_take_all_memory(
    tmp_path: Path, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_layout, "PLAIN", 2**20)
    bomb = write_parquet(tmp_path / "bomb.parquet", [bytes(2**21)], compression="zstd")
    photos, _ = found_in(bomb)
    assert "bytes that unpacks to 2097" in problem_of(photos[0])
    path = write_parquet(tmp_path / "a.parquet", pictures)
    monkeypatch.setattr(parquet_layout, "RATIO", 0)
    monkeypatch.setattr(parquet_layout, "PLAIN", 10_000)
    photos, _ = found_in(path)
    assert "that unpacks to" in problem_of(photos[0])
    monkeypatch.setattr(parquet_layout, "ROWS", 2)
    photos, _ = found_in(write_parquet(tmp_path / "b.parquet", pictures))
    assert "3 rows in 2 groups; the limits are 2 and" in problem_of(photos[0])


def test_pages_that_are_many(tmp_path: Path, pictures: list[bytes]) -> None:
    """Each takes time, however few bytes it has."""

    def page(kind: int, field: int, values: int) -> bytes:
        """A page of no bytes: its type, its sizes, and how many values it has."""
        head = bytes([0x15, 2 * kind, 0x15, 0, 0x15, 0, (field - 3) << 4 | 12])
        return head + bytes([0x15, 2 * values, 0, 0])

    def check(pages: bytes, rows: int) -> None:
        parquet_layout.check_pages(io.BytesIO(bytes(4) + pages), (4, len(pages)), rows)

    index = bytes([0x15, 2, 0x15, 0, 0x15, 0, 0])  # 7 bytes
    data, second, dictionary = page(0, 5, 1), page(3, 8, 1), page(2, 7, 0)
    check(dictionary + index + 3 * data + 2 * second, 5)
    for many in (index * 1000, page(0, 5, 0) * 1000, dictionary * 1000, page(0, 5, 1) * 1000):
        with pytest.raises(ValueError, match="pages of"):
            check(many, 5)
    for options in ({"data_page_size": 1}, {"data_page_version": "2.0"}):
        path = write_parquet(tmp_path / "a.parquet", pictures * 3, group=9, **options)
        found, _ = found_in(path)
        assert [read_file(photo)[0] for photo in found] == pictures * 3


def test_what_cannot_be_opened_is_named(tmp_path: Path, pictures: list[bytes]) -> None:
    (tmp_path / "a.png").write_bytes(pictures[0])
    os.mkfifo(tmp_path / "b.tar")
    os.mkfifo(tmp_path / "c.parquet")
    found, _ = found_in(tmp_path)
    assert [photo.name for photo in found] == ["a.png", "b.tar", "c.parquet"]
    assert "b.tar: cannot read: it is a pipe, not a file" in problem_of(found[1])
    assert "c.parquet: cannot read: it is a pipe" in problem_of(found[2])


def test_without_pyarrow(
    tmp_path: Path, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(pictures[0])
    (tmp_path / "metadata.parquet").write_bytes(b"PAR1")
    assert len(found_in(tmp_path)[0]) == 1
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(parquet, "find_spec", lambda name: None)
    for source in (tmp_path, tmp_path / "a.parquet"):
        with pytest.raises(UsageError, match=r"pip install 'degflow-pipe\[parquet\]'"):
            found_in(source)


SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(ending=st.sampled_from(["tar", "parquet"]), data=st.data())
def test_whatever_is_spoiled_is_told_as_an_error(
    ending: str, data: st.DataObject, data_sets: Path, tmp_path: Path, pictures: list[bytes]
) -> None:
    """What is read all the same is a picture that decodes, or is told to be none."""
    (whole,) = data_sets.glob(f"*.{ending}")
    spoiled = bytearray(whole.read_bytes())
    # Where they say of themselves what they hold: the headers of a tar, the end of a Parquet file.
    heads = [*range(512), *range(len(pictures[0]) // 512 * 512 + 1024, len(pictures[0]) + 2048)]
    places = heads if ending == "tar" else [*range(64), *range(len(spoiled) - 1500, len(spoiled))]
    for _ in range(data.draw(st.integers(1, 4))):
        spoiled[data.draw(st.sampled_from(places))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"a.{ending}"
    path.write_bytes(spoiled)
    found, _ = found_in(path)
    assert found and all(photo.name.startswith(path.name) for photo in found)
    for photo in found[:10]:
        try:
            decode(read_file(photo)[0], photo.name)
        except DegflowError as error:
            assert path.name in str(error) and "\n" not in str(error)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_layouts_that_are_anything(data: bytes) -> None:
    footer = data + len(data).to_bytes(4, "little") + b"PAR1"
    for read in (
        lambda: parquet_layout.read_layout(io.BytesIO(b"PAR1" + bytes(20) + footer)),
        lambda: parquet_layout.check_pages(io.BytesIO(data), (0, len(data)), 10),
    ):
        with suppress(ValueError):
            read()
