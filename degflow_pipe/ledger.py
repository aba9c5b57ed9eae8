"""The one record of what is done: a line a piece of work, written last, in segments of many.

    FOLDER/00000000.jsonl    SUM PLACE KEY {...}
                             SUM PLACE KEY -      the work of that key is no longer there

A line holds the sum of itself and of the segment's number; PLACE is that of the line in the
segment, so that what lies behind damage is still read, and a line that is gone is missed. The last
word on a key holds. A segment is closed when it is full, or by a line `-` of the key `-`; what a
writer that was killed left of the last line of the last segment was never done. A segment is read
once, from its beginning to its end; from then on the place of every record is known, and it is read
again by its place alone.

A writer that comes to its end leaves no line that does not count, and numbers in their order within
a segment, so that a ledger's bytes do not tell how often its writers were interrupted. There is one
writer at a time (see `folders.one_writer`); who only reads sees what was written when it looked,
and is told where a writer has changed it since. At a remote place the last segment is sent anew now
and then (see `places.log`), with the same bytes in the end: a writer that is killed loses the lines
since, whose work is done again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from degflow_pipe import files, json_files, logs
from degflow_pipe.errors import FileError

LINES = 4096
"""Lines of a segment."""
SEGMENT_BYTES = 32 * 1024**2
"""Bytes of a segment, at most, unless one line has more."""
SEGMENT_LIMIT = 256 * 1024**2
LINE_LIMIT = 16 * 1024**2
"""Bytes, at most, of a segment and of a line that are read."""
MOST_MISSING = 100
"""Segments in a row that may be missing; each is written anew."""
_SUM = 16
_LONGEST = 200
"""Characters of a key."""
_KEY = re.compile(rb"[!-~]{1,%d}" % _LONGEST)
_PLACE = re.compile(rb"0|[1-9][0-9]{0,8}")
_GONE = b"-"
_CLOSED = "-"
_BEGUN = re.compile(rb"[0-9a-f]{1,15}|[0-9a-f]{16}( [ -~]*)?")
"""What may be left of a line that was not written to its end."""


def key_of(name: str) -> str:
    """A name that is valid text, such as that of a photo, as a key; of a long one its beginning."""
    key = quote(name)
    if len(key) > _LONGEST:
        # Of no other name: after a quoted `%` come two digits.
        return f"{key[: _LONGEST // 2]}%-{hashlib.sha256(name.encode()).hexdigest()}"
    return "%2D" if key == _CLOSED else key


class Ledger:
    """The records of a folder by their keys: printable ASCII without blanks, such as the number of
    a unit.

    Open it as a context to write; the constructor reads. numbers: whether the keys are numbers,
    which are kept in their order. damage: what of it cannot be read, a sentence each; those records
    are not there, and their work is to be done again.

    Raises FileError where the folder cannot be read.
    """

    def __init__(self, folder: Path, numbers: bool = True) -> None:
        self.folder, self._numbers = folder, numbers
        self.damage: list[str] = []
        self._spoilt: set[int] = set()
        """Segments that are missing or damaged."""
        self._places: dict[str, tuple[int, int, int]] = {}
        """Segment, first byte and end of the line of each key."""
        self._lines = 0
        """Whole lines of the last segment."""
        self._end = 0
        """Bytes of them."""
        self._last = -1
        self._highest: dict[int, int] = {}
        """The highest number in each segment."""
        self._untidy: set[int] = set()
        """Segments with lines that no longer count, or out of their order."""
        self._open: logs.Log | None = None
        self._stamps: dict[int, tuple[int, int, int]] = {}
        """What tells that a segment was written to since it was read."""
        segments = self._segments()
        for number in segments:
            self._read(number, is_last=number == segments[-1])

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: object) -> bool:
        return str(key) in self._places

    def every_key(self) -> list[str]:
        """In no fixed order."""
        return list(self._places)

    def record(self, key: object) -> dict[str, Any]:
        """The last word on a key. Raises KeyError for none, FileError where it is damaged now."""
        segment, start, end = self._places[str(key)]
        if (held := self._held(segment)) is not None:
            return self._parsed(segment, str(key), held[start:end])
        (line,) = files.read_spans(self._path(segment), [(start, end)])
        return self._parsed(segment, str(key), line)

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every key and its record, a segment at a time, in the order of the segments."""
        wanted: dict[int, list[tuple[int, int, str]]] = {}
        for key, (segment, start, end) in self._places.items():
            wanted.setdefault(segment, []).append((start, end, key))
        for segment in sorted(wanted):
            data = self._bytes(segment)
            for start, end, key in sorted(wanted[segment]):
                yield key, self._parsed(segment, key, data[start:end])

    def _parsed(self, segment: int, key: str, data: bytes) -> dict[str, Any]:
        try:
            line = _parsed_line(segment, data)
            if line is None or line.key != key:
                if self._stamps.get(segment) != files.stamp(self._path(segment)):
                    raise FileError(
                        f"{self._path(segment)} was written to while it was read: run the same "
                        f"command again"
                    )
                raise ValueError("it was changed since it was first read")
            value = json_files.parse(line.record)
            if not isinstance(value, dict):
                raise ValueError("not a mapping of keys to values")
        except ValueError as error:
            raise FileError(
                f"{self._path(segment)} is damaged at {key[:60]}: {error}: delete it, and what it "
                f"tells of is made again"
            ) from error
        return value

    def __enter__(self) -> Self:
        """Make it whole for writing: damaged lines are left out."""
        for number in sorted(self._spoilt):
            self._write_anew(number)
        self.damage, self._spoilt = [], set()
        path = self._path(self._last)
        if self._last >= 0 and files.size(path) > self._end:  # half a line of a killed writer
            logs.opened(path, self._end).close()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._close()
        if kind is None:
            # Words that take back go last: until then what they take back may be there.
            for keep_gone in (True, False):
                for number in sorted(self._untidy):
                    self._write_anew(number, keep_gone)
            self._untidy = set()

    def _close(self) -> None:
        if self._open is not None:
            opened, self._open = self._open, None
            opened.close()

    def sync(self) -> None:
        """Let what was written outlast a power cut; the end of the context does too."""
        if self._open is not None:
            self._open.sync()

    def write(self, key: object, record: dict[str, Any]) -> None:
        """Say what is known of a key, in place of what was said before; within the context."""
        self._append(str(key), _text(record))

    def remove(self, key: object) -> None:
        """Take a key back; nothing happens where there is none."""
        if str(key) in self._places:
            self._append(str(key), _GONE)

    def _append(self, key: str, record: bytes) -> None:
        if not _KEY.fullmatch(key.encode()) or key == _CLOSED:
            raise ValueError(f"{key!r} is no key of a ledger")
        if len(record) > LINE_LIMIT - 1000:
            raise FileError(f"{self.folder}: what is to be noted of {key} has {len(record)} bytes")
        if self._open is None or self._lines >= LINES:
            self._next_segment()
        if self._end and self._end + len(record) > SEGMENT_BYTES:
            self._put(_CLOSED, _GONE)
            self._lines = LINES
            self._next_segment()
        self._put(key, record)

    def _put(self, key: str, record: bytes) -> None:
        """One line at the end of the segment that is open."""
        assert self._open is not None
        line = _line(self._last, self._lines, key, record)
        self._open.add(line)
        self._note(self._last, key, record, self._end, self._end + len(line))
        self._lines, self._end = self._lines + 1, self._end + len(line)

    def _next_segment(self) -> None:
        """Go on in the last segment where it has room, else in a new one."""
        self._close()
        if self._last < 0 or self._lines >= LINES:
            self._last, self._lines, self._end = self._last + 1, 0, 0
        self._open = logs.opened(self._path(self._last), self._end)

    def _segments(self) -> list[int]:
        names = files.names(self.folder, ".jsonl")
        return [int(name[:8]) for name in names if re.fullmatch(r"[0-9]{8}\.jsonl", name)]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.jsonl"

    def _bytes(self, number: int) -> bytes:
        """What of a segment is read: none is longer than the limit."""
        if (held := self._held(number)) is not None:
            return held
        (data,) = files.read_spans(self._path(number), [(0, SEGMENT_LIMIT)])
        return data

    def _held(self, number: int) -> bytes | None:
        """The segment that is written to, where not all of it is in its file yet."""
        return self._open.held() if self._open is not None and number == self._last else None

    def _spoil(self, number: int, what: str) -> None:
        self.damage.append(f"{self._path(number)} is {what}")
        self._spoilt.add(number)

    def _read(self, number: int, is_last: bool) -> None:
        path = self._path(number)
        if number > self._last + 1 + MOST_MISSING:
            raise FileError(f"{path} is damaged: all segments before it are missing: delete it")
        for missing in range(self._last + 1, number):
            self._spoil(missing, "missing")
        self._last, self._lines, self._end = number, 0, 0
        self._stamps[number] = files.stamp(path)
        data = self._bytes(number)
        wrong: list[int] = []
        """Lines, counted from 1, that are damaged or not where they should be."""
        closed = False
        for i, (start, end, line) in enumerate(_lines_of(number, data), 1):
            if line is None or line.place != self._lines:
                wrong.append(i)
            if line is not None:
                closed = line.key == _CLOSED
                self._lines = line.place + 1
                self._note(number, line.key, line.record, start, end)
            self._end = end
        tail = data[self._end :]
        torn = is_last and _BEGUN.fullmatch(tail) and not _parsed_line(number, tail[:-1] + b"\n")
        if wrong or (tail and not torn) or self._stamps[number][1] > SEGMENT_LIMIT:
            at = f" at line {wrong[0]}" if wrong else " at its end"
            more = f" and {len(wrong) - 1} others" if len(wrong) > 1 else ""
            self._spoil(number, f"damaged{at}{more}")
        elif not is_last and self._lines < LINES and not closed:
            self._spoil(number, f"damaged: it has {self._lines} lines of {LINES}")
        if closed:
            self._lines = LINES

    def _note(self, number: int, key: str, record: bytes, start: int, end: int) -> None:
        """Where the line of a key lies, in place of an earlier one."""
        if (before := self._places.get(key)) is not None:
            self._untidy.add(before[0])
        if record == _GONE:
            self._places.pop(key, None)
            if key != _CLOSED:
                self._untidy.add(number)
            return
        self._places[key] = (number, start, end)
        if self._numbers and key.isdecimal():
            highest = self._highest.get(number, -1)
            if int(key) < highest:
                self._untidy.add(number)
            self._highest[number] = max(highest, int(key))

    def _write_anew(self, number: int, keep_gone: bool = True) -> None:
        """A segment without lines that are damaged or no longer count, in order, and closed where
        it is not the last.

        keep_gone: keep words that take a key back, as an earlier segment may have the key.
        """
        kept: dict[str, bytes] = {}
        data = self._bytes(number) if files.exists(self._path(number)) else b""
        for start, end, line in _lines_of(number, data):
            if line is not None and line.key != _CLOSED:
                in_place = self._places.get(line.key) == (number, start, end)
                kept.pop(line.key, None)
                if in_place or (line.record == _GONE and keep_gone):
                    kept[line.key] = line.record
        if self._numbers:
            kept = dict(sorted(kept.items(), key=lambda pair: (len(pair[0]), pair[0])))
        if number != self._last and len(kept) < LINES:
            kept[_CLOSED] = _GONE
        lines = [_line(number, i, key, record) for i, (key, record) in enumerate(kept.items())]
        files.write_bytes(self._path(number), b"".join(lines))
        start = 0
        for line_bytes, (key, record) in zip(lines, kept.items(), strict=True):
            end = start + len(line_bytes)
            if record != _GONE:
                self._places[key] = (number, start, end)
            start = end
        self._stamps[number] = files.stamp(self._path(number))
        if number == self._last:
            self._lines, self._end = len(kept), start


