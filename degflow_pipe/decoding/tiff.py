"""TIFF: which of its many layouts are read, and whether every strip or tile decodes to its size.

A layout that is not known to be read right is refused by name. Strips have no sums of their own but
those of deflate; what they decode to must have the length that the layout says, to the byte.
Tags: TIFF revision 6.0 (Adobe, 1992), and Technical Notes 1 and 2.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from degflow_pipe.decoding import jpeg, raw, seams
from degflow_pipe.decoding.damage import Damage, refuse_zeros

_COMPRESSIONS = {1: "none", 5: "LZW", 7: "JPEG", 8: "deflate", 32946: "deflate", 32773: "PackBits"}
_PHOTOMETRICS = {
    0: "white is zero", 1: "black is zero", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr",
    8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "colour filter array", 34892: "linear raw",
}  # fmt: skip
_BITS = {0: (1, 2, 4, 8), 1: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 5: (8,), 6: (8,)}
"""Bits of a sample that are read, by photometric interpretation."""
_NAMES = {
    "width": 256, "height": 257, "bits": 258, "compression": 259, "photometric": 262,
    "samples": 277, "rows": 278, "planes": 284, "predictor": 317, "extra": 338, "format": 339,
    "fill_order": 266, "subsampling": 530,
}  # fmt: skip


@dataclass(frozen=True)
class Layout:
    """What the tags of the first frame say."""

    width: int
    height: int
    bits: int
    compression: int
    photometric: int
    samples: int
    separate: bool
    segment: tuple[int, int]
    tiled: bool
    predictor: int
    segments: list[tuple[int, int]]
    tables: bytes
    subsampling: tuple[int, int]

    @property
    def planes(self) -> int:
        return self.samples if self.separate else 1

    def sizes(self) -> Iterator[int]:
        """Bytes of each strip or tile, decoded, plane by plane."""
        height, width = self.segment
        for _ in range(self.planes):
            if self.tiled:
                across = -(-self.width // width)
                yield from [self._bytes(height, width)] * (across * -(-self.height // height))
            else:
                for y in range(0, self.height, height):
                    yield self._bytes(min(height, self.height - y), width)

    def _bytes(self, height: int, width: int) -> int:
        samples = 1 if self.separate else self.samples
        if self.photometric == 6 and self.compression != 7:
            h, v = self.subsampling
            return -(-height // v) * -(-width // h) * (h * v + 2)
        return height * -(-width * samples * self.bits // 8)


def check_layout(image: Image.Image) -> Layout:
    """The layout. Raises ValueError, naming it, for one that is not read."""
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    layout = _layout(tags)
    bits = tags.get(_NAMES["bits"], (1,))
    if len(set(bits if isinstance(bits, tuple) else (bits,))) > 1:
        raise ValueError(f"samples of different bits, {bits}, are not read")
    kinds = tags.get(_NAMES["format"], (1,))
    if set(kinds if isinstance(kinds, tuple) else (kinds,)) != {1}:
        raise ValueError("its pixels are signed or floating, not 8 or 16 bit")
    if layout.compression not in _COMPRESSIONS:
        raise ValueError(f"the compression of number {layout.compression} is not read in a TIFF")
    if layout.bits not in _BITS.get(layout.photometric, ()):
        name = _PHOTOMETRICS.get(layout.photometric, f"of number {layout.photometric}")
        what = "is not read" if layout.photometric not in _BITS else "are not 8 or 16 bit"
        if layout.photometric in _BITS and layout.bits == 16:
            what = "of 16 bits is not read"
        raise ValueError(f"pixels of {layout.bits} bits, colours {name}: {what}")
    if layout.photometric == 6 and layout.compression != 7:
        raise ValueError("YCbCr that is not compressed as JPEG is not read")
    if layout.separate and layout.bits == 16:
        raise ValueError("16-bit values in planes of their own are not read")
    if layout.bits < 8 and (layout.samples > 1 or layout.tiled):
        raise ValueError(f"samples of {layout.bits} bits in this layout are not read")
    if tags.get(_NAMES["fill_order"], 1) != 1:
        raise ValueError("bits in reversed order are not read")
    return layout


def _layout(tags: Any) -> Layout:
    def one(name: str, default: int) -> int:
        value = tags.get(_NAMES[name], default)
        return int(value[0] if isinstance(value, tuple) else value)

    width, height = one("width", 0), one("height", 0)
    tiled = 324 in tags
    starts, lengths = (tags.get(n, ()) for n in ((324, 325) if tiled else (273, 279)))
    segment = (int(tags.get(323, 0)), int(tags.get(322, 0))) if tiled else (
        min(one("rows", height), height), width
    )  # fmt: skip
    if not starts or len(starts) != len(lengths) or min(segment) < 1:
        raise Damage("its strips or tiles are not said")
    subsampling = tags.get(_NAMES["subsampling"], (2, 2))
    return Layout(
        width, height, one("bits", 1), one("compression", 1), one("photometric", -1),
        one("samples", 1), one("planes", 1) == 2, segment, tiled, one("predictor", 1),
        [(int(a), int(n)) for a, n in zip(starts, lengths, strict=True)],
        bytes(tags.get(347, b"")), (int(subsampling[0]), int(subsampling[1])),
    )  # fmt: skip


def check_segments(data: bytes, layout: Layout) -> None:
    """Raises Damage where a strip or tile lies elsewhere or does not decode to its size."""
    sizes = list(layout.sizes())
    if len(sizes) != len(layout.segments):
        raise Damage(f"{len(layout.segments)} strips or tiles where {len(sizes)} must be")
    end = 0
    for start, length in sorted(layout.segments):
        if start < max(end, 8) or start + length > len(data):
            raise Damage("strips or tiles lie over each other or past the end of the file")
        end = start + length
    name = _COMPRESSIONS[layout.compression]
    for number, ((start, length), size) in enumerate(zip(layout.segments, sizes, strict=True)):
        content = data[start : start + length]
        if name == "none":
            whole = length == size or (len(sizes) == 1 and length >= size)
        elif name == "JPEG":
            whole = True
            _check_jpeg(content, layout)
        else:
            refuse_zeros(content, f"strip or tile {number}")
            whole = _DECODES[name](content, size)
        if not whole:
            raise Damage(f"strip or tile {number} does not decode to its size")


def rows(layout: Layout) -> raw.Rows | None:
    """How pixels that are not compressed lie in the file; None for tiles, planes and bits."""
    if layout.tiled or layout.separate or layout.bits < 8:
        return None
    y = np.arange(layout.height)
    starts = np.array([start for start, _ in layout.segments])[y // layout.segment[0]]
    step = layout.samples * layout.bits // 8
    return raw.Rows(starts + y % layout.segment[0] * layout.width * step, step)


def _check_jpeg(content: bytes, layout: Layout) -> None:
    whole = _stream(content, layout.tables)
    found = jpeg.parse(whole)
    height, width = found.size
    for side, limit, unit in zip(found.size, layout.segment, found.unit, strict=True):
        if side > -(-limit // unit) * unit:  # before anything of that size is decoded
            raise Damage(f"a strip or tile says that it is {width} x {height} pixels")
    jpeg.check(whole, found)


def _stream(content: bytes, tables: bytes) -> bytes:
    """A strip's JPEG, with the tables that all strips share."""
    return tables[:-2] + content[2:] if tables else content


