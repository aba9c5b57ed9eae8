"""Photos in Parquet files, as `datasets` of Hugging Face writes them: a row each, in a column of
struct<bytes, path> or of plain bytes. A path in a row is not followed.

A row is found by its row group, which is read from its start on: whoever asks for rows in their
order reads each group once. Source: huggingface/datasets, features/image.py (the struct), and
features.py (the key `huggingface` of the schema).
"""

from __future__ import annotations

import io
import threading
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

from degflow_pipe import files, json_files
from degflow_pipe.decoding.damage import is_lack
from degflow_pipe.decoding.decode import header_size
from degflow_pipe.errors import DegflowError, FileError, PhotoError, UsageError
from degflow_pipe.formats.parquet_layout import FOOTER, Group, check_pages, read_layout
from degflow_pipe.formats.text import printable
from degflow_pipe.sources.photo_file import PhotoFile

VALUE = "Value"
"""What Hugging Face calls a column that is of no kind of its own, such as Image or Audio."""
LOOKED = 1000
"""Rows that are looked at for the first one that is not null."""
COLUMNS = 10**4
LONGEST = 100
"""Characters of a column's name."""
BUFFER = 2**20
KEPT = 128 * 1024**2
"""Bytes of rows that were read lately, which are kept for those who ask for them again."""
MANY = 10**5
"""Of them, at most."""
OPEN = 2
"""Row groups that are being read, in a process."""
BROKEN = 100
"""Files of which it is remembered that they are."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Cell:
    """A row of a Parquet file, from 0, in one of its columns of pictures."""

    name: str
    row: int
    column: str

    @property
    def size(self) -> None:
        return None

    @contextmanager
    def opened(self, path: Path) -> Iterator[io.BufferedIOBase]:
        data = LATELY.value(path, self.column, self.row)
        if data is None:
            raise PhotoError(
                f"{printable(f'{path}::{self.name}')}: no bytes are in this row: it is null, or a "
                f"path alone, which is not followed"
            )
        yield io.BytesIO(data)


def photos_in_parquet(path: Path, name: str, others: dict[str, int]) -> Iterator[PhotoFile]:
    """A photo for each row of each column of pictures, column by column; none where there is no
    such column. What cannot be read is a photo with a problem.

    Columns of pictures are those that Hugging Face's own notes in the file call so, and those of
    which nothing is noted but the type, whose first value that is not null is one by its header.
    Raises UsageError where pyarrow is not installed, FileError as `files.reading`.
    """
    try:
        with files.reading(path) as file:
            parquet, groups = _opened(file, path)
            rows = sum(group.rows for group in groups)
            columns = _columns(parquet, path, rows)
    except PhotoError as error:
        problem = str(error).removeprefix(f"{printable(str(path))}: ")
        yield PhotoFile(path, name, problem=problem)
        return
    for column in columns:
        for row in range(rows):
            inside = str(row) if len(columns) == 1 else f"{row}.{column}"
            yield PhotoFile(path, name, Cell(inside, row, column))


def require_pyarrow(path: Path) -> None:
    """Raises UsageError where it is not installed."""
    if find_spec("pyarrow") is None:
        raise UsageError(
            f"{printable(str(path))}: Parquet files are read by pyarrow: pip install "
            f"'degflow-pipe[parquet]'"
        )


def _told(path: Path, work: Callable[[], Result]) -> Result:
    """What the work returns; raises PhotoError for what it finds wrong with the file, FileError
    where memory or open files do not do.
    """
    try:
        return work()
    except DegflowError:
        raise
    # Arrow raises errors of its own, OSError and ValueError, and nothing of ours runs in here but
    # what reads the file.
    except Exception as error:
        if is_lack(error):
            raise FileError(f"{path}: cannot read: {error}") from error
        (first, *_) = str(error).strip().splitlines() or [type(error).__name__]
        raise PhotoError(
            f"{printable(str(path))}: damaged, or no Parquet file that can be read: "
            f"{printable(first)[:200]}"
        ) from error


def _opened(file: IO[bytes], path: Path) -> tuple[Any, list[Group]]:
    """pyarrow's ParquetFile, and its row groups.

    Those are not asked of pyarrow, as what is wrong with them ends the process there.
    """
    require_pyarrow(path)
    import pyarrow.parquet as pq

    def work() -> tuple[Any, list[Group]]:
        groups = _layout(path, files.stamp(path))
        found = pq.ParquetFile(
            file,
            buffer_size=BUFFER,
            pre_buffer=False,
            page_checksum_verification=True,
            thrift_string_size_limit=FOOTER,
            thrift_container_size_limit=10**6,
        )
        leaves = len(found.schema)
        if leaves > COLUMNS:
            raise ValueError(f"{leaves} columns; the limit is {COLUMNS}")
        if any(len(group.columns) != leaves for group in groups):
            raise ValueError("a group that does not have its columns")
        return found, groups

    return _told(path, work)


@lru_cache(maxsize=2)
def _layout(path: Path, stamp: tuple[int, int, int]) -> list[Group]:
    """The row groups of a file, as long as it is the same one."""
    with files.reading(path) as file:
        return read_layout(file)


def _columns(parquet: Any, path: Path, rows: int) -> list[str]:
    """The columns of pictures, in the file's order."""
    schema = _told(path, lambda: parquet.schema_arrow)
    said = _said(schema.metadata or {})
    names = Counter(schema.names)
    found = []
    for field in schema:
        if _leaf(field) is None or len(field.name) > LONGEST or names[field.name] > 1:
            continue
        kind = said.get(field.name, VALUE)
        if kind == "Image" or (kind == VALUE and _is_picture(path, field.name, rows)):
            found.append(field.name)
    return found


