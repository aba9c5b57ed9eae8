"""Colours become sRGB; what is sRGB keeps its bytes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin
from skimage import data

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.decoding.colour import _ADOBE, _D65, _matrix_profile
from degflow_pipe.decoding.decode import decode
from degflow_pipe.errors import PhotoError
from degflow_pipe.pictures.photos import read_photo
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.verify import info
from degflow_pipe.store import Store

CHART = np.kron(
    np.random.default_rng(0).integers(40, 216, (4, 4, 3), np.uint8), np.ones((16, 16, 1), np.uint8)
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
ADOBE = _matrix_profile(*_ADOBE, *_D65, gamma=563 / 256)
P3 = _matrix_profile(0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65, gamma=-1.0)


def converted(picture: np.ndarray, profile: bytes) -> np.ndarray:
    """sRGB pixels in the colours of another profile, by LittleCMS itself."""
    to = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    made = ImageCms.profileToProfile(
        Image.fromarray(picture), ImageCms.createProfile("sRGB"), to, outputMode="RGB"
    )
    assert made is not None
    return np.asarray(made)


def encoded(picture: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """The PNG with one more chunk behind its header."""
    return png[:33] + chunk(kind, content) + png[33:]


@pytest.mark.parametrize("profile", [ADOBE, P3], ids=["adobe", "p3"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "AVIF", "JPEG"])
def test_wide_colours_become_those_of_srgb(kind: str, profile: bytes) -> None:
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100, "subsampling": 0}}
    options["AVIF"] = {"quality": 100, "subsampling": "4:4:4"}
    content = encoded(converted(CHART, profile), kind, icc_profile=profile, **options.get(kind, {}))
    found = decode(content, "a")
    limit = 3 if kind in ("PNG", "TIFF", "WEBP") else 8
    assert np.abs(found.pixels.astype(int) - CHART).max() <= limit
    assert found.colour.startswith("converted from")


def test_srgb_by_any_name_keeps_its_bytes() -> None:
    ours = _matrix_profile(0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65, gamma=-1.0)
    for profile in (SRGB, ours):
        found = decode(encoded(CHART, icc_profile=profile), "a.png")
        assert np.array_equal(found.pixels, CHART)
        assert found.colour == "sRGB"


def test_what_has_no_profile_is_srgb() -> None:
    found = decode(encoded(CHART), "a.png")
    assert np.array_equal(found.pixels, CHART)
    assert found.colour == "sRGB"


@pytest.mark.parametrize("profile", [b"nonsense", bytes(2_000_000), ADOBE[:200]])
def test_a_broken_profile_is_told_and_srgb_assumed(tmp_path: Path, profile: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(CHART, icc_profile=profile))
    photo = read_photo(path)
    assert np.array_equal(photo.pixels, CHART)
    assert photo.colour == "sRGB assumed: the colour profile is broken"


def test_a_profile_of_another_kind_of_picture_is_told() -> None:
    gray = CHART[:, :, 0]
    found = decode(encoded(gray, icc_profile=ADOBE), "a.png")
    assert np.array_equal(found.pixels, np.repeat(gray[:, :, None], 3, axis=2))
    assert "broken" in found.colour


def test_adobe_rgb_that_only_the_exif_says_is_converted() -> None:
    exif = Image.Exif()
    exif[0x8769] = {0xA001: 65535, 0xA005: {1: "R03"}}
    content = encoded(converted(CHART, ADOBE), "JPEG", exif=exif, quality=100, subsampling=0)
    found = decode(content, "a.jpg")
    assert found.colour == "converted from Adobe RGB (1998)"
    assert np.abs(found.pixels.astype(int) - CHART).max() <= 8


def test_a_gamma_that_the_png_says_is_converted() -> None:
    linear = _matrix_profile(0.64, 0.33, 0.30, 0.60, 0.15, 0.06, *_D65, gamma=1.0)
    content = with_chunk(encoded(converted(CHART, linear)), b"gAMA", struct.pack(">I", 100_000))
    found = decode(content, "a.png")
    assert "gamma" in found.colour
    assert np.abs(found.pixels.astype(int) - CHART).max() <= 8
    usual = decode(with_chunk(encoded(CHART), b"gAMA", struct.pack(">I", 45_455)), "a.png")
    assert np.array_equal(usual.pixels, CHART)


def test_code_points_stand_above_a_profile() -> None:
    p3 = with_chunk(encoded(converted(CHART, P3)), b"cICP", bytes([12, 13, 0, 1]))
    found = decode(p3, "a.png")
    assert found.colour == "converted from Display P3"
    assert np.abs(found.pixels.astype(int) - CHART).max() <= 3
    srgb = with_chunk(encoded(CHART, icc_profile=ADOBE), b"cICP", bytes([1, 13, 0, 1]))
    assert np.array_equal(decode(srgb, "a.png").pixels, CHART)


@pytest.mark.parametrize("transfer, name", [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_by_name(transfer: int, name: str) -> None:
    content = with_chunk(encoded(CHART), b"cICP", bytes([9, transfer, 0, 1]))
    with pytest.raises(PhotoError, match=rf"a\.png: .*HDR \({name}\)"):
        decode(content, "a.png")


def test_hdr_in_an_avif_is_refused_by_name() -> None:
    content = bytearray(encoded(CHART, "AVIF"))
    at = content.index(b"colrnclx") + 8
    content[at : at + 4] = bytes([0, 9, 0, 16])
    with pytest.raises(PhotoError, match=r"a\.avif: .*HDR \(PQ\)"):
        decode(bytes(content), "a.avif")


def metadata(kind: str, length: int) -> dict[str, object]:
    info = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        info.add_itxt("XML:com.adobe.xmp", "x" * length, zip=True)
    else:
        info.add_text("prompt", "x" * length, zip=kind == "zTXt")
    return {"pnginfo": info}


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt"])
@pytest.mark.parametrize("length", [900_000, 3_000_000, 20_000_000])
def test_a_png_with_much_text_is_read(tmp_path: Path, kind: str, length: int) -> None:
    picture = data.astronaut()[:40, :50]
    (tmp_path / "a.png").write_bytes(encoded(picture, **metadata(kind, length)))
    assert np.array_equal(read_photo(tmp_path / "a.png").pixels, picture)


def test_a_profile_in_a_png_with_much_text_is_used() -> None:
    content = encoded(converted(CHART, ADOBE), icc_profile=ADOBE, **metadata("zTXt", 3_000_000))
    found = decode(content, "a.png")
    assert np.abs(found.pixels.astype(int) - CHART).max() <= 3


def test_a_store_records_what_was_done_to_colours(tiny_model: DegFlow, tmp_path: Path) -> None:
    picture = data.astronaut()[:64, :128]
    (tmp_path / "plain.png").write_bytes(encoded(picture))
    (tmp_path / "p3.png").write_bytes(encoded(data.chelsea()[:64, :64], icc_profile=P3))
    (tmp_path / "bad.png").write_bytes(encoded(data.coffee()[:64, :64], icc_profile=b"x" * 200))
    store = tmp_path / "a.zarr"
    found = ingest([str(tmp_path / "plain.png")], store, tiny_model, patch=64)
    assert found.colours == {}
    assert info(store).colours == {"sRGB": 1}
    found = ingest([str(tmp_path)], store, tiny_model, patch=64)
    finished = Store.open(store).photos().values()
    colours = {photo.source: photo.colour for photo in finished}
    assert colours["plain.png"] == "sRGB"
    assert colours["p3.png"].startswith("converted from ")
    assert colours["bad.png"].startswith("sRGB assumed: ")
    assert info(store).colours == {colour: 1 for colour in colours.values()}
    assert found.colours == {c: 1 for c in colours.values() if c != "sRGB"}


def test_the_name_of_a_profile_is_text_of_a_bounded_length() -> None:
    name = ("\x1b[2J" + "x" * 5000).encode("ascii")
    content = bytearray(P3)
    at = content.index(b"desc\0\0\0\0", 128)
    text = b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name + bytes(79)
    entry = content.index(b"desc", 128)
    struct.pack_into(">II", content, entry + 4, len(content), len(text))
    content += text
    struct.pack_into(">I", content, 0, len(content))
    assert at
    found = decode(encoded(converted(CHART, P3), icc_profile=bytes(content)), "a.png")
    assert found.colour.startswith("converted from \\x1b[2Jxxx") and len(found.colour) <= 120


@pytest.mark.parametrize("profile", [ADOBE, P3], ids=["adobe", "p3"])
def test_a_profile_stands_above_the_code_points_of_an_avif(profile: bytes) -> None:
    """Encoders write code points of sRGB beside any profile."""
    picture = converted(CHART, profile)
    content = bytearray(encoded(picture, "AVIF", icc_profile=profile, quality=100))
    at = content.index(b"colrnclx") + 8
    content[at : at + 4] = bytes([0, 1, 0, 13])
    found = decode(bytes(content), "a.avif")
    assert found.colour.startswith("converted from ")
    assert np.abs(found.pixels.astype(int) - CHART).mean() <= 3