def _inflates(content: bytes, size: int) -> bool:
    inflate = zlib.decompressobj()
    try:
        return len(inflate.decompress(content, size + 1)) == size and inflate.eof
    except zlib.error:
        return False


def _unpacks(content: bytes, size: int) -> bool:
    """Whether PackBits (TIFF 6.0, section 9) gives so many bytes."""
    at, found = 0, 0
    while at < len(content) and found < size:
        count = content[at]
        if count < 128:
            at, found = at + count + 2, found + count + 1
        elif count == 128:
            at += 1
        else:
            at, found = at + 2, found + 257 - count
    return found == size and len(content) - 1 <= at <= len(content)


def _unlzws(content: bytes, size: int) -> bool:
    """Whether LZW (TIFF 6.0, section 13) gives so many bytes, and ends with the content."""
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    at, found = 0, 0
    while True:
        codes = _codes(bits, at)
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        count = int(stops[0]) if len(stops) else len(codes)
        lengths = _lengths(codes[:count])
        if lengths is None:
            return False
        found += int(lengths.sum())
        at += int(_WIDTHS[: count + 1].sum())
        if found > size or not len(stops):
            return found == size and len(bits) - at < 16
        if codes[count] == _END:
            return found == size and len(bits) - at < 16


def _codes(bits: np.ndarray, at: int) -> np.ndarray:
    """The codes from one bit on, as they are where the table is empty there."""
    ends = np.cumsum(_WIDTHS)
    count = int(np.searchsorted(ends, len(bits) - at, "right"))
    starts = at + ends[:count] - _WIDTHS[:count]
    codes = np.zeros(count, np.int64)
    for i in range(12):
        inside = i < _WIDTHS[:count]
        codes[inside] = codes[inside] << 1 | bits[starts[inside] + i]
    return codes


def _lengths(codes: np.ndarray) -> np.ndarray | None:
    """Bytes that each code stands for; None where one is not in the table yet.

    A code of 258 or more stands for what the code of that place gave, and one byte.
    """
    places = np.arange(len(codes))
    before = codes - 258
    if (before >= places).any():
        return None
    lengths = np.ones(len(codes), np.int64)
    parents = before.copy()
    while (open_ := parents >= 0).any():  # twice as far back each time
        lengths[open_] += lengths[parents[open_]]
        parents[open_] = parents[parents[open_]]
    return lengths


_CLEAR, _END = 256, 257
_ENTRIES = 257 + np.arange(3840)
_WIDTHS = 9 + np.add.reduce([limit <= _ENTRIES for limit in (511, 1023, 2047)]).astype(np.int64)
"""Bits of each code after a clear; the table must be cleared before it holds 4,096 entries."""


_DECODES = {"deflate": _inflates, "PackBits": _unpacks, "LZW": _unlzws}


def check_seams(data: bytes, layout: Layout, pixels: np.ndarray) -> None:
    """Raises Damage for a seam in the strips or tiles, each of which is a JPEG of its own."""
    height, width = layout.segment
    across = -(-layout.width // width)
    # Strips, which may be too low for a stair, are as one JPEG with restart markers.
    parts = list(enumerate(layout.segments if layout.tiled else layout.segments[:1]))
    for number, (start, length) in parts:
        found = jpeg.parse(_stream(data[start : start + length], layout.tables))
        y, x = number // across * height, number % across * width
        part = pixels[y : y + height, x : x + width] if layout.tiled else pixels
        restarts = found.restarts or not layout.tiled
        seams.check(part, found.unit, jpeg.halved(found), found.tables(), restarts)
