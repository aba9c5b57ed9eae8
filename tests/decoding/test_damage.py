"""Damage that decoders are silent about: AVIF tile by tile, what cannot be checked, lacks."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from errno import EMFILE, ENFILE, ENOMEM
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

from degflow_pipe import files
from degflow_pipe.decoding import av1, avif
from degflow_pipe.decoding.decode import decode
from degflow_pipe.errors import FileError, PhotoError
from degflow_pipe.pictures import photos
from degflow_pipe.pictures.photos import (
    decoded_bytes,
    file_digest,
    picture_size,
    read_file,
    read_photo,
)

RGB = np.ascontiguousarray(np.tile(data.astronaut(), (2, 2, 1))[:600, :700])


def encoded(kind: str, picture: np.ndarray = RGB, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


AVIFS: list[dict[str, Any]] = [
    {"quality": 60},
    {"quality": 95, "subsampling": "4:4:4"},
    {"quality": 100, "subsampling": "4:4:4"},
    {"quality": 40, "tile_rows": 2, "tile_cols": 2, "autotiling": False},
    {"quality": 50, "advanced": {"film-grain-test": "1"}},
    {"quality": 50, "advanced": {"aq-mode": "1", "deltaq-mode": "3", "enable-chroma-deltaq": "1"}},
    {"quality": 50, "advanced": {"enable-qm": "1", "enable-restoration": "0", "enable-cdef": "0"}},
    {"quality": 50, "advanced": {"sb-size": "128"}},
    {"quality": 50, "advanced": {"tune-content": "screen"}},
]


@pytest.mark.parametrize("options", AVIFS)
def test_a_whole_avif_is_taken_and_checked(options: dict[str, Any]) -> None:
    found = decode(encoded("AVIF", speed=9, **options), "a.avif")
    assert found.pixels.shape == RGB.shape and found.unchecked == ""


def test_a_grey_avif_is_taken_and_checked() -> None:
    content = encoded("AVIF", RGB[:, :, 1], quality=60, speed=9)
    assert decode(content, "a.avif").unchecked == ""


@pytest.mark.parametrize("options", AVIFS[:6])
def test_tiles_are_found_where_the_headers_say(options: dict[str, Any]) -> None:
    """Their data follow each other to the end, and are as many as were asked for."""
    content = encoded("AVIF", speed=9, **options)
    item = avif._item(content)
    assert item is not None
    frame = av1.frame(content[item.start : item.stop])
    assert frame.tiles[-1].stop == item.stop - item.start
    assert len(frame.tiles) == (16 if "tile_rows" in options else 2)
    area = sum((t.bottom - t.top) * (t.right - t.left) for t in frame.tiles)
    assert area == 600 * 700
    assert (
        frame.changed(content[item.start : item.stop], ends(content, item, frame))
        == (content[item.start : item.stop])
    )


def ends(content: bytes, item: avif.Item, frame: av1.Frame) -> list[bytes]:
    coded = content[item.start : item.stop]
    return [coded[tile.start : tile.stop] for tile in frame.tiles]


@pytest.mark.parametrize("tile", range(4))
def test_a_flipped_bit_in_any_tile_of_an_avif_is_refused(tile: int) -> None:
    options = {"tile_rows": 1, "tile_cols": 1, "autotiling": False}
    content = encoded("AVIF", quality=60, speed=9, **options)
    item = avif._item(content)
    assert item is not None
    place = av1.frame(content[item.start : item.stop]).tiles[tile]
    whole = decode(content, "a.avif").pixels
    for share in (0.1, 0.3, 0.5, 0.7):
        at = item.start + round(place.start + share * (place.stop - place.start))
        damaged = bytearray(content)
        damaged[at] ^= 4
        try:
            found = decode(bytes(damaged), "a.avif").pixels
        except PhotoError as error:
            assert "damaged" in str(error)
            continue
        off = np.abs(found.astype(int) - whole).max(axis=2)
        assert (off > 16).mean() < 0.005


def test_an_avif_of_several_frames_is_taken_and_told() -> None:
    content = encoded("AVIF", speed=9, save_all=True, append_images=[Image.fromarray(255 - RGB)])
    found = decode(content, "a.avif")
    assert found.unchecked == "AVIF of several pictures or frames"
    assert np.abs(found.pixels.astype(int) - RGB).mean() < 6


def test_lossless_webp_is_taken_and_told(tmp_path: Path) -> None:
    (tmp_path / "a.webp").write_bytes(encoded("WEBP", lossless=True))
    (tmp_path / "b.webp").write_bytes(encoded("WEBP", quality=80))
    lossless, lossy = read_photo(tmp_path / "a.webp"), read_photo(tmp_path / "b.webp")
    assert (lossless.unchecked, lossy.unchecked) == ("lossless WebP", "")
    colours: dict[str, int] = {}
    unchecked: dict[str, int] = {}
    for photo in (lossless, lossy):
        photo.count(colours, unchecked)
    assert colours == {} and unchecked == {"lossless WebP": 1}


@pytest.mark.parametrize("compression, predictor", [("lzw", True), ("lzw", False), ("zlib", True)])
def test_a_tiff_in_lzw_with_a_predictor_is_taken_and_told(
    compression: str, predictor: bool
) -> None:
    file = io.BytesIO()
    options = {"compression": compression, "predictor": predictor}
    tifffile.imwrite(file, RGB, photometric="rgb", **options)
    found = decode(file.getvalue(), "a.tif")
    assert np.array_equal(found.pixels, RGB)
    told = compression == "lzw" and predictor
    assert found.unchecked == ("TIFF in LZW with a predictor" if told else "")


@pytest.mark.parametrize("levels", [8, 64, 256])
def test_noise_as_lossless_webp_is_a_picture(levels: int) -> None:
    rng = np.random.default_rng(levels)
    noise = rng.integers(0, levels, (200, 200, 3), dtype=np.uint16) * (255 // (levels - 1))
    content = encoded("WEBP", noise.astype(np.uint8), lossless=True)
    assert np.array_equal(decode(content, "a.webp").pixels, noise)


NEAR_STANDARD = (
    3, 2, 5, 3, 5, 2, 3, 3, 3, 3, 4, 7, 3, 4, 5, 8, 5, 5, 4, 4, 5, 11, 7, 7, 6, 8, 13, 11, 13, 13,
    12, 11, 12, 12, 14, 15, 20, 17, 14, 15, 18, 15, 12, 12, 17, 24, 17, 18, 21, 22, 23, 23, 23, 13,
    16, 25, 26, 24, 22, 26, 20, 22, 23, 22,
)  # fmt: skip
"""A phone's table: all within 3 of the standard's of quality 89, in zigzag order."""
_DCT = 8


def test_a_cameras_own_quantisation_table_is_no_damage() -> None:
    table = [0] * 64
    for value, place in zip(NEAR_STANDARD, zigzag(), strict=True):
        table[place] = value
    content = encoded("JPEG", qtables=[table, table])
    assert bytes(NEAR_STANDARD) in content
    assert decode(content, "a.jpg").pixels.shape == RGB.shape


def test_a_changed_bit_in_a_quantisation_table_is_refused() -> None:
    content = bytearray(encoded("JPEG", quality=75))
    content[content.index(b"\xff\xdb") + 5 + 1] ^= 32
    with pytest.raises(PhotoError, match=r"a\.jpg: damaged: an entry of a quantisation table"):
        decode(bytes(content), "a.jpg")


def zigzag() -> list[int]:
    """Places in a block, by rows, in the order of T.81, figure A.6."""
    places = [(y, x) for y in range(_DCT) for x in range(_DCT)]
    places.sort(key=lambda p: (sum(p), p[0] if sum(p) % 2 else p[1]))
    return [_DCT * y + x for y, x in places]


def test_a_colour_that_steps_at_a_rows_end_is_a_seam() -> None:
    """As where the fault is in the last block of a row: all below it is off, and nothing beside."""
    ycc = np.asarray(Image.fromarray(data.coffee()[:400, :592]).convert("YCbCr")).copy()
    ycc[208:, :, 1] = np.clip(ycc[208:, :, 1].astype(int) + 30, 0, 255)
    rgb = np.asarray(Image.fromarray(ycc, "YCbCr").convert("RGB"))
    with pytest.raises(PhotoError, match=r"a\.jpg: damaged: from one block on"):
        decode(encoded("JPEG", rgb, quality=90), "a.jpg")


@pytest.mark.parametrize("error", [EMFILE, ENFILE, ENOMEM])
def test_a_lack_of_the_machine_is_not_the_photos_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))

    def fail(path: str, flags: int) -> int:
        raise OSError(error, os.strerror(error), path)

    monkeypatch.setattr(files, "regular", fail)
    for read in (read_photo, read_file, file_digest, picture_size, decoded_bytes):
        with pytest.raises(FileError, match=r"a\.png"):
            read(tmp_path / "a.png")


def test_a_lack_of_memory_is_not_the_photos_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(encoded("PNG"))

    def fail(*args: object, **kwargs: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, "convert", fail)
        patched.setattr(Image.Image, "getexif", fail)
        with pytest.raises(FileError, match=r"a\.png: not enough memory"):
            read_photo(tmp_path / "a.png")
    monkeypatch.setattr(photos, "_BLOCK", 1 << 62)
    with pytest.raises(FileError, match=r"a\.png: cannot read: not enough memory"):
        file_digest(tmp_path / "a.png")


LIMITED = """
import os, resource, sys
from degflow_pipe.cli.app import main
free = int(sys.argv.pop(1))
used = max(int(name) for name in os.listdir("/proc/self/fd"))
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (used + free, hard))
main()
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no list of open files here")
@pytest.mark.parametrize("free", [2, 4, 6, 8])
def test_a_command_without_open_files_left_skips_no_photo(
    tiny: str, tmp_path: Path, free: int
) -> None:
    """It ends with that error, or does all of its work."""
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(encoded("PNG", RGB[:128, :128]))
    out = tmp_path / "out"
    asked = ["degrade", str(tmp_path), "--out", str(out), "--t-grid", "x2", "--checkpoint", tiny]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(free), *asked, "--workers", "1", "--json"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    shown = done.stdout + done.stderr
    assert "skipped" not in shown.replace('"skipped": {}', ""), shown
    assert "Traceback" not in shown, shown
    if done.returncode:
        assert done.returncode == 1 and "open files" in done.stderr, shown
    else:
        assert len(list(out.glob("*.png"))) == 3


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("more", [b"\xff", b"\xff\xff\xff", b"\xff\xd0", b"\xff\xd3\xff", b"\0"])
def test_what_may_stand_before_the_end_of_a_jpeg_is_no_damage(
    options: dict[str, Any], more: bytes
) -> None:
    content = encoded("JPEG", **options)
    found = decode(content[:-2] + more + content[-2:], "a.jpg")
    assert np.array_equal(found.pixels, decode(content, "a.jpg").pixels)


