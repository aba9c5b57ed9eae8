"""JPEG: what a decoder bears with, and what only the pixels tell, counts as damage.

Codes of variable length fall into step again after a fault, and libjpeg goes on. Four things give
it away: a warning of libjpeg; data that is left when the last block is decoded; a run of zeros; and
a seam where the brightness or the colour of all later blocks is off (see `seams`).
Markers: ITU-T T.81, annex B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import simplejpeg

from degflow_pipe.decoding.damage import RUN, Damage

END = b"\xff\xd9"
MAX_SCANS = 64
"""Encoders write some ten; each takes a decoding of the whole picture."""

_SOF = frozenset({0xC0, 0xC1, 0xC2})
_UNKNOWN_SOF = frozenset({0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_FILL = b"\xff\0"
_END_OF_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclass
class Jpeg:
    """The parts of a JPEG that the checks need.

    size: height and width in pixels. sampling: (horizontal, vertical) and tables: 64 steps, both by
    component. scans: first byte of the entropy-coded data, the byte after it, and what is coded:
    components, first and last coefficient, and the bit down to which. restarts: whether there are
    restart markers.
    """

    progressive: bool = False
    restarts: bool = False
    size: tuple[int, int] = (0, 0)
    sampling: list[tuple[int, int]] = field(default_factory=list)
    names: list[int] = field(default_factory=list)
    selectors: list[int] = field(default_factory=list)
    steps: dict[int, list[int]] = field(default_factory=dict)
    scans: list[tuple[int, int, list[int], int, int, int]] = field(default_factory=list)

    @property
    def unit(self) -> tuple[int, int]:
        """Height and width in pixels of the least unit that is coded."""
        if len(self.sampling) == 1:
            return 8, 8
        return 8 * max(v for _, v in self.sampling), 8 * max(h for h, _ in self.sampling)

    def tables(self) -> list[list[int]]:
        """Steps of quantisation, in zigzag order, by component."""
        return [self.steps[selector] for selector in self.selectors]


def parse(data: bytes) -> Jpeg:
    """Raises Damage for markers that make no JPEG."""
    found = Jpeg()
    try:
        for marker, start, stop in _segments(data):
            content = data[start:stop]
            if marker == 0xDB:
                found.steps.update(_quantisation(content))
            elif marker == 0xDD:
                found.restarts = any(content[:2])
            elif marker in _UNKNOWN_SOF:
                raise Damage("a JPEG of a kind that is not read: lossless or arithmetic")
            elif marker in _SOF:
                found.progressive = marker == 0xC2
                found.size = int.from_bytes(content[1:3]), int.from_bytes(content[3:5])
                for name, sampling, selector in zip(
                    content[6::3], content[7::3], content[8::3], strict=True
                ):
                    found.names.append(name)
                    found.sampling.append((sampling >> 4, sampling & 15))
                    found.selectors.append(selector)
            elif marker == 0xDA:
                count = content[0]
                first, last, bits = content[1 + 2 * count : 4 + 2 * count]
                named = list(content[1 : 1 + 2 * count : 2])
                end = _END_OF_SCAN.search(data, stop)
                after = len(data) if end is None else end.start()
                found.scans.append((stop, after, named, first, last, bits & 15))
        found.tables()
    except (ValueError, IndexError, KeyError) as error:
        if isinstance(error, Damage):
            raise
        raise Damage("its markers make no JPEG") from error
    if not found.sampling or not found.scans or any(0 in pair for pair in found.sampling):
        raise Damage("its markers make no JPEG")
    return found


def check(data: bytes, found: Jpeg) -> None:
    """Raises Damage for what a strict decoder finds, and for data that is left or missing.

    Also for more than MAX_SCANS scans, before any is decoded.
    """
    if len(found.scans) > MAX_SCANS:
        raise Damage(f"{len(found.scans)} scans, more than the limit of {MAX_SCANS}")
    _check_scans(found)
    _check_tables(found)
    components = len(found.sampling)
    if (fault := _fault(data, components)) is not None:
        raise Damage(fault)
    for number, (start, end, *_) in enumerate(found.scans):
        # Without its last byte a scan must end too early; of later scans nothing need be decoded.
        cut = start + len(_needed(data[start:end])) - 1
        if cut > start and _fault(data[:cut] + END, components) is None:
            raise Damage(f"data left over after the last block of scan {number + 1}")


def check_zeros(data: bytes, found: Jpeg, pixels: np.ndarray) -> None:
    """Raises Damage for zeros in the coded data that are no flat part of the picture (H, W, 3)."""
    for start, end, _, first, _, _ in found.scans:
        for run in RUN.finditer(data, start, end):
            length = run.end() - run.start()
            # A block that is as the one before it takes two to eight bits of zeros.
            units = length / sum(h * v for h, v in found.sampling)
            if (found.progressive and first) or _flat_units(pixels, found.unit) < units:
                raise Damage(f"{length} zero bytes in a row, as where a block was lost")


def _fault(data: bytes, components: int) -> str | None:
    """What libjpeg warns of; None where it is content."""
    try:
        simplejpeg.decode_jpeg(data, "CMYK" if components == 4 else "GRAY", strict=True)
    except ValueError as error:
        return str(error)
    return None


def _needed(scan: bytes) -> bytes:
    """Entropy-coded data but for what may follow the last block.

    That is fill bytes (T.81, B.1.1.2), a restart marker and zeros; where they are code, what is
    before them is too little as well.
    """
    scan = scan.rstrip(_FILL)
    if scan[-2:-1] == b"\xff" and 0xD0 <= scan[-1] <= 0xD7:
        scan = scan[:-2].rstrip(_FILL)
    return scan


def _flat_units(pixels: np.ndarray, unit: tuple[int, int]) -> int:
    """How many units of a picture are of one colour, the same as their left neighbour's."""
    height, width = unit
    rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
    grey = pixels[: rows * height, : columns * width, 1]
    blocks = grey.reshape(rows, height, columns, width)
    low, high = blocks.min(axis=(1, 3)), blocks.max(axis=(1, 3))
    flat = low == high
    return int((flat[:, 1:] & (low[:, 1:] == low[:, :-1])).sum())


