"""Reading, listing and writing remote places by fsspec.

What a file system or its libraries raise is told as a FileError that names the place: see
`telling`. Nothing is remembered between calls but connections, which are fsspec's own: what others
have written is seen.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

import fsspec
from fsspec.dircache import DirCache
from fsspec.registry import known_implementations, registry
from fsspec.spec import AbstractBufferedFile

from degflow_pipe.errors import FileError, UsageError
from degflow_pipe.places import guard
from degflow_pipe.places.place import Remote
from degflow_pipe.places.telling import is_nothing, status_of, told

WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"})
"""Schemes whose files appear when they are whole; others are read alone."""
FIRST, AHEAD = 256 * 1024, 8 * 1024**2
"""Bytes that are read at once, at first and at most, where less is asked for: a request takes as
long as some hundreds of KiB."""
KEPT = 16 * 1024**2
"""Bytes of a file that is written by one request; of a larger one that is sent in parts."""
NEAR = 256 * 1024
"""Ranges of a file that lie nearer to each other are read by one request."""
DELETED = 1000
"""Objects that are deleted at once."""
NO_PATH = "(// in the name)"
RANGELESS = 64 * 1024**2
"""Bytes of a file that is read whole for each range of it, where an HTTP server gives no ranges."""


def opened(place: Remote) -> tuple[Any, str]:
    """The file system of a place, and what it calls it. Raises UsageError where there is none."""
    package = _package(place)
    if find_spec(package) is None:
        raise UsageError(
            f"{place}: {place.scheme}:// needs the package {package}: pip install {package}"
        )
    # Listings that are remembered would not have what other processes write. Not every file system
    # can be told so: some pass what they do not know to what connects, which refuses it.
    how = {"use_listings_cache": False} if place.scheme in WHOLE else {}

    def call() -> tuple[Any, str]:
        fs, path = fsspec.url_to_fs(place.url, **how)
        if isinstance(cache := getattr(fs, "dircache", None), DirCache):
            cache.use_listings_cache = False
        return fs, path

    return told(place, "open it", call, idempotent=True)


def _package(place: Remote) -> str:
    """What opens a place. Raises UsageError where nothing does."""
    known = known_implementations.get(place.scheme)
    if known is None and place.scheme not in registry:
        raise UsageError(f"{place}: fsspec has no file system for {place.scheme}://")
    return known["class"].partition(".")[0] if known else "fsspec"


def require_writable(place: Remote) -> None:
    """Raises UsageError where files could be seen half, FileError where a lock was lost."""
    _package(place)
    if place.scheme not in WHOLE:
        raise UsageError(
            f"{place}: {place.scheme}:// is read only, as a file there may be seen before it is "
            f"whole: write to a folder and copy that ({', '.join(sorted(WHOLE))} are written to)"
        )
    guard.require(place)


# ---- what is there


def info(place: Remote) -> dict[str, Any] | None:
    """fsspec's `info`; None where nothing is there."""
    fs, path = opened(place)

    def look() -> dict[str, Any] | None:
        try:
            return cast("dict[str, Any]", fs.info(path))
        except NotADirectoryError:
            return None
        except FileNotFoundError as error:
            if is_nothing(error):
                return None
            raise

    return told(place, "look for it", look, idempotent=True)


def is_folder(place: Remote) -> bool:
    """Whether anything lies below the place."""
    found = info(place)
    return found is not None and found.get("type") == "directory"


def is_file(place: Remote) -> bool:
    found = info(place)
    return found is not None and found.get("type") == "file"


def size(place: Remote) -> int:
    """Bytes of a file."""
    found = info(place)
    if found is None:
        raise FileError(f"{place}: cannot read: nothing is there")
    if found.get("type") != "file" or not isinstance(found.get("size"), int):
        what = "it is a folder" if found.get("type") == "directory" else "its size is not told"
        raise FileError(f"{place}: cannot read: {what}")
    return int(found["size"])


def stamp(place: Remote) -> tuple[int, int, int]:
    """See `files.stamp`."""
    found = info(place)
    if found is None:
        raise FileError(f"{place}: cannot read: nothing is there")
    tells = ("ETag", "etag", "md5Hash", "LastModified", "created", "mtime")
    digest = hashlib.sha256(repr([found.get(key) for key in tells]).encode()).digest()
    return 0, int(found.get("size") or 0), int.from_bytes(digest[:8], "big")


def sizes(folder: Remote) -> dict[str, int]:
    """Bytes of all in a folder by its name, folders being 0; nothing where there is none."""
    fs, path = opened(folder)

    def listed() -> list[dict[str, Any]]:
        try:
            return cast("list[dict[str, Any]]", fs.ls(path, detail=True))
        except NotADirectoryError:
            return []
        except FileNotFoundError as error:
            if is_nothing(error):
                return []
            raise

    below = path.rstrip("/") + "/"
    found = told(folder, "list", listed, idempotent=True)
    return {
        one["name"].rstrip("/").rpartition("/")[2]: int(one.get("size") or 0)
        for one in found
        # The place itself is listed where it is a file, or has a mark of its own.
        if one["name"].rstrip("/").startswith(below) and one["name"].rstrip("/") != below[:-1]
    }


