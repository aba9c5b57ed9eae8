"""PNG: what is not pixels is kept from the decoder where there is too much of it.

Chunks: PNG specification, third edition (W3C, 2025), section 11.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MARK = b"\x89PNG\r\n\x1a\n"
MAX_TEXT = 1_000_000
"""Bytes of text, inflated, that the decoder is given: it refuses a photo for more."""
MAX_PROFILE = 64 * 1024**2
"""Bytes of a colour profile, inflated: the largest in use have some 10 MB."""

_TEXT = (b"tEXt", b"zTXt", b"iTXt")


@dataclass(frozen=True)
class Png:
    """A PNG for the decoder, and what was taken out of it.

    profile: the ICC profile, None where there is none, empty where it cannot be inflated. cicp: the
    four code points of a cICP chunk.
    """

    data: bytes
    profile: bytes | None = None
    cicp: tuple[int, ...] | None = None


def slim(data: bytes) -> Png:
    """Take out the colour profile, and the text where there is more than MAX_TEXT of it."""
    chunks = list(_chunks(data))
    text = sum(_inflated(kind, data[a:b]) for kind, a, b in chunks if kind in _TEXT)
    out = {b"iCCP", *(_TEXT if text > MAX_TEXT else ())}
    profile, cicp = None, None
    kept, end = [], 0
    for kind, start, stop in chunks:
        if kind == b"iCCP" and profile is None:
            profile = _profile(data[start:stop])
        if kind == b"cICP" and stop - start == 4:
            cicp = tuple(data[start:stop])
        if kind in out:
            kept.append(data[end : start - 8])
            end = stop + 4
    return Png(b"".join([*kept, data[end:]]) if kept else data, profile, cicp)


def size(head: bytes) -> tuple[int, int] | None:
    """Height and width by the first 24 bytes of a file; None where they are no PNG's."""
    if head[:8] != MARK or head[12:16] != b"IHDR" or len(head) < 24:
        return None
    width, height = struct.unpack(">II", head[16:24])
    return height, width


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each chunk, where its content starts and where it stops."""
    at = len(MARK)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4])
        if at + 12 + length > len(data):
            return
        yield data[at + 4 : at + 8], at + 8, at + 8 + length
        at += 12 + length


def _inflated(kind: bytes, content: bytes) -> int:
    """Bytes of a text chunk's content, MAX_TEXT + 1 where there are more."""
    if kind == b"tEXt":
        return len(content)
    packed = content.partition(b"\0")[2]
    if kind == b"iTXt":
        if packed[:1] != b"\1":
            return len(content)
        packed = packed[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        packed = packed[1:]
    try:
        return len(zlib.decompressobj().decompress(packed, MAX_TEXT + 1))
    except zlib.error:
        return MAX_TEXT + 1  # the decoder would stumble over it


def _profile(content: bytes) -> bytes:
    packed = content.partition(b"\0")[2][1:]
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(packed, MAX_PROFILE)
    except zlib.error:
        return b""
    return profile if inflate.eof else b""