@pytest.mark.parametrize("more", [b"\x55", b"\x12\xff", b"\x55\xff\xd0"])
def test_data_left_over_in_a_jpeg_is_refused_with_a_cure(more: bytes) -> None:
    content = encoded("JPEG")
    with pytest.raises(PhotoError, match=r"a\.jpg: damaged: .*save it as PNG"):
        decode(content[:-2] + more + content[-2:], "a.jpg")


def test_a_jpeg_of_very_many_scans_is_refused_before_they_are_decoded() -> None:
    content = encoded("JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    with pytest.raises(PhotoError, match=r"a\.jpg: damaged: 65 scans, more than the limit of 64"):
        decode(content[:-2] + last * 55 + content[-2:], "a.jpg")


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
@pytest.mark.parametrize("ground", [(255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 200, 255)])
@pytest.mark.parametrize("length", [171, 300, 512, 600])
def test_a_line_one_pixel_high_is_no_lost_block(
    kind: str, ground: tuple[int, int, int], length: int
) -> None:
    picture = np.full((60, 701, 3), ground, np.uint8)
    picture[30, 21 : 21 + length] = 0
    assert np.array_equal(decode(encoded(kind, picture), "a").pixels, picture)
    grey = np.full((60, 701), 255, np.uint8)
    grey[30, 21 : 21 + length] = 0
    assert np.array_equal(decode(encoded(kind, grey), "a").pixels[:, :, 0], grey)


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
@pytest.mark.parametrize("length", [512, 1024, 4096])
@pytest.mark.parametrize("at", [150_001, 150_002, 150_003, 153_600])
def test_a_lost_block_of_plain_pixels_is_refused(kind: str, length: int, at: int) -> None:
    content = bytearray(encoded(kind, data.chelsea()))
    content[at : at + length] = bytes(length)
    with pytest.raises(PhotoError, match=r"a: damaged: .* equal bytes in a row"):
        decode(bytes(content), "a")


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_a_lost_block_of_a_disk_is_refused_in_grey_too(kind: str) -> None:
    content = bytearray(encoded(kind, data.chelsea()[:, :, 1]))
    content[51_200:52_224] = bytes(1024)
    with pytest.raises(PhotoError, match=r"a: damaged: .* equal bytes in a row"):
        decode(bytes(content), "a")