def walk(folder: Remote, left_out: dict[str, int] | None = None) -> Iterator[Remote]:
    """All files below a folder, in the order in which those of this machine come.

    left_out: takes the number of those with `//` in their names, which no path has, under NO_PATH.
    """
    fs, path = opened(folder)
    below = path.rstrip("/") + "/"
    found = told(folder, "list", lambda: cast("list[str]", fs.find(path)), idempotent=True)
    rest = [name.removeprefix(below).split("/") for name in found if name.startswith(below)]
    for parts in sorted(rest, key=_by_folder):
        if any(part.startswith(".") for part in parts):
            continue
        if all(parts):
            yield folder.joinpath(*parts)
        elif parts[-1] and left_out is not None:  # else it is the mark of a folder
            left_out[NO_PATH] = left_out.get(NO_PATH, 0) + 1


def _by_folder(parts: list[str]) -> list[tuple[bool, str]]:
    """The files of a folder come before its folders."""
    return [(i < len(parts) - 1, part) for i, part in enumerate(parts)]


def matches(pattern: Remote) -> list[Remote]:
    """Files and folders that a glob names, sorted."""
    fs, path = opened(pattern)
    depth = next((i for i, part in enumerate(pattern.parts) if set(part) & set("*?[")), None)
    if depth is None:
        return [pattern] if info(pattern) is not None else []
    if depth < 2:  # it would be of all places that the credentials are good for
        return []
    root = Remote(*pattern.parts[:depth])
    below = opened(root)[1].rstrip("/") + "/"
    found = told(pattern, "list", lambda: cast("list[str]", fs.glob(path)), idempotent=True)
    return [root / name.removeprefix(below) for name in sorted(found) if name.startswith(below)]


# ---- reading


def read(place: Remote, limit: int) -> bytes:
    """A whole file, by one request. Raises FileError where it has more than `limit` bytes."""
    data = read_span(place, 0, limit + 1)
    if len(data) > limit:
        raise FileError(f"{place}: more bytes than the limit of {limit}")
    return data


def read_span(place: Remote, start: int, end: int) -> bytes:
    """Bytes `start` to `end` of a file, fewer where it ends before."""
    if end <= start:
        return b""
    fs, path = opened(place)

    def got() -> bytes:
        asked: dict[str, Any] = {"start": start, "end": end}
        answer = _Answer(place, end)
        if place.scheme in ("http", "https"):
            asked["raise_for_status"] = answer.look  # which aiohttp calls before it reads on
        try:
            data = cast("bytes", fs.cat_file(path, **asked))
        except FileNotFoundError:
            raise
        # A range behind the end is an error, and so is any of an empty file; see `told` for what
        # is raised.
        except Exception as error:
            status = status_of(error)
            if status == BEHIND or (status is None and isinstance(error, OSError)):
                length = fs.info(path).get("size")
                if length is not None and length <= start:
                    return b""
            raise
        return data[start:end] if answer.whole else data

    data = told(place, "read", got, idempotent=True)
    if len(data) > end - start:
        raise FileError(f"{place}: cannot read: its server gives no ranges of it: copy it here")
    return data


BEHIND = 416
"""What an HTTP server answers who is asked for what is behind a file's end."""


class _Answer:
    """Whether an HTTP server gives the whole file where it is asked for a range up to `end`."""

    def __init__(self, place: Remote, end: int) -> None:
        self.whole = False
        self._place, self._end = place, end

    async def look(self, response: Any) -> None:
        """Raises FileError for a file that is too large to be read for each range of it."""
        self.whole = response.status == 200
        length = response.content_length
        if self.whole and length is not None and length > max(self._end, RANGELESS):
            raise FileError(
                f"{self._place}: cannot read: its server gives no ranges of it, and it has "
                f"{length} bytes: copy it here"
            )


