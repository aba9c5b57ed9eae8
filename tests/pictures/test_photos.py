"""Finding photos, and decoding real files of every kind that is taken."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
import tarfile
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from skimage import data

from degflow_pipe.engines.threads import in_order
from degflow_pipe.errors import PhotoError, UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.pictures import photos
from degflow_pipe.pictures.photos import (
    decoded_bytes,
    file_digest,
    find_photos,
    picture_size,
    read_photo,
)
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.shard import shard

RGB = np.ascontiguousarray(data.astronaut()[100:160, 180:260])
"""80 x 60 pixels of a real photo."""


def names(*sources: object) -> list[str]:
    return [found.name for found in find_photos([str(source) for source in sources])]


def near(a: np.ndarray, b: np.ndarray) -> float:
    """Mean difference in grey levels."""
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b).mean())


@pytest.mark.parametrize(
    "ending, options", [("png", {}), ("bmp", {}), ("tif", {}), ("webp", {"lossless": True})]
)
def test_lossless_formats_give_the_very_pixels(tmp_path: Path, ending: str, options: dict) -> None:
    path = tmp_path / f"photo.{ending}"
    Image.fromarray(RGB).save(path, **options)
    photo = read_photo(path)
    assert photo.pixels.dtype == np.uint8
    assert np.array_equal(photo.pixels, RGB)
    assert photo.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_lossy_formats_give_nearly_the_pixels(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"photo.{ending}"
    Image.fromarray(RGB).save(path, quality=95)
    assert near(read_photo(path).pixels, RGB) < 4


def test_the_content_decides_the_format_not_the_ending(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(RGB).save(path, format="PNG")
    assert np.array_equal(read_photo(path).pixels, RGB)


def test_gray_becomes_three_equal_channels(tmp_path: Path) -> None:
    gray = RGB[:, :, 1]
    Image.fromarray(gray).save(tmp_path / "gray.png")
    assert np.array_equal(read_photo(tmp_path / "gray.png").pixels, np.stack([gray] * 3, axis=2))


def test_alpha_is_dropped_and_the_colour_below_it_stays(tmp_path: Path) -> None:
    alpha = np.linspace(0, 255, RGB.shape[0] * RGB.shape[1], dtype=np.uint8)
    rgba = np.dstack([RGB, alpha.reshape(RGB.shape[:2])])
    Image.fromarray(rgba, "RGBA").save(tmp_path / "alpha.png")
    assert np.array_equal(read_photo(tmp_path / "alpha.png").pixels, RGB)
    Image.fromarray(rgba[:, :, 2:], "LA").save(tmp_path / "la.png")
    blue = RGB[:, :, 2]
    assert np.array_equal(read_photo(tmp_path / "la.png").pixels, np.stack([blue] * 3, axis=2))


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(RGB).quantize(200)
    image.save(tmp_path / "palette.png")
    assert np.array_equal(read_photo(tmp_path / "palette.png").pixels, image.convert("RGB"))


def test_black_and_white_gives_0_and_255(tmp_path: Path) -> None:
    bits = RGB[:, :, 0] > 100
    Image.fromarray(bits).save(tmp_path / "bits.png")
    expected = np.where(bits[:, :, None], 255, 0).repeat(3, axis=2)
    assert np.array_equal(read_photo(tmp_path / "bits.png").pixels, expected)


def test_a_cmyk_jpeg_is_read_as_rgb(tmp_path: Path) -> None:
    Image.fromarray(RGB).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    assert near(read_photo(tmp_path / "cmyk.jpg").pixels, RGB) < 5


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_16_bit_gray_keeps_its_high_byte(tmp_path: Path, ending: str) -> None:
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) * 16 + 7
    path = tmp_path / f"gray.{ending}"
    assert cv2.imwrite(str(path), values)
    expected = (values >> 8).astype(np.uint8)
    assert np.array_equal(read_photo(path).pixels, np.stack([expected] * 3, axis=2))


def test_16_bit_colour_png_keeps_its_high_byte(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 65536, (40, 50, 3), dtype=np.uint16)
    assert cv2.imwrite(str(tmp_path / "colour.png"), values[:, :, ::-1])
    assert np.array_equal(
        read_photo(tmp_path / "colour.png").pixels, (values >> 8).astype(np.uint8)
    )


def test_16_bit_of_the_other_byte_order_keeps_its_high_byte(tmp_path: Path) -> None:
    values = (np.arange(32 * 32).reshape(32, 32) * 64).astype(">u2")
    header = b"MM\x00\x2a\x00\x00\x00\x08"  # a TIFF of one strip, big-endian
    tags = [(256, 32), (257, 32), (258, 16), (259, 1), (262, 1), (273, 0), (277, 1), (278, 32)]
    offset = 8 + 2 + 12 * 9 + 4
    entries = [(tag, 3, offset if tag == 273 else value) for tag, value in tags]
    directory = struct.pack(">H", 9)
    directory += b"".join(struct.pack(">HHIHH", t, kind, 1, v, 0) for t, kind, v in entries)
    directory += struct.pack(">HHII", 279, 4, 1, values.nbytes) + bytes(4)
    (tmp_path / "big.tif").write_bytes(header + directory + values.tobytes())
    pixels = read_photo(tmp_path / "big.tif").pixels
    assert np.array_equal(pixels[:, :, 0], (values >> 8).astype(np.uint8))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_of_more_than_16_bits_are_refused(tmp_path: Path, dtype: type) -> None:
    Image.fromarray(np.ones((40, 40), dtype)).save(tmp_path / "deep.tif")
    with pytest.raises(PhotoError, match=r"deep\.tif: .*not 8 or 16 bit"):
        read_photo(tmp_path / "deep.tif")


def test_of_several_frames_the_first_is_taken(tmp_path: Path) -> None:
    other = Image.fromarray(255 - RGB)
    Image.fromarray(RGB).save(tmp_path / "two.tif", save_all=True, append_images=[other])
    assert np.array_equal(read_photo(tmp_path / "two.tif").pixels, RGB)


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_orientation_that_is_none_turns_nothing(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "odd.png", exif=exif)
    assert np.array_equal(read_photo(tmp_path / "odd.png").pixels, RGB)


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_as_its_exif_says(tmp_path: Path, ending: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if ending == "jpg" else {}
    if ending == "webp":
        options = {"lossless": True}
    untagged, tagged = tmp_path / f"a.{ending}", tmp_path / f"b.{ending}"
    Image.fromarray(RGB).save(untagged, **options)
    Image.fromarray(RGB).save(tagged, exif=exif, **options)
    plain = read_photo(untagged).pixels
    turned = {
        1: plain,
        2: plain[:, ::-1],
        3: plain[::-1, ::-1],
        4: plain[::-1],
        5: plain.transpose(1, 0, 2),
        6: np.rot90(plain, -1),
        7: plain[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(plain),
    }[orientation]
    assert np.array_equal(read_photo(tagged).pixels, turned)


def test_a_turned_16_bit_photo_is_turned_too(tmp_path: Path) -> None:
    values = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40) * 50
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / "gray16.png", exif=exif)
    pixels = read_photo(tmp_path / "gray16.png").pixels
    assert np.array_equal(pixels[:, :, 0], np.rot90((values >> 8).astype(np.uint8), -1))


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "tif", "bmp"])
def test_a_truncated_photo_is_refused_by_name(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"cut.{ending}"
    Image.fromarray(RGB).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PhotoError, match=rf"cut\.{ending}: "):
        read_photo(path)


@pytest.mark.parametrize(
    "content", [b"", b"not a picture at all\n" * 50, b"\x89PNG\r\n\x1a\n", bytes(1000)]
)
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.png"
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=r"letter\.png: "):
        read_photo(path)


def test_a_picture_of_another_format_is_refused(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "anim.gif")
    with pytest.raises(PhotoError, match=r"anim\.gif: not a PNG, JPEG, WEBP, TIFF, BMP, AVIF"):
        read_photo(tmp_path / "anim.gif")


def test_a_missing_photo_or_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"gone\.png: cannot read"):
        read_photo(tmp_path / "gone.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(PhotoError, match=r"folder\.png: cannot read"):
        read_photo(tmp_path / "folder.png")


def test_a_flipped_bit_in_the_pixels_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.png"
    Image.fromarray(RGB).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=r"bad\.png: damaged"):
        read_photo(path)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize("width, height", [(16_000, 14_000), (100_000, 100_000)])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(
    tmp_path: Path, width: int, height: int
) -> None:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)
    bomb += png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(PhotoError, match=r"bomb\.png: .*more than the limit of 210000000"):
        read_photo(tmp_path / "bomb.png")


def test_the_limits_hold_to_the_pixel_and_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(RGB).save(path)
    monkeypatch.setattr(photos, "MAX_BYTES", path.stat().st_size)
    assert read_photo(path, 80 * 60).pixels.shape == (60, 80, 3)
    with pytest.raises(PhotoError, match=r"photo\.png: 80 x 60 pixels, .* raise `max_pixels`"):
        read_photo(path, 80 * 60 - 1)
    monkeypatch.setattr(photos, "MAX_BYTES", path.stat().st_size - 1)
    with pytest.raises(PhotoError, match=r"photo\.png: larger than the limit"):
        read_photo(path)
    with pytest.raises(PhotoError, match=r"photo\.png: larger than the limit"):
        file_digest(path)


def test_pillows_own_limit_is_back_afterwards(tmp_path: Path) -> None:
    before = Image.MAX_IMAGE_PIXELS
    Image.fromarray(RGB).save(tmp_path / "photo.png")
    read_photo(tmp_path / "photo.png")
    assert before == Image.MAX_IMAGE_PIXELS


def test_our_own_warnings_are_told_after_photos_were_read_in_threads(tmp_path: Path) -> None:
    """And while they are: filters of warnings are of the whole process."""
    Image.fromarray(RGB).save(tmp_path / "photo.jpg")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        before = list(warnings.filters)
        for _ in in_order(lambda _: read_photo(tmp_path / "photo.jpg"), range(40), 4):
            assert warnings.filters == before
        warnings.warn("ours", stacklevel=1)
    assert [str(one.message) for one in told] == ["ours"]


def test_odd_metadata_is_no_warning(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 1
    Image.fromarray(RGB).save(tmp_path / "photo.tif", exif=exif)
    content = (tmp_path / "photo.tif").read_bytes()
    entry = struct.pack("<HHI", 0x0112, 3, 1)
    (tmp_path / "photo.tif").write_bytes(content.replace(entry, struct.pack("<HHI", 0x0112, 3, 3)))
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "photo.tif")], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


READ = """
import sys
from degflow_pipe.pictures.photos import read_photo
read_photo(sys.argv[1])
"""


def test_a_large_file_that_is_no_photo_is_refused_by_its_header(tmp_path: Path) -> None:
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(photos.MAX_BYTES)
    tracemalloc.start()
    with pytest.raises(PhotoError, match=r"sparse\.png: not a PNG"):
        read_photo(tmp_path / "sparse.png")
    assert decoded_bytes(tmp_path / "sparse.png") == 0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 1024**2


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}])
def test_the_size_of_a_webp_is_told_without_reading_it(
    tmp_path: Path, options: dict[str, object]
) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.webp", **options)
    with (tmp_path / "a.webp").open("r+b") as file:
        file.truncate(photos.MAX_BYTES)
    tracemalloc.start()
    assert picture_size(tmp_path / "a.webp") == RGB.shape[:2]
    assert decoded_bytes(tmp_path / "a.webp") > photos.MAX_BYTES
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 1024**2


@pytest.mark.parametrize("ending", ["avif", "heic"])
def test_what_phones_write_is_read(tmp_path: Path, ending: str) -> None:
    if ending == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    Image.fromarray(RGB).save(tmp_path / f"photo.{ending}", quality=90)
    assert names(tmp_path) == [f"photo.{ending}"]
    assert near(read_photo(tmp_path / f"photo.{ending}").pixels, RGB) < 6


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for found in find_photos([str(tmp_path)]):
        for read in (read_photo, file_digest, picture_size):
            with pytest.raises(PhotoError, match=found.name):
                read(found.path)
        assert decoded_bytes(found.path) == 0


def test_a_header_tells_what_decoding_takes(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "photo.png")
    assert decoded_bytes(tmp_path / "photo.png") >= 4 * 80 * 60
    length = (tmp_path / "photo.png").stat().st_size
    assert decoded_bytes(tmp_path / "photo.png") >= 4 * 80 * 60 + length
    assert decoded_bytes(tmp_path / "photo.png", 80 * 60 - 1) == length
    (tmp_path / "letter.png").write_bytes(b"no picture")
    assert decoded_bytes(tmp_path / "letter.png") == 0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files that are looked for by name only: their content plays no part."""
    for name in (
        "b.png",
        "a.JPG",
        "z/c.webp",
        "z/deep/d.tiff",
        "m/e.bmp",
        "m/notes.txt",
        ".hidden.png",
        ".cache/f.png",
        "z/._g.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_a_folder_gives_its_photos_sorted_with_names_below_it(tree: Path) -> None:
    assert names(tree) == ["a.JPG", "b.png", "m/e.bmp", "z/c.webp", "z/deep/d.tiff"]
    assert [found.path for found in find_photos([str(tree / "z")])] == [
        tree / "z" / "c.webp",
        tree / "z" / "deep" / "d.tiff",
    ]


def test_sources_keep_the_order_in_which_they_are_given(tree: Path) -> None:
    assert names(tree / "z", tree / "b.png", tree / "m") == [
        "c.webp",
        "deep/d.tiff",
        "b.png",
        "e.bmp",
    ]


def test_a_file_named_outright_is_taken_whatever_its_ending(tree: Path) -> None:
    assert names(tree / "m" / "notes.txt", tree / ".hidden.png") == ["notes.txt", ".hidden.png"]


def test_globs_give_photos_and_folders_sorted(tree: Path) -> None:
    assert names(tree / "*.png") == ["b.png"]
    assert names(tree / "m" / "*") == ["e.bmp"]  # the text file is left out
    assert names(tree / "**" / "*.??f*") == ["d.tiff"]
    assert names(tree / "[mz]") == ["e.bmp", "c.webp", "deep/d.tiff"]


@pytest.mark.parametrize("source", ["gone.png", "*.gif", "empty", "m/*.txt"])
def test_a_source_that_names_no_photo_is_refused(tree: Path, source: str) -> None:
    (tree / "empty").mkdir()
    why = "no such file or folder" if source == "gone.png" else "no photo"
    with pytest.raises(UsageError, match=why) as caught:
        names(tree / "b.png", tree / source)
    assert str(tree / source) in str(caught.value)


def test_a_name_with_glob_characters_is_taken_as_the_file_it_is(tree: Path) -> None:
    (tree / "w[1].png").touch()
    assert names(tree / "w[1].png") == ["w[1].png"]


def test_a_glob_below_a_folder_with_brackets_finds_its_photos(tmp_path: Path) -> None:
    (tmp_path / "set[1]").mkdir()
    for name in ("set[1]/a.png", "b[2].png", "b[2]c.png", "b2.jpg"):
        (tmp_path / name).touch()
    assert names(tmp_path / "set[1]" / "*.png") == ["a.png"]
    assert names(tmp_path / "b[2]*.png") == ["b[2].png", "b[2]c.png"]
    assert names(tmp_path / "b[0-9].jpg") == ["b2.jpg"]  # a glob where no name is so


def test_endings_of_jpeg_are_known_and_the_rest_is_counted(tmp_path: Path) -> None:
    for name in ("a.jfif", "b.JPE", "c.dib", "d.gif", "e.jp2", "e.JP2", "m/f.cr2", "notes"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    left_out: dict[str, int] = {}
    found = [file.name for file in find_photos([str(tmp_path)], left_out)]
    assert found == ["a.jfif", "b.JPE", "c.dib"]
    assert left_out == {".gif": 1, ".jp2": 2, ".cr2": 1, "(none)": 1}
    with pytest.raises(UsageError, match=r"no photo .*left out: 1 of \.cr2"):
        names(tmp_path / "m")


def test_names_are_text_that_can_be_shown_and_kept(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    kept = []
    for name in (b"caf\xe9.png", "café.png".encode(), b"a\x1b[2J.png", b"[bold].png"):
        try:
            (Path(os.fsdecode(folder + b"/" + name))).touch()
        except OSError:  # a file system that takes no such name
            continue
        kept.append(name)
    found = {file.name for file in find_photos([str(tmp_path)])}
    wanted = {
        b"caf\xe9.png": "caf\\xe9.png",
        "café.png".encode(): "café.png",
        b"a\x1b[2J.png": "a\\x1b[2J.png",
        b"[bold].png": "[bold].png",
    }
    assert found == {wanted[name] for name in kept}
    json.dumps(sorted(found), ensure_ascii=False).encode()


@given(st.text(st.characters()))
def test_printable_text_is_utf_8_without_controls(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u202e\u2028" for c in shown)
    assert printable(shown) == shown


def test_names_in_shards_are_utf_8(
    make_store: Callable[..., Path], photo_folder: Path, tmp_path: Path
) -> None:
    """Readers of JSON in strict UTF-8, such as Arrow's, take no lone surrogates."""
    photos = tmp_path / "photos"
    photos.mkdir()
    odd = Path(os.fsdecode(os.fsencode(photos) + b"/caf\xe9.png"))
    try:
        odd.write_bytes((photo_folder / "astronaut.png").read_bytes())
    except OSError:
        pytest.skip("a file system that takes no such name")
    shard(make_store(tmp_path / "a.zarr", [str(photos)]), tmp_path / "shards", ShardSettings())
    texts = [path.read_bytes() for path in (tmp_path / "shards").rglob("*.json*")]
    for path in (tmp_path / "shards").glob("*.tar"):
        with tarfile.open(path) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    file = tar.extractfile(member)
                    assert file is not None
                    texts.append(file.read())
                    assert json.loads(texts[-1])["source"] == "caf\\xe9.png"
    assert len(texts) > 3
    assert not any(b"\\ud" in text.lower() for text in texts)
    assert all(text.decode() for text in texts)


def test_an_error_names_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    with pytest.raises(PhotoError, match=r"caf\\xe9\.png") as caught:
        read_photo(path)
    str(caught.value).encode()


def test_links_to_folders_are_followed_once(tree: Path) -> None:
    (tree / "m" / "back").symlink_to(tree)
    (tree / "zz").symlink_to(tree / "z")
    found = names(tree)
    assert sorted(found) == sorted(set(found))
    assert [name.rpartition("/")[2] for name in found].count("c.webp") == 1


def test_exif_of_a_photo_from_pillow_is_what_this_file_expects(tmp_path: Path) -> None:
    """The turns above are told by hand; Pillow's own must agree, or the test is wrong."""
    exif = Image.Exif()
    exif[0x0112] = 7
    Image.fromarray(RGB).save(tmp_path / "b.png", exif=exif)
    with Image.open(tmp_path / "b.png") as image:
        by_pillow = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(by_pillow, RGB[::-1, ::-1].transpose(1, 0, 2))
