"""Whether an LMDB file may be mapped: its pages are walked with bounds before the library sees it.

The library trusts the file: a page that is not there ends the process by SIGBUS. The layout is
that of LMDB 0.9 (OpenLDAP, libraries/liblmdb/mdb.c) on machines of 64 bits, little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from degflow_pipe import files
from degflow_pipe.errors import DataError

MAGIC, VERSION = 0xBEEFC0DE, 1
HEADER = 16
"""Bytes before a page's content."""
BRANCH, LEAF, OVERFLOW, META = 0x01, 0x02, 0x04, 0x08
BIG = 0x01
"""Flag of a node whose value lies in pages of its own."""
NONE = 2**64 - 1
MAX_DEPTH = 32
MAX_MAP = 2**44
"""Address space in bytes that a file may ask for: 16 TB."""


def check_lmdb(path: Path) -> None:
    """Raises DataError where the file is no whole LMDB file, FileError where it cannot be read.

    Every page that a reader may come to is looked at, but for the pictures' own.
    """
    if not files.is_file(path):
        raise DataError(f"{path}: not there, or not a regular file")
    try:
        with files.reading(path) as file:
            _Walk(path, file).check()
    except struct.error as error:
        raise DataError(f"{path}: no LMDB data base: too short") from error


class _Walk:
    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self.file = path, file
        self.bytes = file.seek(0, 2)
        self.page_size = 0
        self.last = 0
        self.seen: set[int] = set()

    def check(self) -> None:
        head = self._read(0, HEADER + 136)
        magic, version, _, _ = struct.unpack_from("<IIQQ", head, HEADER)
        self.page_size = struct.unpack_from("<I", head, HEADER + 24)[0]
        if magic != MAGIC or version != VERSION:
            raise DataError(f"{self.path}: no LMDB data base of version {VERSION}")
        if self.page_size not in (2**power for power in range(9, 17)):
            raise self._damaged(f"pages of {self.page_size} bytes")
        # The head's own last page may lie beyond the file: one that was freed is never written.
        self.last = self.bytes // self.page_size - 1
        root, depth = max(self._meta(number) for number in (0, 1))[1:]
        if root != NONE:
            self._page(root, depth)

    def _meta(self, number: int) -> tuple[int, int, int]:
        """The transaction, the root and the depth that a head page tells."""
        page = self._read(number * self.page_size, HEADER + 136)
        magic, version, _, size = struct.unpack_from("<IIQQ", page, HEADER)
        flags, depth = struct.unpack_from("<HH", page, HEADER + 24 + 48 + 4)
        root = struct.unpack_from("<Q", page, HEADER + 24 + 48 + 40)[0]
        transaction = struct.unpack_from("<Q", page, HEADER + 24 + 104)[0]
        if magic != MAGIC or version != VERSION or flags or depth > MAX_DEPTH or size > MAX_MAP:
            raise self._damaged(f"head page {number}")
        return transaction, root, depth

    def _page(self, number: int, depth: int) -> None:
        if number < 2 or number > self.last or number in self.seen or depth < 1:
            raise self._damaged(f"page {number}")
        self.seen.add(number)
        page = self._read(number * self.page_size, self.page_size)
        own, _, flags, lower, upper = struct.unpack_from("<QHHHH", page)
        kind = LEAF if depth == 1 else BRANCH
        if own != number or flags & ~0x10 != kind or not HEADER <= lower <= upper <= len(page):
            raise self._damaged(f"page {number}")
        for first, second, flag, size, at in self._nodes(page, lower, upper):
            if kind == BRANCH:
                self._page(first | second << 16 | flag << 32, depth - 1)
            elif flag == BIG:
                if at + size + 8 > len(page):
                    raise self._damaged(f"page {number}")
                length = first | second << 16
                self._value(struct.unpack_from("<Q", page, at + size)[0], length)
            elif flag or at + size + (first | second << 16) > len(page):
                raise self._damaged(f"page {number}")

    def _nodes(
        self, page: bytes, lower: int, upper: int
    ) -> Iterator[tuple[int, int, int, int, int]]:
        """The two halves of a node's number, its flags, its key's size, and where the key is."""
        for place in range(HEADER, lower - 1, 2):
            at = struct.unpack_from("<H", page, place)[0]
            if at < upper or at + 8 > len(page):
                raise self._damaged("a node out of its page")
            first, second, flag, size = struct.unpack_from("<HHHH", page, at)
            if at + 8 + size > len(page):
                raise self._damaged("a key out of its page")
            yield first, second, flag, size, at + 8

    def _value(self, number: int, length: int) -> None:
        """The pages of a large value: there, and as many as it needs."""
        count = (HEADER + length + self.page_size - 1) // self.page_size
        if number < 2 or number + count - 1 > self.last:
            raise self._damaged(f"a value of {length} bytes at page {number}")
        own, _, flags, pages = struct.unpack("<QHHI", self._read(number * self.page_size, HEADER))
        if own != number or flags & ~0x10 != OVERFLOW or pages < count:
            raise self._damaged(f"page {number}")

    def _read(self, start: int, size: int) -> bytes:
        self.file.seek(start)
        return self.file.read(size)

    def _damaged(self, what: str) -> DataError:
        return DataError(f"{self.path}: a damaged LMDB data base: {what}")
