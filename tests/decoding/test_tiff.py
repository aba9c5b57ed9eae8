"""TIFF in every layout that a second reader writes: read right, or refused by name."""

from __future__ import annotations

import io
from itertools import product

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from skimage import data

from degflow_pipe.decoding.decode import decode
from degflow_pipe.errors import PhotoError

RGB = np.ascontiguousarray(data.astronaut()[:80, 100:212])
GRAY = RGB[:, :, 1]
READ_RIGHT = 1
"""Grey levels that reading may be off: of 16 bits the high byte is taken."""


def layouts() -> list[tuple]:
    found = []
    for bits, colours, planes, order, predictor, compression, tile, alpha in product(
        (8, 16, 32, "float"),
        ("minisblack", "miniswhite", "rgb", "separated"),
        ("contig", "separate"),
        "<>",
        (1, 2, 3),
        (None, "lzw", "zlib", "packbits", "zstd", "jpeg"),
        (None, (32, 32)),
        (False, True),
    ):
        fits = predictor == 1 or (
            compression in ("lzw", "zlib", "zstd") and (predictor == 3) == (bits == "float")
        )
        gray = colours.startswith("minis")
        if not fits or (compression == "jpeg" and bits != 8) or (gray and planes == "separate"):
            continue
        found.append((bits, colours, planes, order, predictor, compression, tile, alpha))
    return found


def written(layout: tuple) -> bytes | None:
    """A TIFF by tifffile; None for what it cannot write."""
    bits, colours, planes, order, predictor, compression, tile, alpha = layout
    picture = GRAY[:, :, None] if colours.startswith("minis") else RGB
    if colours == "separated":
        picture = np.dstack([255 - RGB, np.zeros_like(GRAY)])
    if alpha:
        picture = np.dstack([picture, np.full_like(GRAY, 200)])
    values = {
        8: lambda: picture,
        16: lambda: picture.astype(np.uint16) * 257,
        32: lambda: picture.astype(np.uint32) * 16843009,
        "float": lambda: (picture / 255).astype(np.float32),
    }[bits]()
    values = values[:, :, 0] if values.shape[2] == 1 else values
    if planes == "separate":
        values = np.moveaxis(values, 2, 0)
    file = io.BytesIO()
    try:
        tifffile.imwrite(
            file,
            values,
            photometric=colours,
            planarconfig=planes if values.ndim == 3 else None,
            byteorder=order,
            predictor=None if predictor == 1 else predictor,
            compression=compression,
            tile=tile,
            extrasamples=["unassalpha"] if alpha else None,
        )
    except (ValueError, RuntimeError, NotImplementedError, KeyError):
        return None
    return file.getvalue()


def test_every_layout_is_read_right_or_refused_by_name() -> None:
    read, refused, wrong = 0, 0, []
    for layout in layouts():
        content = written(layout)
        if content is None:
            continue
        colours = layout[1]
        wanted = np.repeat(GRAY[:, :, None], 3, axis=2) if colours.startswith("minis") else RGB
        wanted = 255 - wanted if colours == "miniswhite" else wanted
        try:
            pixels = decode(content, "a.tif").pixels
        except PhotoError:
            refused += 1
            continue
        off = np.abs(pixels.astype(int) - wanted)
        read += 1
        if (off.mean() > 5) if layout[5] == "jpeg" else (off.max() > READ_RIGHT):
            wrong.append(layout)
    assert not wrong
    assert read > 100 and refused > 100


@pytest.mark.parametrize("compression", [None, "lzw", "zlib", "packbits", "jpeg"])
@pytest.mark.parametrize("colours", ["minisblack", "rgb"])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_layouts_of_cameras_and_editors_are_read(
    compression: str | None, colours: str, bits: int, order: str
) -> None:
    if compression == "jpeg" and bits == 16:
        return
    picture = GRAY if colours == "minisblack" else RGB
    values = picture if bits == 8 else picture.astype(np.uint16) * 257
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric=colours, compression=compression, byteorder=order)
    pixels = decode(file.getvalue(), "a.tif").pixels
    wanted = picture if colours == "rgb" else np.repeat(picture[:, :, None], 3, axis=2)
    assert np.abs(pixels.astype(int) - wanted).mean() < (5 if compression == "jpeg" else 0.01)


