"""Photos in: reading one within limits into RGB pixels, be it a file or in one of many photos."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degflow_pipe import files
from degflow_pipe.decoding.decode import (
    BYTES_A_PIXEL,
    FORMATS,
    MAX_PIXELS,
    decode,
    header_size,
)
from degflow_pipe.errors import FileError, PhotoError, UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.sources.endings import EXTENSIONS
from degflow_pipe.sources.find import find_photos
from degflow_pipe.sources.photo_file import PhotoFile, ends_run

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "Photo",
    "PhotoFile",
    "check_max_pixels",
    "decode",
    "decode_photo",
    "decoded_bytes",
    "file_digest",
    "find_photos",
    "picture_size",
    "read_file",
    "read_photo",
]

MAX_BYTES = 2 * 1024**3
_BLOCK = 1024**2


@dataclass(frozen=True)
class Photo:
    """A decoded photo.

    pixels: (H, W, 3) uint8 RGB in sRGB. sha256: of the file, in hex. colour: `sRGB`, or what its
    colours were converted from, or why they were taken for sRGB. unchecked: empty, or the kind of
    photo in which damage may go unseen.
    """

    pixels: np.ndarray
    sha256: str
    colour: str = "sRGB"
    unchecked: str = ""

    def count(self, colours: dict[str, int], unchecked: dict[str, int]) -> None:
        """Count it among those whose colours are not plain sRGB, and those not wholly checked."""
        if self.colour != "sRGB":
            colours[self.colour] = colours.get(self.colour, 0) + 1
        if self.unchecked:
            unchecked[self.unchecked] = unchecked.get(self.unchecked, 0) + 1


def check_max_pixels(pixels: int) -> None:
    """Raises UsageError for a limit below one pixel."""
    if pixels < 1:
        raise UsageError(f"`max_pixels` must be 1 at least, got {pixels}")


def read_photo(photo: Path | PhotoFile, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read one photo: see `decoding.decode` for what becomes of it.

    Raises PhotoError naming the file and the reason: missing, no regular file, unreadable, damaged,
    of no known format or layout, or beyond max_pixels or MAX_BYTES; FileError where it is not the
    photo's fault: no memory, too many open files, a server that is down.
    """
    data, sha256 = read_file(photo)
    decoded = decode(data, str(photo), max_pixels)
    return Photo(decoded.pixels, sha256, decoded.colour, decoded.unchecked)


def decode_photo(data: bytes, name: str) -> np.ndarray:
    """Decode the bytes of a photo to (H, W, 3) uint8 RGB; `name` is for the error message."""
    return decode(data, name).pixels


def picture_size(photo: Path | PhotoFile) -> tuple[int, int]:
    """Height and width in pixels, as stored, by the photo's header alone.

    Raises PhotoError, and FileError where memory or open files do not do.
    """
    with _opened(photo) as file:
        return header_size(file, str(photo))


def read_file(photo: Path | PhotoFile) -> tuple[bytes, str]:
    """The bytes of a photo's file and their SHA-256 in hex. Raises as `read_photo` does.

    What has no header of a picture is not read on.
    """
    with _opened(photo) as file:
        _check_bytes(photo, file.seek(0, os.SEEK_END))
        file.seek(0)
        header_size(file, str(photo))
        file.seek(0)
        data = file.read(MAX_BYTES + 1)
    _check_bytes(photo, len(data))
    return data, hashlib.sha256(data).hexdigest()


def file_digest(photo: Path | PhotoFile) -> str:
    """SHA-256 of a photo's file in hex, without holding it. Raises as `read_photo` does."""
    digest, read = hashlib.sha256(), 0
    with _opened(photo) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            read += len(block)
            _check_bytes(photo, read)
    return digest.hexdigest()


def decoded_bytes(photo: Path | PhotoFile, max_pixels: int = MAX_PIXELS) -> int:
    """Memory in bytes that reading and decoding a photo takes at most, by its size and header.

    0 for no photo; one beyond max_pixels is read and not decoded.
    """
    try:
        with _opened(photo) as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(0)
            _check_bytes(photo, length)
            height, width = header_size(file, str(photo))
    except PhotoError:
        return 0
    return length + (BYTES_A_PIXEL * height * width if height * width <= max_pixels else 0)


def _check_bytes(photo: Path | PhotoFile, length: int) -> None:
    if length > MAX_BYTES:
        raise PhotoError(f"{printable(str(photo))}: larger than the limit of {MAX_BYTES} bytes")


@contextmanager
def _opened(photo: Path | PhotoFile) -> Iterator[io.BufferedIOBase]:
    """A photo's bytes; raises PhotoError naming it, FileError for what ends a run: a lack of the
    machine, or a place that cannot be reached.
    """
    try:
        opening = photo.opened() if isinstance(photo, PhotoFile) else files.reading(photo)
        with opening as opened:
            yield opened
    except MemoryError as error:
        raise FileError(f"{printable(str(photo))}: cannot read: not enough memory") from error
    except UsageError:  # a package that this machine lacks
        raise
    except (FileError, ValueError) as error:  # ValueError: a NUL in the name
        if ends_run(error):
            raise
        raise PhotoError(printable(str(error))) from error