def read_spans(place: Remote, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """Bytes from `start` to `end` of each span, by one request where they lie near each other."""
    groups: list[list[int]] = []
    for start, end in sorted(spans):
        if groups and start - groups[-1][1] <= NEAR:
            groups[-1][1] = max(groups[-1][1], end)
        else:
            groups.append([start, end])
    parts = {start: read_span(place, start, end) for start, end in groups}

    def cut(start: int, end: int) -> bytes:
        first = max(one for one in parts if one <= start)
        return parts[first][start - first : end - first]

    return [cut(start, end) for start, end in spans]


@contextmanager
def reading(
    place: Remote, limit: int | None = None, span: tuple[int, int] | None = None
) -> Iterator[BufferedReader]:
    """An open binary file to read and seek in, by ranges; raises FileError naming it.

    span: of the file these bytes alone, from the first to before the last.
    """
    length = size(place) if span is None else span[1] - span[0]
    if limit is not None and length > limit:
        raise FileError(f"{place}: {length} bytes, more than the limit of {limit}")
    first = 0 if span is None else span[0]
    ranges = Ranges(place, lambda start, end: read_span(place, first + start, first + end), length)
    with BufferedReader(cast("Any", ranges)) as file:
        yield file


class Ranges(io.RawIOBase):
    """A file as ranges of it: the more is read in a row, the more is read at once.

    read: the bytes from one place to before another. length: of all of them.
    """

    def __init__(self, place: Path, read: Callable[[int, int], bytes], length: int) -> None:
        self._place, self._read, self._length, self._at = place, read, length, 0
        self._held, self._start, self._ahead = b"", 0, FIRST

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._length)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        wanted = min(len(buffer), self._length - self._at)
        if wanted <= 0:
            return 0
        end = self._start + len(self._held)
        if not self._start <= self._at < end:
            self._ahead = min(2 * self._ahead, AHEAD) if self._at == end else FIRST
            until = min(self._at + max(wanted, self._ahead), self._length)
            self._held = self._read(self._at, until)
            self._start = self._at
            if len(self._held) != until - self._at:
                raise FileError(f"{self._place} was written to while it was read: try again")
        first = self._at - self._start
        part = self._held[first : first + wanted]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)


# ---- writing


@contextmanager
def writing(place: Remote) -> Iterator[IO[bytes]]:
    """A binary file that appears when the block ends without an error, and not before."""
    require_writable(place)
    upload = _Upload(place)
    try:
        yield cast("IO[bytes]", upload)
        upload.commit()
    except BaseException:
        upload.discard()
        raise


class _Upload:
    """A file on its way: kept while it is small, else sent in parts that nobody sees."""

    def __init__(self, place: Remote) -> None:
        self._place, self._kept = place, io.BytesIO()
        self._file: AbstractBufferedFile | None = None

    def write(self, data: Any) -> int:
        if self._file is None:
            self._kept.write(data)
            if self._kept.tell() > KEPT:
                self._send()
        else:
            file = self._file
            told(self._place, "write", lambda: file.write(data))
        return len(data)

    def _send(self) -> None:
        fs, path = opened(self._place)
        if "memory" in fs.protocol:  # which shows what is open
            return
        file = told(self._place, "write", lambda: fs.open(path, "wb", autocommit=False))
        self._file, kept = file, self._kept
        self._kept = io.BytesIO()
        told(self._place, "write", lambda: file.write(kept.getbuffer()))

    def tell(self) -> int:
        return cast("int", (self._file or self._kept).tell())

    def flush(self) -> None:
        """Nothing: parts have a size of their own."""

    def commit(self) -> None:
        if self._file is None:
            write(self._place, self._kept.getvalue())
            return
        guard.require(self._place)
        file = self._file

        def done() -> None:
            file.close()
            file.commit()

        told(self._place, "write", done)

    def discard(self) -> None:
        """Take back what was sent. What fails in it leaves parts that nobody sees."""
        if self._file is None:
            return
        with suppress(FileError):
            told(self._place, "write", self._file.discard)
        self._file.closed = True  # else it would be sent when it is collected


def write(place: Remote, data: bytes) -> None:
    """A file of these bytes, by one request up to some 100 MB."""
    require_writable(place)
    fs, path = opened(place)
    told(place, "write", lambda: fs.pipe_file(path, data))


def copy(place: Remote, of: Remote) -> None:
    """A file with the bytes of another in the same storage, which stay there on the way."""
    require_writable(place)
    fs, path = opened(place)
    told(place, "write", lambda: fs.cp_file(opened(of)[1], path))


def create(place: Remote, data: bytes) -> bool:
    """Write a file where there is none: of several who do so at once, one does. Whether it was."""
    require_writable(place)
    fs, path = opened(place)

    def made() -> bool:
        try:
            fs.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        return True

    return told(place, "write", made)


def remove(place: Remote) -> None:
    """A file, or all below a folder; nothing happens where there is none.

    What lies deepest goes first: what is cut off in it still has the descriptions at its top.
    """
    require_writable(place)
    fs, path = opened(place)
    found = info(place)
    if found is None:
        return
    if found.get("type") != "directory":
        told(place, "remove", lambda: fs.rm_file(path))
        return
    inside = told(place, "list", lambda: cast("list[str]", fs.find(path)))
    inside.sort(key=lambda name: (-name.count("/"), name))
    for i in range(0, len(inside), DELETED):
        told(place, "remove", lambda i=i: fs.rm(inside[i : i + DELETED]))  # type: ignore[misc]
    if "memory" in fs.protocol:  # whose folders outlive what was in them
        told(place, "remove", lambda: fs.rm(path, recursive=True) if fs.exists(path) else None)
