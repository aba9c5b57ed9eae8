"""Shots of a camera: photos and camera raw, with what the camera noted of each."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags

from degflow_pipe import files
from degflow_pipe.decoding.decode import opened
from degflow_pipe.errors import FileError, PhotoError
from degflow_pipe.formats.text import printable
from degflow_pipe.pictures.photos import (
    EXTENSIONS,
    MAX_BYTES,
    MAX_PIXELS,
    Photo,
    decoded_bytes,
    file_digest,
    read_photo,
)

RAW = frozenset(
    {
        *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".iiq", ".mef", ".mos", ".mrw", ".nef"),
        *(".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"),
    }
)
SHOTS = EXTENSIONS | RAW
EXIF_IFD = 0x8769
EPOCH = datetime(1970, 1, 1)
RAW_BYTES = 20
"""Memory that a byte of camera raw takes, at most: a byte or two a pixel, 16 while developed."""
SRGB = (2.4, 12.92)
"""Power of its curve and slope of its beginning, as LibRaw takes them; IEC 61966-2-1."""


@dataclass(frozen=True)
class Noted:
    """What the camera noted of a shot, where it did. focal35: focal length in mm, as of a camera of
    35 mm film; focal: in mm; zoom: digital zoom; model: maker and model; time: seconds, of no
    certain clock.
    """

    focal35: float | None = None
    focal: float | None = None
    zoom: float = 1.0
    model: str = ""
    time: float | None = None


def noted(path: Path) -> Noted:
    """From the EXIF of a file; nothing of what is not there or makes no sense. Of camera raw, focal
    length and time are known.
    """
    if path.suffix.lower() in RAW:
        return _noted_in_raw(path)
    try:
        with files.reading(path, MAX_BYTES) as file, opened(file) as image:
            base = dict(image.getexif())
            inner = dict(image.getexif().get_ifd(EXIF_IFD))
    except Exception:  # odd metadata makes Pillow raise nearly anything; reading it is no need
        return Noted()
    both = {**base, **inner}
    maker, model = (_text(both.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    if maker and not model.lower().startswith(maker.lower()):
        model = f"{maker} {model}".strip()
    return Noted(
        _number(both.get(ExifTags.Base.FocalLengthIn35mmFilm), 2000),
        _number(both.get(ExifTags.Base.FocalLength), 5000),
        _number(both.get(ExifTags.Base.DigitalZoomRatio), 100) or 1.0,
        model,
        _time(both),
    )


def _noted_in_raw(path: Path) -> Noted:
    try:
        with _raw(path) as raw:
            said = raw.other
    except PhotoError:
        return Noted()
    seconds = (said.timestamp.replace(tzinfo=None) - EPOCH).total_seconds()
    focal = _number(said.focal_length, 5000)
    return Noted(focal=focal, time=seconds if seconds > 0 else None)


def _number(value: Any, most: float) -> float | None:
    try:
        found = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return found if math.isfinite(found) and 0 < found <= most else None


def _text(value: Any) -> str:
    return printable(value.strip("\0 ")[:80]) if isinstance(value, str) else ""


def _time(values: dict[Any, Any]) -> float | None:
    said = values.get(ExifTags.Base.DateTimeOriginal) or values.get(ExifTags.Base.DateTime)
    part = values.get(ExifTags.Base.SubsecTimeOriginal)
    try:
        seconds = (datetime.strptime(_text(said), "%Y:%m:%d %H:%M:%S") - EPOCH).total_seconds()
    except ValueError:
        return None
    digits = _text(part)
    return seconds + (float(f"0.{digits}") if digits.isdecimal() and digits.isascii() else 0.0)


def shot_bytes(path: Path, max_pixels: int = MAX_PIXELS) -> int:
    """Memory in bytes that reading one shot takes at most: see `decoded_bytes`; of camera raw by
    the size of its file.
    """
    if path.suffix.lower() not in RAW:
        return decoded_bytes(path, max_pixels)
    return RAW_BYTES * files.size(path)


def read_shot(path: Path, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read one shot: see `read_photo`; camera raw is developed in sRGB with the camera's white
    balance, by LibRaw, without its own brightening. Raises PhotoError as `read_photo`, and where
    rawpy is needed and not installed.
    """
    if path.suffix.lower() not in RAW:
        return read_photo(path, max_pixels)
    sha256 = file_digest(path)
    name = printable(str(path))
    with _raw(path) as raw:
        width, height = raw.sizes.width, raw.sizes.height
        if width * height > max_pixels:
            raise PhotoError(
                f"{name}: {width} x {height} pixels, more than the limit of {max_pixels}: raise "
                f"`max_pixels` if it is a photo"
            )
        pixels = raw.postprocess(use_camera_wb=True, no_auto_bright=True, output_bps=8, gamma=SRGB)
    return Photo(np.ascontiguousarray(pixels), sha256, "developed from raw")


@contextmanager
def _raw(path: Path) -> Iterator[Any]:
    """Camera raw opened by LibRaw. Raises PhotoError, FileError where memory does not do."""
    name = printable(str(path))
    try:
        import rawpy
    except ImportError as error:
        raise PhotoError(
            f"{name}: camera raw is read by rawpy: pip install 'degflow-pipe[raw]'"
        ) from error
    try:
        with rawpy.imread(str(path)) as raw:
            yield raw
    except (MemoryError, rawpy.LibRawUnsufficientMemoryError) as error:
        raise FileError(f"{name}: not enough memory to develop it: give fewer `workers`") from error
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        said = error.args[0] if error.args else ""
        text = said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)
        raise PhotoError(f"{name}: damaged, or no camera raw: {printable(text)}") from error
