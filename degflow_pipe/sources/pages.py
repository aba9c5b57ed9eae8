"""The pages of a column in a Parquet file, by their headers alone.

A page is decompressed into as much memory as its header says, and the library that does it asks for
no limit: so the headers are read before. They are structs in Thrift's compact protocol. Source:
apache/parquet-format, parquet.thrift (PageHeader); apache/thrift, thrift-compact-protocol.md.
"""

from __future__ import annotations

from typing import IO, Any

HEADER = 64 * 1024
"""Bytes of a header, with the least and the greatest value of a page in it."""
DEEPEST = 8
"""Structs and lists within one another."""
SIZE, STORED, VALUES = 2, 3, 1
"""Fields of a header and, the last one, of what it says of a page of data."""
OF_DATA = (5, 7, 8)
"""Fields that say more of a page: of data, of a dictionary, of data in the second version."""


PLAIN, RATIO = 2**28, 8
"""A page of more bytes than the first that unpacks to more than so many times what is stored is
refused: pictures are packed already."""


def check_pages(file: IO[bytes], start: int, size: int, rows: int, limit: int) -> None:
    """Raises ValueError for pages of more than `limit` bytes, or of more values than rows, in the
    `size` bytes of a column from `start` on.
    """
    at, end = start, start + size
    while at < end:
        file.seek(at)
        header, length = _struct(file.read(min(HEADER, end - at)))
        unpacked, stored = header.get(SIZE), header.get(STORED)
        if (
            not isinstance(unpacked, int)
            or not isinstance(stored, int)
            or min(unpacked, stored) < 0
        ):
            raise ValueError("a page of no size")
        if max(unpacked, stored) > limit:
            raise ValueError(f"a page of {max(unpacked, stored)} bytes; the limit is {limit}")
        if unpacked > max(PLAIN, RATIO * stored):
            raise ValueError(f"a page of {stored} bytes that unpacks to {unpacked}")
        for field in OF_DATA:
            values = header[field].get(VALUES) if isinstance(header.get(field), dict) else 0
            if not isinstance(values, int) or not 0 <= values <= rows:
                raise ValueError(f"a page of {values} values, of {rows} rows")
        at += length + stored


def _struct(data: bytes) -> tuple[dict[int, Any], int]:
    """The numbers and structs of a struct by their fields, and its length."""
    try:
        return _fields(data, 0, 0)
    except IndexError as error:
        raise ValueError("a page's header that is cut off or too long") from error


def _fields(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    found: dict[int, Any] = {}
    field = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            field, at = _number(data, at)
        found[field], at = _value(data, at, head & 15, depth + 1)
    return found, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if depth > DEEPEST:
        raise ValueError("a page's header is nested too deep")
    if kind in (1, 2):  # true and false
        return None, at
    if kind == 3:  # one byte
        return None, at + 1
    if kind in (4, 5, 6):
        return _number(data, at)
    if kind == 7:  # double
        return None, at + 8
    if kind == 8:  # bytes
        length, at = _varint(data, at)
        return None, at + length
    if kind in (9, 10):  # list and set
        count, of, at = data[at] >> 4, data[at] & 15, at + 1
        if count == 15:
            count, at = _varint(data, at)
        for _ in range(count):
            at = at + 1 if of in (1, 2) else _value(data, at, of, depth + 1)[1]
            data[at - 1]  # raises behind the end
        return None, at
    if kind == 12:
        return _fields(data, at, depth)
    raise ValueError("a page's header that cannot be read")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a page's header with a number of too many digits")


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return value >> 1 ^ -(value & 1), at
