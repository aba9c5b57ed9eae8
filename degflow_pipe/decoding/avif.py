"""AVIF: as WebP's, its decoder makes pixels of any bytes; what it does not read, or reads past the
end, tells.

The coded data of the picture are put anew at the end of the file, with more behind each tile, which
must change nothing, and with another end of each tile, which must change that tile. A picture that
is put together otherwise is told from one that is whole. Boxes: ISO/IEC 14496-12, 8.11.3 (iloc).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from degflow_pipe.decoding import av1
from degflow_pipe.decoding.damage import Damage, refuse_zeros

CUT = 8
"""Bytes that are changed; of four, all were seen without an effect on pixels of 8 bits."""
LEAST = 64
"""Bytes of a tile, or it may be too flat to change with its end."""
MORE = bytes(2) + b"\xa5\x5a\xff\x81" * 20
"""Put behind: zeros, which a decoder takes for granted there, and what it must not come to."""


@dataclass(frozen=True)
class Item:
    """Where the picture's data are, and where the file says so: both from the file's start.

    offset, length: place and bytes of each of the two numbers. base: what is added to the offset.
    """

    start: int
    stop: int
    offset: tuple[int, int]
    length: tuple[int, int]
    base: int


def check(data: bytes, pixels: np.ndarray) -> bool:
    """Whether a picture (H, W, 3), not turned, could be checked.

    Raises Damage for one that does not need all of its data.
    """
    if data[8:12] == b"avis":  # a sequence, which has its pictures elsewhere
        return False
    item = _item(data)
    if item is None:
        return False
    coded = data[item.start : item.stop]
    refuse_zeros(coded, "the coded data")
    try:
        frame = av1.frame(coded)
    except av1.Unknown:
        return False
    if (frame.tiles[-1].bottom, frame.tiles[-1].right) != pixels.shape[:2]:
        return False
    ends = [coded[tile.start : tile.stop] for tile in frame.tiles]
    room = 256**frame.size_bytes if len(ends) > 1 else len(data) + len(MORE)
    longer = _decoded(_with(data, item, frame.changed(coded, [(e + MORE)[:room] for e in ends])))
    if longer is None or not np.array_equal(longer, pixels):
        raise Damage("its data end before the last block of a tile")
    del longer
    for group in _apart(frame):
        changed = _changed(data, item, frame, coded, group, room)
        for number in group:
            tile = frame.tiles[number]
            place = np.s_[tile.top : tile.bottom, tile.left : tile.right]
            if changed is not None and np.array_equal(changed[place], pixels[place]):
                raise Damage("data left over after the last block of a tile")
    return True


def _apart(frame: av1.Frame) -> Iterator[list[int]]:
    """Tiles that do not touch: what is smoothed across their borders passes from one to another."""
    tops, lefts = (sorted({getattr(t, side) for t in frame.tiles}) for side in ("top", "left"))
    for odd in range(4):
        group = [
            number
            for number, tile in enumerate(frame.tiles)
            if tops.index(tile.top) % 2 * 2 + lefts.index(tile.left) % 2 == odd
            and tile.stop - tile.start > LEAST
        ]
        if group:
            yield group


def _changed(
    data: bytes, item: Item, frame: av1.Frame, coded: bytes, group: list[int], room: int
) -> np.ndarray | None:
    """The picture with another end of some tiles; None where they all need still more."""
    for bits in (0x55, 0xAA, 0x0F):
        ends = [coded[tile.start : tile.stop] for tile in frame.tiles]
        for number in group:
            end = ends[number]
            other = end[:-CUT] + bytes(b ^ bits for b in end[-CUT:]) + MORE
            ends[number] = other[:room]
        if (found := _decoded(_with(data, item, frame.changed(coded, ends)))) is not None:
            return found
    return None


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
            sizes = {offset_size, length_size}
            if extents != 1 or method or not sizes <= {4, 8}:
                return None
            offset = (at + index_size, offset_size)
            length = (offset[0] + offset_size, length_size)
            start = base + _number(data, offset)
            stop = start + _number(data, length)
            if stop > len(data):
                raise Damage("the file ends within the picture")
            return Item(start, stop, offset, length, base)
        at += extents * (index_size + offset_size + length_size)
    return None


def _number(data: bytes, place: tuple[int, int]) -> int:
    return int.from_bytes(data[place[0] : place[0] + place[1]])


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
    at = len(data) + 8 - item.base
    for (place, wide), value in ((item.offset, at), (item.length, len(coded))):
        changed[place : place + wide] = value.to_bytes(wide)
    return bytes(changed) + (len(coded) + 8).to_bytes(4) + b"mdat" + coded


def _decoded(data: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(data), formats=("AVIF",)) as image:
            return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except Exception:  # damaged files make Pillow raise nearly anything
        return None
