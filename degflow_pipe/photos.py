"""Photos in: finding the files, and decoding one within limits into RGB pixels."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from degflow_pipe import files
from degflow_pipe.errors import FileError, PhotoError, UsageError

EXTENSIONS = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"},
)
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP")
MAX_PIXELS = 150_000_000
"""More pixels than nearly any camera's photo: beyond it a file is taken for a bomb."""
MAX_BYTES = 2 * 1024**3

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


@dataclass(frozen=True)
class Photo:
    """A decoded photo: pixels (H, W, 3) uint8 RGB, and the SHA-256 of the file in hex."""

    pixels: np.ndarray
    sha256: str


@dataclass(frozen=True)
class PhotoFile:
    """Where a photo is, and the name it has in every output: its path below the folder given."""

    path: Path
    name: str


def find_photos(sources: Iterable[str]) -> Iterator[PhotoFile]:
    """Files, folders (recursive) and globs to photo files, in the order given, folders sorted.

    A file named outright is always yielded, whatever its ending. Raises UsageError where a source
    names nothing.
    """
    for source in sources:
        path = Path(source)
        if files.is_folder(path):
            found = _below(path)
        elif files.exists(path):
            found = iter([PhotoFile(path, path.name)])
        else:
            found = _matches(source)
        first = next(found, None)
        if first is None:
            raise UsageError(
                f"no photo ({', '.join(sorted(EXTENSIONS))}) at {source}: it must be a file, a "
                f"folder or a glob"
            )
        yield first
        yield from found


def _matches(pattern: str) -> Iterator[PhotoFile]:
    for path in files.matches(pattern):
        if files.is_folder(path):
            yield from _below(path)
        elif path.suffix.lower() in EXTENSIONS:
            yield PhotoFile(path, path.name)


def _below(folder: Path) -> Iterator[PhotoFile]:
    for path in files.walk(folder):
        if path.suffix.lower() in EXTENSIONS:
            yield PhotoFile(path, path.relative_to(folder).as_posix())


def read_photo(path: Path) -> Photo:
    """Decode one photo: 8 or 16 bit, gray or colour, alpha dropped, turned as its EXIF says.

    16-bit values are brought to 8 bits by their high byte; of several frames the first is taken.
    Raises PhotoError naming the file and the reason: missing, unreadable, truncated, not of a known
    format, or beyond MAX_PIXELS or MAX_BYTES.
    """
    data, sha256 = read_file(path)
    return Photo(decode_photo(data, str(path)), sha256)


def read_file(path: Path) -> tuple[bytes, str]:
    """The bytes of a photo's file and their SHA-256 in hex. Raises PhotoError naming the file."""
    try:
        with files.reading(path) as file:
            data = file.read(MAX_BYTES + 1)
    except FileError as error:
        raise PhotoError(str(error)) from error
    if len(data) > MAX_BYTES:
        raise PhotoError(f"{path}: larger than the limit of {MAX_BYTES} bytes")
    return data, hashlib.sha256(data).hexdigest()


def decode_photo(data: bytes, name: str) -> np.ndarray:
    """Decode the bytes of a photo to (H, W, 3) uint8 RGB; `name` is for the error message."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; pixels decide here
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise PhotoError(
                        f"{name}: {width} x {height} pixels, more than the limit of {MAX_PIXELS}"
                    )
                image.load()
                turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
                return _to_rgb(image if turn is None else image.transpose(turn))
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoError(f"{name}: more than the limit of {MAX_PIXELS} pixels") from error
    except UnidentifiedImageError as error:
        raise PhotoError(f"{name}: not a {', '.join(FORMATS)} picture") from error
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise PhotoError(f"{name}: damaged or truncated: {error}") from error


def picture_size(path: Path) -> tuple[int, int]:
    """Height and width in pixels, as stored, by the file's header alone. Raises PhotoError."""
    try:
        with warnings.catch_warnings(), files.reading(path) as file:
            warnings.simplefilter("ignore")
            with Image.open(file, formats=FORMATS) as image:
                return image.height, image.width
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise PhotoError(f"{path}: no readable header: {error}") from error


def _to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I") or image.mode == "F":
        gray = np.asarray(image)
        if gray.dtype.kind != "u" or gray.dtype.itemsize != 2:
            raise ValueError(f"pixels of {gray.dtype} are not 8 or 16 bit")
        return np.repeat((gray >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    return np.array(image.convert("RGB"))
