"""Photos in: finding the files, and reading one within limits into RGB pixels."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np

from degflow_pipe import files
from degflow_pipe.decoding.damage import is_lack
from degflow_pipe.decoding.decode import (
    BYTES_A_PIXEL,
    FORMATS,
    HEIF,
    MAX_PIXELS,
    decode,
    header_size,
    picture_size,
)
from degflow_pipe.errors import FileError, PhotoError, UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.places import Remote, place_of

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

EXTENSIONS = frozenset(
    {
        *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".dib"),
        *(".avif", *((".heic", ".heif", ".hif") if HEIF else ())),
    },
)
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


@dataclass(frozen=True)
class PhotoFile:
    """Where a photo is, and the name it has in every output: its path below the folder given.

    The name is valid text: bytes that are no UTF-8 and control characters are escaped.
    """

    path: Path
    name: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", printable(self.name))


def find_photos(
    sources: Iterable[str], left_out: dict[str, int] | None = None
) -> Iterator[PhotoFile]:
    """Files, folders (recursive) and globs to photo files, in the order given, folders sorted; any
    of them may be at a URL.

    A file named outright is always yielded, whatever its ending. left_out: takes the number of
    files that are found and no photos, by ending. What of a glob is there as it is spelled, such as
    a folder `set[1]`, is taken so. Raises UsageError where a source names nothing.
    """
    for source in sources:
        path = place_of(source)
        others: dict[str, int] = {}
        if files.is_folder(path):
            found = _below(path, others)
        elif files.exists(path):
            found = iter([PhotoFile(path, path.name)])
        else:
            found = _matches(source, others)
        first = next(found, None)
        if first is None:
            there = ", ".join(f"{n} of {ending}" for ending, n in sorted(others.items()))
            raise UsageError(
                f"no photo ({', '.join(sorted(EXTENSIONS))}) at {printable(source)}: it must be a "
                f"file, a folder or a glob" + (f"; left out: {there}" if there else "")
            )
        yield first
        yield from found
        if left_out is not None:
            for ending, count in sorted(others.items()):
                left_out[ending] = left_out.get(ending, 0) + count


def _matches(pattern: str, others: dict[str, int]) -> Iterator[PhotoFile]:
    if isinstance(place_of(pattern), Remote):
        found = files.matches(pattern)
    else:
        found = files.matches(_literal(pattern)) or files.matches(pattern.replace("[", "[[]"))
    for path in found:
        if files.is_folder(path):
            yield from _below(path, others)
        elif _is_photo(path, others):
            yield PhotoFile(path, path.name)


def _literal(pattern: str) -> str:
    """The glob with those of its leading folders escaped that are there as they are spelled."""
    done = Path()
    parts = Path(pattern).parts
    for i, part in enumerate(parts):
        if not files.exists(done / part):
            return str(Path(glob.escape(str(done)), *parts[i:]))
        done = done / part
    return glob.escape(pattern)


def _below(folder: Path, others: dict[str, int]) -> Iterator[PhotoFile]:
    for path in files.walk(folder):
        if _is_photo(path, others):
            yield PhotoFile(path, path.relative_to(folder).as_posix())


def _is_photo(path: Path, others: dict[str, int]) -> bool:
    """Whether its ending says so; counted by ending where not."""
    ending = path.suffix.lower()
    if ending in EXTENSIONS:
        return True
    shown = printable(ending) or "(none)"
    others[shown] = others.get(shown, 0) + 1
    return False


def check_max_pixels(pixels: int) -> None:
    """Raises UsageError for a limit below one pixel."""
    if pixels < 1:
        raise UsageError(f"`max_pixels` must be 1 at least, got {pixels}")


def read_photo(path: Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read one photo: see `decoding.decode` for what becomes of it.

    Raises PhotoError naming the file and the reason: missing, no regular file, unreadable, damaged,
    of no known format or layout, or beyond max_pixels or MAX_BYTES; FileError where it is not the
    photo's fault: no memory, too many open files.
    """
    data, sha256 = read_file(path)
    decoded = decode(data, str(path), max_pixels)
    return Photo(decoded.pixels, sha256, decoded.colour, decoded.unchecked)


def decode_photo(data: bytes, name: str) -> np.ndarray:
    """Decode the bytes of a photo to (H, W, 3) uint8 RGB; `name` is for the error message."""
    return decode(data, name).pixels


def read_file(path: Path) -> tuple[bytes, str]:
    """The bytes of a photo's file and their SHA-256 in hex. Raises as `read_photo` does.

    What has no header of a picture is not read on.
    """
    with _opened(path) as file:
        _check_bytes(path, file.seek(0, os.SEEK_END))
        file.seek(0)
        header_size(file, str(path))
        file.seek(0)
        data = file.read(MAX_BYTES + 1)
    _check_bytes(path, len(data))
    return data, hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a photo's file in hex, without holding it. Raises as `read_photo` does."""
    digest, read = hashlib.sha256(), 0
    with _opened(path) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            read += len(block)
            _check_bytes(path, read)
    return digest.hexdigest()


def decoded_bytes(path: Path, max_pixels: int = MAX_PIXELS) -> int:
    """Memory in bytes that reading and decoding a photo takes at most, by its size and header.

    0 for no photo; one beyond max_pixels is read and not decoded.
    """
    try:
        with _opened(path) as file:
            length = file.seek(0, os.SEEK_END)
            file.seek(0)
            _check_bytes(path, length)
            height, width = header_size(file, str(path))
    except PhotoError:
        return 0
    return length + (BYTES_A_PIXEL * height * width if height * width <= max_pixels else 0)


def _check_bytes(path: Path, length: int) -> None:
    if length > MAX_BYTES:
        raise PhotoError(f"{printable(str(path))}: larger than the limit of {MAX_BYTES} bytes")


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """An open regular file; raises PhotoError naming it, FileError for a lack that ends a run."""
    try:
        with files.reading(path) as file:
            yield file
    except MemoryError as error:
        raise FileError(f"{printable(str(path))}: cannot read: not enough memory") from error
    except (FileError, ValueError) as error:  # ValueError: a NUL in the name
        if is_lack(error):
            raise
        raise PhotoError(printable(str(error))) from error