@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_negatives_of_16_bits_and_planes_of_16_bits_are_not_guessed(
    compression: str | None,
) -> None:
    for values, options in (
        (GRAY.astype(np.uint16) * 257, {"photometric": "miniswhite"}),
        (
            np.moveaxis(RGB.astype(np.uint16) * 257, 2, 0),
            {"photometric": "rgb", "planarconfig": "separate"},
        ),
    ):
        file = io.BytesIO()
        tifffile.imwrite(file, values, compression=compression, **options)
        with pytest.raises(PhotoError, match=r"a\.tif: .*16"):
            decode(file.getvalue(), "a.tif")


@pytest.mark.parametrize("mode", ["1", "P", "CMYK", "LAB", "YCbCr"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_other_colours_of_pillow_are_read_right_or_refused(mode: str, compression: str) -> None:
    picture = Image.fromarray(RGB)
    made = picture.quantize(200) if mode == "P" else picture.convert("1") if mode == "1" else None
    if mode == "LAB":
        made = Image.fromarray(RGB, "RGB").convert("RGB")
        made = Image.merge("LAB", made.split())
    made = made or picture.convert(mode)
    file = io.BytesIO()
    made.save(file, "TIFF", compression=compression)
    if mode in ("LAB", "YCbCr"):
        with pytest.raises(PhotoError, match=r"a\.tif: .*(CIELab|YCbCr)"):
            decode(file.getvalue(), "a.tif")
        return
    pixels = decode(file.getvalue(), "a.tif").pixels
    assert np.array_equal(pixels, np.asarray(made.convert("RGB")))


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
def test_fax_is_refused_by_name(compression: str) -> None:
    file = io.BytesIO()
    Image.fromarray(RGB).convert("1").save(file, "TIFF", compression=compression)
    with pytest.raises(PhotoError, match=r"a\.tif: .*compression of number [234]"):
        decode(file.getvalue(), "a.tif")


@pytest.mark.parametrize("compression", ["lzw", "zlib", "packbits"])
def test_a_strip_that_decodes_to_another_size_is_refused(compression: str) -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, RGB, photometric="rgb", compression=compression, rowsperstrip=16)
    with tifffile.TiffFile(io.BytesIO(file.getvalue())) as opened:
        start = opened.pages[0].dataoffsets[2]
        length = opened.pages[0].databytecounts[2]
    content = bytearray(file.getvalue())
    content[start + length // 2] ^= 0x10
    try:
        pixels = decode(bytes(content), "a.tif").pixels
    except PhotoError as error:
        assert "strip" in str(error) or "damaged" in str(error)
    else:
        assert (np.abs(pixels.astype(int) - RGB).max(axis=2) > 16).mean() < 0.005


def test_whole_lzw_is_taken_whatever_its_codes() -> None:
    """Flat, noisy and real pictures: tables that hardly grow and such as are full."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8)
    for picture in (RGB, np.zeros((200, 300, 3), np.uint8), noise):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "TIFF", compression="tiff_lzw")
        assert np.array_equal(decode(file.getvalue(), "a.tif").pixels, picture)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "jpeg"])
def test_a_turned_tiff_is_turned_once(orientation: int, compression: str | None) -> None:
    content = turned(orientation, compression)
    with Image.open(io.BytesIO(content)) as opened:
        wanted = np.asarray(ImageOps.exif_transpose(opened))
    pixels = decode(content, "a.tif").pixels
    assert pixels.shape == (RGB.shape if orientation < 5 else RGB.transpose(1, 0, 2).shape)
    assert np.array_equal(pixels, wanted)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_lost_block_is_found_however_a_tiff_is_turned(orientation: int) -> None:
    content = bytearray(turned(orientation, None))
    content[12_001 : 12_001 + 1024] = bytes(1024)
    with pytest.raises(PhotoError, match=r"a\.tif: damaged: .* equal bytes"):
        decode(bytes(content), "a.tif")


def turned(orientation: int, compression: str | None) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(RGB).save(file, "TIFF", exif=exif, compression=compression)
    return file.getvalue()


@pytest.mark.parametrize("height, width", [(32_768, 32_768), (128, 112), (80, 144)])
def test_a_strip_that_claims_more_than_its_size_is_refused(height: int, width: int) -> None:
    """Before a decoder makes room for what it claims."""
    content = bytearray(turned(1, "jpeg"))
    at = content.index(b"\xff\xc0") + 5
    content[at : at + 4] = height.to_bytes(2) + width.to_bytes(2)
    with pytest.raises(PhotoError, match=rf"strip or tile says that it is {width} x {height} pix"):
        decode(bytes(content), "a.tif")
