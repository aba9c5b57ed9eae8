"""WebP: its decoder reports no fault in lossy data, so what it leaves unread must tell.

A decoder of arithmetic codes makes pixels of any bytes, but after a fault it reads more or less of
them than were written. More is an error of its own; less shows by cutting the end off: what is
whole cannot be decoded without it. Partitions: RFC 6386, sections 9.1 and 9.5; chunks: RFC 9649.

Lossless data are of Huffman codes, which fall into step again, so their ends tell nothing. But each
pixel is a difference to those before it, modulo 256: after a fault colours wrap around.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from degflow_pipe.decoding.damage import Damage, refuse_zeros

CUT = 6
"""Bytes that are cut: libwebp's encoder flushes with up to three that carry nothing."""

WILD = 0.3
"""Share of tiles with jumps of single channels, along and across: 0.18 at most in real photos, of
which all but one have 0.034 or less; of faults, those that change a quarter of the pixels."""
TILE, IN_TILE = 16, 10
BEGIN = 2 * TILE + 3
"""Rows at the top of a picture."""
JUMP, STILL, FLAT = 90, 25, 4


def size(head: bytes) -> tuple[int, int] | None:
    """Height and width by the first 30 bytes of a file; None where they are no WebP's.

    Pillow would read the whole file for them. RFC 9649, 2.7 and 3.4; RFC 6386, 9.1.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP" or len(head) < 30:
        return None
    if head[12:16] == b"VP8X":
        width, height = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (24, 27))
    elif head[12:16] == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = (int.from_bytes(head[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    elif head[12:16] == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    else:
        return None
    return height, width


def check(data: bytes) -> None:
    """Raises Damage for bytes that no pixel needs, and for a run of zeros."""
    kind, payload = _frame(data)
    refuse_zeros(payload, "the coded data")
    if kind == b"VP8L":
        return
    for shorter in _shortened(payload):
        if _decodes(_wrapped(kind, shorter)):
            raise Damage("data left over after the last block")


def is_lossless(data: bytes) -> bool:
    return _frame(data)[0] == b"VP8L"


def check_pixels(pixels: np.ndarray) -> None:
    """Raises Damage for a lossless picture, (H, W, 3) uint8, whose colours wrap around."""
    if min(pixels.shape[:2]) < TILE + 3:
        return
    share = sum(_wild(part) for part in (pixels, pixels.transpose(1, 0, 2)))
    begins = sum(_wild(part) for part in (pixels[:BEGIN], pixels[:BEGIN].transpose(1, 0, 2)))
    if share > WILD and begins < share:  # what is so from its first row on is noise
        raise Damage("colours jump as after a fault, which lossless WebP cannot rule out")


def _wild(pixels: np.ndarray) -> float:
    """Share of tiles in which one channel often jumps from row to row, and another stays.

    A jump between two flat parts is of a drawing.
    """
    rows, columns = (pixels.shape[0] - 3) // TILE, pixels.shape[1] // TILE
    wild = 0
    for row in range(rows):
        lines = pixels[row * TILE : (row + 1) * TILE + 3, : columns * TILE].astype(np.int16)
        steps = np.abs(np.diff(lines, axis=0))
        most = steps.max(axis=2)
        rough = np.maximum(most[:-2], most[2:]) > FLAT
        jumps = (most[1:-1] > JUMP) & (steps[1:-1].min(axis=2) < STILL) & rough
        wild += int((jumps.reshape(TILE, columns, TILE).sum(axis=(0, 2)) >= IN_TILE).sum())
    return wild / max(rows * columns, 1)


def _frame(data: bytes) -> tuple[bytes, bytes]:
    """Kind and content of the first chunk that holds a picture."""
    at = 12
    while at + 8 <= len(data):
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind == b"ANMF":
            at += 8 + 16  # the chunks of a frame follow its place and size
            continue
        if kind in (b"VP8 ", b"VP8L"):
            if at + 8 + length > len(data):
                raise Damage("the file ends within the picture")
            return kind, data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)
    raise Damage("no picture in it")


def _shortened(payload: bytes) -> Iterator[bytes]:
    """The content of a VP8 chunk, with the end of each of its partitions cut off."""
    tag = int.from_bytes(payload[:3], "little")
    first = 10 + (tag >> 5)
    if first > len(payload):
        raise Damage("the first partition is longer than the file")
    if tag >> 5 > 2 * CUT:
        less = ((tag >> 5) - CUT) << 5 | tag & 31
        yield less.to_bytes(3, "little") + payload[3 : first - CUT] + payload[first:]
    yield payload[:-CUT]


def _wrapped(kind: bytes, payload: bytes) -> bytes:
    chunk = kind + len(payload).to_bytes(4, "little") + payload + bytes(len(payload) & 1)
    return b"RIFF" + (len(chunk) + 4).to_bytes(4, "little") + b"WEBP" + chunk


def _decodes(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP",)) as image:
            image.load()
    except Exception:  # damaged files make Pillow raise nearly anything
        return False
    return True
