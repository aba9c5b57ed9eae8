"""Decode one photo's bytes within limits: checked for damage, turned upright, in sRGB."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from degflow_pipe import defaults
from degflow_pipe.decoding import avif, colour, jpeg, png, raw, seams, tiff, webp
from degflow_pipe.decoding.damage import Damage, is_lack
from degflow_pipe.errors import DegflowError, FileError, PhotoError
from degflow_pipe.formats.text import printable

HEIF = find_spec("pillow_heif") is not None
"""Whether HEIC is read: the extra `heif` brings its decoder."""
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF", *(("HEIF",) if HEIF else ()))
MAX_PIXELS = defaults.MAX_PIXELS
STRIP = 256
"""Rows of a picture that are taken out of Pillow at once."""
BYTES_A_PIXEL = 26
"""Memory that decoding and the checks take: 26 were measured with an AVIF of 12 megapixels, 24 with
a WebP, 19 with a JPEG."""

_LESS = "give fewer `workers`, or leave it out"
# Of odd metadata. Filters are of the whole process: threads that set and restore them mix them up.
warnings.filterwarnings("ignore", category=UserWarning, module=r"(PIL|pillow_heif)\.")

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to what puts the picture upright; read here because a re-encoding of the EXIF,
as ImageOps.exif_transpose does it, fails on odd metadata."""
_BACK = {6: 8, 8: 6}
"""The orientation that undoes one; the others undo themselves."""


@dataclass(frozen=True)
class Decoded:
    """pixels: (H, W, 3) uint8 RGB in sRGB, upright. colour: what was done for that.

    unchecked: empty, or the kind of photo in which damage may go unseen.
    """

    pixels: np.ndarray
    colour: str
    unchecked: str = ""