def _said(metadata: dict[bytes, bytes]) -> dict[str, str]:
    """The types of columns as Hugging Face notes them, by name."""
    try:
        features = json_files.parse(metadata[b"huggingface"])["info"]["features"]
        return {
            name: str(feature["_type"]) for name, feature in features.items() if "_type" in feature
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}  # a stranger's file may say anything there


def _leaf(field: Any) -> str | None:
    """The place of the bytes in a column; None where its type has none."""
    import pyarrow as pa

    def is_binary(kind: Any) -> bool:
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    if is_binary(field.type):
        return str(field.name)
    if pa.types.is_struct(field.type):
        inside = [field.type.field(i) for i in range(field.type.num_fields)]
        if [is_binary(one.type) for one in inside if one.name == "bytes"] == [True]:
            return f"{field.name}.bytes"
    return None


def _is_picture(path: Path, column: str, rows: int) -> bool:
    """Whether the first value of a column is one, by its header."""
    for row in range(min(rows, LOOKED)):
        if (value := LATELY.value(path, column, row)) is not None:
            try:
                header_size(io.BytesIO(value), str(path))
            except PhotoError:
                return False
            return True
    return False


class _Group:
    """A row group that is read row by row. at: the next row, by its number in the file; end: where
    the next group begins.
    """

    def __init__(self, path: Path, column: str, row: int) -> None:
        self._path, self._column, self._stack = path, column, ExitStack()
        self._batches: Iterator[Any] | None = None
        try:
            self._file = self._stack.enter_context(files.reading(path))
            self._parquet, groups = _opened(self._file, path)
            ends = list(accumulate(group.rows for group in groups))
            rows = ends[-1] if ends else 0
            if row >= rows:
                raise PhotoError(f"{printable(str(path))} has {rows} rows by now: it was changed")
            self._number = bisect_right(ends, row)
            self.end = ends[self._number]
            self.at = ends[self._number - 1] if self._number else 0
            self._group = groups[self._number]
        except BaseException:
            self._stack.close()
            raise

    def next(self) -> bytes | None:
        """The bytes of the next row, None where it is null."""
        value = _told(self._path, self._next)
        self.at += 1
        return value

    def _next(self) -> bytes | None:
        if self._batches is None:
            self._batches = self._begun()
        if (batch := next(self._batches, None)) is None:
            raise ValueError("a group has fewer rows than it says")
        value = batch.column(self._column)[0].as_py()
        return value["bytes"] if isinstance(value, dict) else value

    def _begun(self) -> Iterator[Any]:
        leaf, schema = _leaf(self._parquet.schema_arrow.field(self._column)), self._parquet.schema
        places = [i for i in range(len(schema)) if schema.column(i).path == leaf]
        if len(places) != 1:
            raise ValueError(f"{len(places)} columns are called {leaf}")
        check_pages(self._file, self._group.columns[places[0]], self._group.rows)
        batches: Iterator[Any] = self._parquet.iter_batches(
            1, row_groups=[self._number], columns=[leaf], use_threads=False
        )
        return batches

    def close(self) -> None:
        self._batches = self._parquet = None
        self._stack.close()


class _Key(NamedTuple):
    """Of which column; stamp: of the file as it was."""

    path: Path
    stamp: tuple[int, int, int]
    column: str


class Lately:
    """Rows that were read lately, and the groups that are being read.

    Each process has its own. Threads ask for rows nearly in order: they wait for each other, and
    find what went by.
    """

    def __init__(self) -> None:
        self._values: OrderedDict[tuple[_Key, int], bytes | None] = OrderedDict()
        self._size = 0
        self._groups: list[tuple[_Key, _Group]] = []
        self._broken: dict[_Key, dict[int, tuple[int, str]]] = {}
        """From which row up to before which one a group cannot be read, and why."""
        self._lock = threading.Lock()

    def value(self, path: Path, column: str, row: int) -> bytes | None:
        """The bytes of a row, None where there are none. Raises PhotoError, and FileError."""
        key = _Key(path, files.stamp(path), column)
        with self._lock:
            if (key, row) in self._values:
                return self._values[key, row]
            for first, (end, why) in self._broken.get(key, {}).items():
                if first <= row < end:
                    raise PhotoError(why)
            group = self._group(key, row)
            try:
                value = None
                while group.at <= row:
                    value = group.next()
                    self._keep((key, group.at - 1), value)
            except BaseException as error:
                if isinstance(error, PhotoError):
                    if len(self._broken) > BROKEN:
                        self._broken.clear()
                    self._broken.setdefault(key, {})[group.at] = group.end, str(error)
                self._drop(group)
                raise
            if group.at == group.end:
                self._drop(group)
            return value

    def _drop(self, group: _Group) -> None:
        group.close()
        self._groups = [pair for pair in self._groups if pair[1] is not group]

    def _group(self, key: _Key, row: int) -> _Group:
        """The one that is nearest before the row, or a new one."""
        near = [pair for pair in self._groups if pair[0] == key and pair[1].at <= row < pair[1].end]
        if near:
            pair = max(near, key=lambda pair: pair[1].at)
            self._groups.remove(pair)
        else:
            while len(self._groups) >= OPEN:
                self._drop(self._groups[0][1])
            pair = key, _Group(key.path, key.column, row)
        self._groups.append(pair)
        return pair[1]

    def _keep(self, place: tuple[_Key, int], value: bytes | None) -> None:
        self._size += len(value or b"") - len(self._values.pop(place, None) or b"")
        self._values[place] = value
        while self._size > KEPT or len(self._values) > MANY:
            _, gone = self._values.popitem(last=False)
            self._size -= len(gone or b"")


LATELY = Lately()
"""This process's."""
