"""AVIF: as WebP's, its decoder makes pixels of any bytes; what it does not read, or reads past the
end, tells.

The coded data of the picture are put anew at the end of the file, changed or with more behind.
That checks a picture in one item, and of its tiles the last one: libavif makes more than one tile
from some 500,000 pixels on. Boxes: ISO/IEC 14496-12, 8.11.3 (iloc); units: AV1 specification, 5.3.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from degflow_pipe.decoding.damage import Damage, refuse_zeros

CUT = 8
"""Bytes that are cut; the end of what is coded takes two bytes at most."""
MORE = bytes(4) + b"\xa5\x5a\xff\x81" * 4
"""Put behind: zeros, which a decoder takes for granted there, and what it must not come to."""

_FRAMES = (4, 6)  # OBU_TILE_GROUP, OBU_FRAME


@dataclass(frozen=True)
class Item:
    """Where the picture's data are, and where the file says so: both from the file's start."""

    start: int
    stop: int
    offset_at: int
    length_at: int
    wide: int


def check(data: bytes, pixels: np.ndarray) -> None:
    """Raises Damage for a picture (H, W, 3), not turned, that does not need all of its data."""
    item = _item(data)
    if item is None:
        return
    coded = data[item.start : item.stop]
    refuse_zeros(coded, "the coded data")
    for changed, same in _changed(coded):
        decoded = _decoded(_with(data, item, changed))
        is_same = decoded is not None and np.array_equal(decoded, pixels)
        if is_same != same:
            raise Damage("its data end before or after the last block")


def points(data: bytes) -> tuple[int, ...] | None:
    """Code points of the colours (primaries, transfer, matrix, range); None where it has none."""
    at = data.find(b"colrnclx", 0, 1 << 16)
    if at < 0 or at + 15 > len(data):
        return None
    content = data[at + 8 : at + 15]
    return (
        int.from_bytes(content[:2]),
        int.from_bytes(content[2:4]),
        int.from_bytes(content[4:6]),
        content[6] >> 7,
    )


def _changed(coded: bytes) -> Iterator[tuple[bytes, bool]]:
    """The data with another end of the last frame, and whether the picture must stay the same."""
    place = _last_frame(coded)
    if place is None:
        return
    head, size_at, start, stop = place
    body = coded[start:stop]
    if len(body) <= 8 * CUT:
        return

    def unit(content: bytes) -> bytes:
        return coded[:head] + coded[head:size_at] + _leb128(len(content)) + content + coded[stop:]

    yield unit(body + MORE), True
    yield unit(body[:-CUT] + bytes(b ^ 0x55 for b in body[-CUT:])), False


def _last_frame(coded: bytes) -> tuple[int, int, int, int] | None:
    """Of the last unit of a frame: its start, that of its size and of its content, and the end."""
    at, found = 0, None
    while at < len(coded):
        head = coded[at]
        if not head & 2:  # without a size
            return None
        size_at = at + (2 if head & 4 else 1)
        size, start = _read_leb128(coded, size_at)
        if size is None or start + size > len(coded):
            raise Damage("its units make no picture")
        if head >> 3 & 15 in _FRAMES:
            found = (at, size_at, start, start + size)
        at = start + size
    return found


def _read_leb128(data: bytes, at: int) -> tuple[int | None, int]:
    value = 0
    for i, byte in enumerate(data[at : at + 8]):
        value |= (byte & 127) << 7 * i
        if not byte & 128:
            return value, at + i + 1
    return None, at


def _leb128(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _item(data: bytes) -> Item | None:
    """The picture's item; None where it lies otherwise than in one piece of the file."""
    meta = _box(data, b"meta", 0, len(data))
    if meta is None:
        return None
    inside = (meta[0] + 4, meta[1])
    pitm, iloc = _box(data, b"pitm", *inside), _box(data, b"iloc", *inside)
    if pitm is None or iloc is None:
        return None
    wide = 4 if data[pitm[0]] else 2
    primary = int.from_bytes(data[pitm[0] + 4 : pitm[0] + 4 + wide])
    return _located(data, iloc[0], iloc[1], primary)


def _located(data: bytes, at: int, stop: int, primary: int) -> Item | None:
    version = data[at]
    offset_size, length_size = data[at + 4] >> 4, data[at + 4] & 15
    base_size, index_size = data[at + 5] >> 4, data[at + 5] & 15 if version else 0
    wide = 2 if version < 2 else 4
    at += 6
    count, at = int.from_bytes(data[at : at + wide]), at + wide
    for _ in range(count):
        if at >= stop:
            return None
        name, at = int.from_bytes(data[at : at + wide]), at + wide
        method = 0
        if version:
            method, at = data[at + 1] & 15, at + 2
        at += 2
        base, at = int.from_bytes(data[at : at + base_size]), at + base_size
        extents, at = int.from_bytes(data[at : at + 2]), at + 2
        if name == primary:
            if extents != 1 or method or base or (offset_size, length_size) != (4, 4):
                return None
            at += index_size
            start = int.from_bytes(data[at : at + 4])
            length = int.from_bytes(data[at + 4 : at + 8])
            if start + length > len(data):
                raise Damage("the file ends within the picture")
            return Item(start, start + length, at, at + 4, 4)
        at += extents * (index_size + offset_size + length_size)
    return None


def _box(data: bytes, kind: bytes, at: int, stop: int) -> tuple[int, int] | None:
    """Where the content of the first box of a kind starts and stops."""
    while at + 8 <= stop:
        size = int.from_bytes(data[at : at + 4])
        start = at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16]), at + 16
        size = size or stop - at
        if size < start - at or at + size > stop:
            return None
        if data[at + 4 : at + 8] == kind:
            return start, at + size
        at += size
    return None


def _with(data: bytes, item: Item, coded: bytes) -> bytes:
    """The file with other data for its picture, in a box of their own at its end."""
    changed = bytearray(data)
    at = len(data) + 8
    changed[item.offset_at : item.offset_at + item.wide] = at.to_bytes(item.wide)
    changed[item.length_at : item.length_at + item.wide] = len(coded).to_bytes(item.wide)
    return bytes(changed) + (len(coded) + 8).to_bytes(4) + b"mdat" + coded


def _decoded(data: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(data), formats=("AVIF",)) as image:
            return np.asarray(image.convert("RGB"))
    except Exception:  # damaged files make Pillow raise nearly anything
        return None
