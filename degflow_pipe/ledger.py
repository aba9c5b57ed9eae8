"""The one record of what is done: a line a piece of work, written last, in segments of many.

    FOLDER/00000000.jsonl    SUM KEY {...}
                             SUM KEY -          the work of that key is no longer there

A line holds the sum of itself, of its place in the segment and of the segment's number. The last
word on a key holds. A segment is closed when it is full; what a writer that was killed left of the
last line of the last segment was never done. A segment is read once, from its beginning to its end;
from then on the place of every record is known, and it is read again by its place alone.

A writer that comes to its end leaves no line that does not count, and numbers in their order within
a segment, so that a ledger's bytes do not tell how often its writers were interrupted. There is one
writer at a time (see `folders.one_writer`); who only reads sees what was written when it looked.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from degflow_pipe import files
from degflow_pipe.errors import FileError

LINES = 4096
"""Lines of a segment."""
SEGMENT_LIMIT = 256 * 1024**2
LINE_LIMIT = 16 * 1024**2
"""Bytes, at most, of a segment and of a line that are read."""
SEGMENTS = 10**6
_SUM = 16
_GONE = b"-"
_FILLER = "-"
"""Key of lines that a closed segment is filled up with."""


class Ledger:
    """The records of a folder by their keys: texts without blanks, such as the number of a unit.

    Open it as a context to write; the constructor reads. numbers: whether the keys are numbers,
    which are kept in their order. damage: what of it cannot be read, a
    sentence each; those records are not there, and their work is to be done again.

    Raises FileError where the folder cannot be read.
    """

    def __init__(self, folder: Path, numbers: bool = True) -> None:
        self.folder, self._numbers = folder, numbers
        self.damage: list[str] = []
        self._places: dict[str, tuple[int, int, int]] = {}
        """Segment, first byte and end of the record of each key."""
        self._lines = 0
        """Whole lines of the last segment."""
        self._end = 0
        """Bytes of them."""
        self._last = -1
        self._highest: dict[int, int] = {}
        """The highest number in each segment."""
        self._untidy: set[int] = set()
        """Segments with lines that no longer count, or out of their order."""
        self._open: int | None = None
        for number in self._segments():
            self._read(number)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: object) -> bool:
        return str(key) in self._places

    def every_key(self) -> list[str]:
        """In the order in which they were first written."""
        return list(self._places)

    def record(self, key: object) -> dict[str, Any]:
        """The last word on a key. Raises KeyError for none, FileError where it is damaged now."""
        segment, start, end = self._places[str(key)]
        path = self._path(segment)
        with files.reading(path, SEGMENT_LIMIT) as file:
            file.seek(start)
            return self._parsed(path, str(key), file.read(end - start))

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every key and its record, a segment at a time, in the order of the segments."""
        wanted: dict[int, list[tuple[int, int, str]]] = {}
        for key, (segment, start, end) in self._places.items():
            wanted.setdefault(segment, []).append((start, end, key))
        for segment in sorted(wanted):
            path = self._path(segment)
            data = files.read_bytes(path, SEGMENT_LIMIT)
            for start, end, key in sorted(wanted[segment]):
                yield key, self._parsed(path, key, data[start:end])

    def _parsed(self, path: Path, key: str, data: bytes) -> dict[str, Any]:
        try:
            value = files.parse_json(data)
            if not isinstance(value, dict):
                raise ValueError("not a mapping of keys to values")
        except ValueError as error:
            raise FileError(f"{path} is damaged at {key}: {error}") from error
        return value

    def __enter__(self) -> Self:
        """Make it whole for writing: damaged lines are left out."""
        for number in range(self._last + 1):
            if self._damaged(number):
                self._write_anew(number)
        self.damage = []
        if self._last >= 0:  # half a line of a writer that was killed
            path = self._path(self._last)
            with files.named(path, "write"):
                os.truncate(path, self._end)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close()
        if kind is None:
            # Those that take back go last: until then the lines that they take back may be there.
            for keep_gone in (True, False):
                for number in sorted(self._untidy):
                    self._write_anew(number, keep_gone)
            self._untidy = set()

    def _close(self) -> None:
        if self._open is not None:
            opened, self._open = self._open, None
            with files.named(self.folder, "write"):
                os.fsync(opened)
                os.close(opened)

    def sync(self) -> None:
        """Let what was written outlast a power cut; the end of the context does too."""
        if self._open is not None:
            with files.named(self.folder, "write"):
                os.fsync(self._open)

    def write(self, key: object, record: dict[str, Any]) -> None:
        """Say what is known of a key, in place of what was said before; within the context."""
        self._append(str(key), _text(record))

    def remove(self, key: object) -> None:
        """Take a key back; nothing happens where there is none."""
        if str(key) in self._places:
            self._append(str(key), _GONE)

    def _append(self, key: str, record: bytes) -> None:
        if not re.fullmatch(r"[^\s]+", key):
            raise ValueError(f"{key!r} is no key of a ledger")
        if self._open is None or self._lines >= LINES:
            self._next_segment()
        assert self._open is not None
        line = _line(self._last, self._lines, key.encode(), record)
        with files.named(self._path(self._last), "write"):
            left = line
            while left:
                left = left[os.write(self._open, left) :]
        self._note(self._last, key, record, self._end)
        self._lines, self._end = self._lines + 1, self._end + len(line)

    def _next_segment(self) -> None:
        """Go on in the last segment where it has room, else in a new one."""
        self._close()
        if self._last < 0 or self._lines >= LINES:
            self._last, self._lines, self._end = self._last + 1, 0, 0
        files.make_folder(self.folder)
        path = self._path(self._last)
        with files.named(path, "write"):
            self._open = files.open_to_write(path)
            os.lseek(self._open, 0, os.SEEK_END)

    def _segments(self) -> list[int]:
        names = files.names(self.folder, ".jsonl")
        return [int(name[:8]) for name in names if re.fullmatch(r"\d{8}\.jsonl", name)]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.jsonl"

    def _read(self, number: int) -> None:
        path = self._path(number)
        if number > SEGMENTS:
            raise FileError(f"{path}: no ledger has so many segments")
        if number != self._last + 1:
            self.damage.append(f"{self._path(self._last + 1)} is missing")
        self._last, self._lines, self._end = number, 0, 0
        is_last = not files.exists(self._path(number + 1))
        data = files.read_bytes(path, SEGMENT_LIMIT)
        start = 0
        while start < len(data):
            end = data.find(b"\n", start) + 1
            if not end and is_last and not self._fits(number, data[start:-1] + b"\n"):
                break  # what was being written when its writer was killed
            line = data[start : end or len(data)]
            self._take(number, line, start, path)
            self._lines, start = self._lines + 1, end or len(data)
            self._end = start
        if not is_last and self._lines != LINES:
            self.damage.append(f"{path} is damaged: it has {self._lines} lines of {LINES}")

    def _take(self, number: int, line: bytes, start: int, path: Path) -> None:
        if not self._fits(number, line):
            self.damage.append(f"{path} is damaged at line {self._lines + 1}")
            return
        parts = _parts(line)
        self._note(number, parts[1].decode(errors="replace"), parts[2], start)

    def _fits(self, number: int, line: bytes) -> bool:
        """Whether it is the next line of the segment, whole."""
        parts = _parts(line)
        return (
            len(line) <= LINE_LIMIT
            and len(parts) == 3
            and line == _line(number, self._lines, parts[1], parts[2])
        )

    def _note(self, number: int, key: str, record: bytes, start: int) -> None:
        """Where the record of a line that begins at `start` lies, in place of an earlier one."""
        if (before := self._places.get(key)) is not None:
            self._untidy.add(before[0])
        if record == _GONE:
            self._places.pop(key, None)
            if key != _FILLER:
                self._untidy.add(number)
            return
        if self._numbers and key.isdecimal():
            highest = self._highest.get(number, -1)
            if int(key) < highest:
                self._untidy.add(number)
            self._highest[number] = max(highest, int(key))
        first = start + _SUM + 1 + len(key.encode()) + 1
        self._places[key] = (number, first, first + len(record))

    def _damaged(self, number: int) -> bool:
        return any(told.startswith(f"{self._path(number)} is ") for told in self.damage)

    def _write_anew(self, number: int, keep_gone: bool = True) -> None:
        """A segment without lines that are damaged or no longer count, in order.

        keep_gone: keep words that take a key back, as an earlier segment may have it. A closed
        segment is filled up, so that it has as many lines as any.
        """
        kept: dict[bytes, bytes] = {}
        path = self._path(number)
        data = files.read_bytes(path, SEGMENT_LIMIT) if files.exists(path) else b""
        for i, line in enumerate(data.split(b"\n")):
            line, parts = line + b"\n", _parts(line)
            if len(parts) != 3 or line != _line(number, i, parts[1], parts[2]):
                continue
            key = parts[1].decode(errors="replace")
            kept.pop(parts[1], None)
            gone = parts[2] == _GONE
            if (gone and keep_gone and key != _FILLER) or (
                not gone and key in self._places and self._places[key][0] == number
            ):
                kept[parts[1]] = parts[2]
        pairs = list(kept.items())
        if self._numbers:
            pairs.sort(key=lambda pair: (not pair[0].isdigit(), len(pair[0]), pair[0]))
        if number != self._last:
            pairs += [(_FILLER.encode(), _GONE)] * (LINES - len(pairs))
        lines = [_line(number, i, key, record) for i, (key, record) in enumerate(pairs)]
        files.write_bytes(path, b"".join(lines))
        start = 0
        for line, (name, record) in zip(lines, pairs, strict=True):
            if record != _GONE:
                first = start + _SUM + 1 + len(name) + 1
                self._places[name.decode(errors="replace")] = number, first, first + len(record)
            start += len(line)
        if number == self._last:
            self._lines, self._end = len(pairs), start


def _parts(line: bytes) -> list[bytes]:
    """Sum, key and record of a line."""
    return line.rstrip(b"\n").split(b" ", 2)


def _line(segment: int, at: int, key: bytes, record: bytes) -> bytes:
    """A whole line, its sum first."""
    digest = hashlib.sha256(b"%d %d %b %b" % (segment, at, key, record)).hexdigest()[:_SUM]
    return b"%b %b %b\n" % (digest.encode(), key, record)


def _text(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