def decode(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode the bytes of a photo; `name` is for the error message.

    8 or 16 bit, gray or colour; alpha is dropped, 16-bit values are brought to 8 bits by their high
    byte, of several frames the first is taken. Raises PhotoError for a photo that is damaged, of no
    known format or layout, or beyond max_pixels, FileError where memory does not do.
    """
    name = printable(name)
    try:
        slim = png.slim(data) if data.startswith(png.MARK) else png.Png(data)
        with opened(io.BytesIO(slim.data)) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise PhotoError(
                    f"{name}: {width} x {height} pixels, more than the limit of {max_pixels}: "
                    f"raise `max_pixels` if it is a photo"
                )
            return _decoded(image, slim)
    except PhotoError:
        raise
    except UnidentifiedImageError as error:
        raise PhotoError(no_picture(name, io.BytesIO(data))) from error
    except Damage as error:
        cure = "copy it anew; where the picture is whole, save it as PNG"
        raise PhotoError(f"{name}: damaged: {error}: {cure}") from error
    except Exception as error:  # damaged files make Pillow raise nearly anything
        if is_lack(error):
            raise FileError(f"{name}: not enough memory to read it: {_LESS}") from error
        raise PhotoError(
            f"{name}: damaged or truncated: {printable(str(error))}: copy it anew"
        ) from error


def header_size(file: io.BufferedIOBase, name: str) -> tuple[int, int]:
    """Height and width in pixels, as stored, by the header of an open file, from its start on;
    `name` is for the error message. Raises PhotoError, and FileError where memory does not do.
    """
    name = printable(name)
    try:
        head = file.read(30)
        found = png.size(head[:24]) or webp.size(head)
        if found is not None:
            return found
        file.seek(0)
        with opened(file) as image:
            return image.height, image.width
    except DegflowError:  # of what reads the file, which tells for itself
        raise
    except UnidentifiedImageError as error:
        raise PhotoError(no_picture(name, file)) from error
    except Exception as error:  # damaged files make Pillow raise nearly anything
        if is_lack(error):
            raise FileError(
                f"{name}: no room to read its header: {printable(str(error))}"
            ) from error
        raise PhotoError(f"{name}: no readable header: {printable(str(error))}") from error


def no_picture(name: str, file: io.BufferedIOBase) -> str:
    """What to say of an open file that is none of FORMATS."""
    if not file.seek(0, io.SEEK_END):
        return f"{name}: empty, 0 bytes: copy it anew"
    return f"{name}: not a {', '.join(FORMATS)} picture"


def _decoded(image: Image.Image, slim: png.Png) -> Decoded:
    kind, data = image.format, slim.data
    layout = tiff.check_layout(image) if kind == "TIFF" else None
    if layout is not None:
        tiff.check_segments(data, layout)
    found = None
    if kind in ("JPEG", "MPO"):
        found = jpeg.parse(data)
        jpeg.check(data, found)
    elif kind == "WEBP":
        webp.check(data)
    rows = raw.bmp_rows(image) if kind == "BMP" else None
    said = _orientation(image) if kind == "TIFF" else 1
    image.load()
    orientation = _orientation(image)
    points = slim.cicp
    if kind in ("AVIF", "HEIF") and "icc_profile" not in image.info:
        points = avif.points(data)  # below a profile, unlike those of a PNG
    plain = _plain(image)
    checked = plain if plain.mode in ("RGB", "L") else plain.convert("RGB")
    if said in _TURNS and orientation != said:  # of a TIFF Pillow turns it, and takes the tag away
        checked = checked.transpose(_TURNS[_BACK.get(said, said)])
    stored = _array(checked)
    unchecked = _check_pixels(kind, data, stored, found, layout, rows)
    del stored, checked
    turn = _TURNS.get(orientation)
    converted, told = colour.to_srgb(plain, slim.profile, points)
    return Decoded(
        _array(converted if turn is None else converted.transpose(turn)), told, unchecked
    )


def _array(image: Image.Image) -> np.ndarray:
    """The pixels of a picture of mode L, (H, W), or RGB, (H, W, 3), uint8.

    In strips: to hand out all of them at once, Pillow holds them twice beside the picture.
    """
    width, height = image.size
    made = np.empty((height, width, *([3] if image.mode == "RGB" else [])), np.uint8)
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        made[top:bottom] = np.asarray(image.crop((0, top, width, bottom)))
    return made


def _check_pixels(
    kind: str | None,
    data: bytes,
    stored: np.ndarray,
    found: jpeg.Jpeg | None,
    layout: tiff.Layout | None,
    rows: raw.Rows | None,
) -> str:
    """What only the pixels tell: (H, W) or (H, W, 3) uint8 as decoded, not turned.

    The kind of photo where that is not all that damage may do, else nothing.
    """

    def in_colour() -> np.ndarray:
        return stored if stored.ndim == 3 else np.repeat(stored[:, :, None], 3, axis=2)

    if found is not None:
        pixels = in_colour()
        jpeg.check_zeros(data, found, pixels)
        seams.check(pixels, found.unit, jpeg.halved(found), found.tables(), found.restarts)
    elif layout is not None and layout.compression == 7:
        tiff.check_seams(data, layout, in_colour())
    elif kind == "BMP" or (layout is not None and layout.compression == 1):
        rows = rows if layout is None else tiff.rows(layout)
        raw.check(stored if stored.ndim == 3 else stored[:, :, None], rows)
    elif layout is not None and layout.compression == 5 and layout.predictor == 2:
        return "TIFF in LZW with a predictor"
    elif kind == "WEBP":
        if webp.is_lossless(data):
            webp.check_pixels(in_colour())
            return "lossless WebP"
    elif kind == "AVIF":
        if not avif.check(data, in_colour()):
            return "AVIF of several pictures or frames"
    elif kind == "HEIF":
        return "HEIC"
    return ""


def _orientation(image: Image.Image) -> int:
    return image.getexif().get(ExifTags.Base.Orientation, 1)


def _plain(image: Image.Image) -> Image.Image:
    """A picture of mode RGB, L or CMYK: alpha and palettes are gone, 16-bit values are 8-bit.

    What tells of colours stays with it.
    """
    if image.mode in ("RGB", "L", "CMYK"):
        return image
    if image.mode.startswith("I") or image.mode == "F":
        gray = np.asarray(image)
        if gray.dtype.kind != "u" or gray.dtype.itemsize != 2:
            raise ValueError(f"pixels of {gray.dtype} are not 8 or 16 bit")
        made = Image.fromarray((gray >> 8).astype(np.uint8))
    elif image.mode in ("1", "LA", "La"):
        made = image.convert("L")
    elif image.mode in ("P", "PA", "RGBA", "RGBX", "RGBa", "YCbCr"):
        made = image.convert("RGB")
    else:
        raise ValueError(f"colours of the kind {image.mode} are not read")
    made.info = image.info
    made.format = image.format
    return made


@contextmanager
def opened(file: io.BufferedIOBase) -> Iterator[Image.Image]:
    """A picture of FORMATS in an open file, by its header. Raises what Pillow does."""
    if HEIF:
        import pillow_heif

        pillow_heif.register_heif_opener()
    with _unlimited(), Image.open(file, formats=FORMATS) as image:  # type: ignore[arg-type]
        yield image


@contextmanager
def _unlimited() -> Iterator[None]:
    """Pillow without its own limit of pixels, for ours.

    The limit is of the whole process, so the last one out puts it back.
    """
    global _inside, _limit
    with _lock:
        if not _inside:
            _limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                Image.MAX_IMAGE_PIXELS = _limit


_lock, _inside = threading.Lock(), 0
_limit: int | None = None
