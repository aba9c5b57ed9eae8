"""Where in a Parquet file its columns and their pages lie, by its own words, held to bounds.

A page is decompressed into as much memory as its header says, and the library that does it asks for
no limit; of what it says of columns, some that is wrong ends the process. So both are read here
before. They are structs in Thrift's compact protocol. Source: apache/parquet-format, parquet.thrift
(FileMetaData, PageHeader); apache/thrift, thrift-compact-protocol.md.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import IO, Any

MARK = b"PAR1"
FOOTER = 16 * 1024**2
"""Bytes of what a file says of itself at its end."""
HEADER = 64 * 1024
"""Bytes of a page's header, with the least and the greatest value of the page in it."""
STRUCTS = 10**6
"""In a footer: some for each column of each row group."""
DEEPEST = 12
"""Structs and lists within one another."""
PAGE = 2**30
"""Bytes of a page, which is in memory at once; `datasets` makes one of up to 100 pictures."""
PLAIN, RATIO = 2**28, 8
"""A page of more bytes than the first that unpacks to more than so many times what is stored is
refused: pictures are packed already."""
GROUPS, ROWS = 10**5, 10**6
"""Of a file, at most."""
OF_VALUES, OF_DICTIONARY = (5, 7, 8), 7
"""Fields of a page's header that say how many values it has: of data, of a dictionary, of data in
the second version."""
IDLE = 16
"""Pages of a column in a group that have no value of a row, at most: a dictionary is one."""


@dataclass(frozen=True)
class Group:
    """A row group: its rows, and where each of its columns is, from which byte on and how many."""

    rows: int
    columns: tuple[tuple[int, int], ...]


def read_layout(file: IO[bytes]) -> list[Group]:
    """The row groups of an open file. Raises ValueError for what is none or beyond a bound."""
    length = file.seek(0, io.SEEK_END)
    file.seek(max(length - 8, 0))
    end = file.read(8)
    if length < 12 or end[4:] != MARK:
        raise ValueError("its end is not that of a Parquet file")
    size = int.from_bytes(end[:4], "little")
    if size > min(FOOTER, length - 12):
        raise ValueError(f"{size} bytes say what is in it; the limit is {FOOTER}")
    file.seek(length - 8 - size)
    try:
        footer, _ = _Compact(file.read(size)).struct()
        rows, found = footer[3], footer.get(4, [])
        if not 0 <= rows <= ROWS or len(found) > GROUPS:
            raise ValueError(
                f"{rows} rows in {len(found)} groups; the limits are {ROWS} and {GROUPS}"
            )
        groups = [
            Group(group[3], tuple(_place(column, length) for column in group[1])) for group in found
        ]
        if min((group.rows for group in groups), default=0) < 0:
            raise ValueError("a group of fewer than no rows")
        if sum(group.rows for group in groups) != rows:
            raise ValueError("its groups do not have its rows")
    # Of other types than they are to be.
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"its footer lacks something: {error}") from error
    return groups


def _place(column: dict[int, Any], length: int) -> tuple[int, int]:
    """Where a column of a group begins, and its bytes."""
    if 1 in column:
        raise ValueError("a column in another file, which is not followed")
    about = column[3]
    starts = [start for start in (about[9], about.get(11, 0)) if start > 0]
    start, size = min(starts, default=0), about[7]
    if not 4 <= start <= start + size <= length:
        raise ValueError("a column that is not within the file")
    return start, size


def check_pages(file: IO[bytes], column: tuple[int, int], rows: int, limit: int = PAGE) -> None:
    """Raises ValueError where a page of a column of so many rows takes more than `limit` bytes,
    or there are more pages than those rows are a reason for: each takes time.
    """
    at, end = column[0], sum(column)
    found = idle = 0
    while at < end:
        file.seek(at)
        header, length = _Compact(file.read(min(HEADER, end - at))).struct()
        unpacked, stored = header.get(2), header.get(3)
        if not isinstance(unpacked, int) or not isinstance(stored, int):
            raise ValueError("a page of no size")
        if not (0 <= unpacked <= limit and 0 <= stored <= limit):
            raise ValueError(f"a page of {max(unpacked, stored)} bytes; the limit is {limit}")
        if unpacked > max(PLAIN, RATIO * stored):
            raise ValueError(f"a page of {stored} bytes that unpacks to {unpacked}")
        counts = {field: _values(header[field]) for field in OF_VALUES if field in header}
        if not all(0 <= count <= rows for count in counts.values()):
            raise ValueError(f"a page of {max(counts.values())} values, of {rows} rows")
        counts.pop(OF_DICTIONARY, None)
        found += sum(counts.values())
        idle += not any(counts.values())
        if found > rows or idle > IDLE:
            raise ValueError(f"pages of {found} values, and {idle} of none, of {rows} rows")
        at += length + stored


def _values(about: Any) -> int:
    """How many values a page has by its header."""
    values = about.get(1) if isinstance(about, dict) else None
    if not isinstance(values, int):
        raise ValueError("a page that does not say how many values it has")
    return values


class _Compact:
    """Reads a struct in Thrift's compact protocol: whole numbers, bytes, lists and structs; what is
    none of them is None.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._at, self._structs = data, 0, 0

    def struct(self) -> tuple[dict[int, Any], int]:
        """A struct by the numbers of its fields, and its length. Raises ValueError."""
        try:
            return self._struct(0), self._at
        except IndexError as error:
            raise ValueError("what it says of itself is cut off") from error

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _struct(self, depth: int) -> dict[int, Any]:
        self._structs += 1
        if depth > DEEPEST or self._structs > STRUCTS:
            raise ValueError("what it says of itself is nested too deep, or too long")
        found: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            field = field + (head >> 4) if head >> 4 else self._number()
            found[field] = None if head & 15 in (1, 2) else self._value(head & 15, depth + 1)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (4, 5, 6):
            return self._number()
        if kind == 8:
            return self._bytes(self._varint())
        if kind in (9, 10):
            return self._list(depth)
        if kind == 12:
            return self._struct(depth)
        if kind not in (1, 2, 3, 7):
            raise ValueError("what it says of itself cannot be read")
        self._bytes(8 if kind == 7 else 1)  # a double; a byte, as which a list has true and false
        return None

    def _list(self, depth: int) -> list[Any]:
        if depth > DEEPEST:
            raise ValueError("what it says of itself is nested too deep")
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if count > len(self._data) - self._at:  # each takes a byte at least
            raise IndexError
        return [self._value(head & 15, depth + 1) for _ in range(count)]

    def _bytes(self, length: int) -> bytes:
        if length > len(self._data) - self._at:
            raise IndexError
        self._at += length
        return self._data[self._at - length : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of too many digits")

    def _number(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