def _check_scans(found: Jpeg) -> None:
    """Raises Damage where not every bit of every coefficient is there."""
    missing = {(name, k) for name in found.names for k in range(64)}
    for _, _, names, first, last, bit in found.scans:
        if not found.progressive:
            missing -= {(name, k) for name in names for k in range(64)}
        elif bit == 0:
            missing -= {(name, k) for name in names for k in range(first, last + 1)}
    if missing:
        raise Damage("scans are missing at its end")


def _check_tables(found: Jpeg) -> None:
    """Raises Damage for a table that is one of the standard's but for one bit of one entry.

    Cameras have tables that are near them in all entries and in some less so.
    """
    for table in found.tables():
        for base in _STANDARD:
            for scaled in _scaled(base):
                off = np.flatnonzero(scaled != table)
                if len(off) == 1:
                    bits = int(scaled[off[0]]) ^ table[off[0]]
                    if bits > 2 and bits.bit_count() == 1:
                        raise Damage("an entry of a quantisation table was changed")


_LUMA = (
    16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40,
    26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51, 61, 60, 57, 51,
    56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87,
    95, 98, 103, 104, 103, 62, 77, 113, 121, 112, 100, 120, 92, 101, 103, 99,
)  # fmt: skip
_CHROMA = (17, 18, 18, 24, 21, 24, 47, 26, 26, 47, 99, 66, 56, 66, *([99] * 50))
_STANDARD = (_LUMA, _CHROMA)
"""T.81, tables K.1 and K.2, in zigzag order."""


def _scaled(base: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The table at every quality of libjpeg's (jcparam.c, jpeg_set_quality)."""
    for quality in range(1, 101):
        factor = 5000 // quality if quality < 50 else 200 - 2 * quality
        yield np.clip((np.array(base) * factor + 50) // 100, 1, 255)


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Each marker with content, where that starts and where it stops."""
    if data[:2] != b"\xff\xd8":
        raise Damage("its markers make no JPEG")
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise Damage("data where a marker must be")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xD9:
            return
        stop = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        yield marker, at + 4, stop
        at = stop
        if marker == 0xDA:
            end = _END_OF_SCAN.search(data, stop)
            at = len(data) if end is None else end.start()


def _quantisation(content: bytes) -> dict[int, list[int]]:
    tables = {}
    while content:
        wide, number = content[0] >> 4, content[0] & 15
        size = 128 if wide else 64
        table = np.frombuffer(content[1 : 1 + size], ">u2" if wide else "u1")
        if len(table) != 64:
            raise ValueError("a table is cut")
        tables[number] = [int(step) for step in table]
        content = content[1 + size :]
    return tables


def halved(found: Jpeg) -> tuple[bool, bool]:
    """Whether the colours have half the height, half the width."""
    height, width = found.unit
    return height > 8, width > 8