class _Line(NamedTuple):
    place: int
    key: str
    record: bytes


def _lines_of(segment: int, data: bytes) -> Iterator[tuple[int, int, _Line | None]]:
    """First byte and end of each line, newline included, and what it says: nothing where it is
    damaged or comes again.
    """
    start, place = 0, 0
    while end := data.find(b"\n", start) + 1:
        line = _parsed_line(segment, data[start:end])
        if line is not None and line.place < place:
            line = None
        place = place if line is None else line.place + 1
        yield start, end, line
        start = end


def _parsed_line(segment: int, data: bytes) -> _Line | None:
    """A whole line of that segment; None for anything else."""
    digest, _, text = data[:-1].partition(b" ")
    parts = text.split(b" ", 2)
    if len(parts) != 3 or len(data) > LINE_LIMIT or data[-1:] != b"\n":
        return None
    place, key, record = parts
    if digest != _sum_of(segment, text) or not _PLACE.fullmatch(place):
        return None
    return _Line(int(place), key.decode(), record) if _KEY.fullmatch(key) else None


def _line(segment: int, place: int, key: str, record: bytes) -> bytes:
    """A whole line, its sum first."""
    text = b"%d %b %b" % (place, key.encode(), record)
    return b"%b %b\n" % (_sum_of(segment, text), text)


def _sum_of(segment: int, text: bytes) -> bytes:
    """Of a line, without the sum that stands before it."""
    return hashlib.sha256(b"%d %b" % (segment, text)).hexdigest()[:_SUM].encode()


def _text(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
