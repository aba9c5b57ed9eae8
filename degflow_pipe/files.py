"""Every path in or out is opened here, be it of this machine or a remote place (see `places`).

Only regular files are opened, and none beyond a limit of size. Outputs are written aside and
renamed when whole, or are objects that appear when they are: a reader never sees half a file. A
name that begins with ASIDE and ends in PART is unfinished and may be deleted. Folders that a
command writes to: see `folders`.
"""

from __future__ import annotations

import glob
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from errno import EBADF, EBUSY, EINVAL, ELOOP, ENOENT, ENOTDIR
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from degflow_pipe.errors import FileError
from degflow_pipe.places import Remote, objects, place_of

ASIDE, PART = ".degflow-", ".part"
TEXT_LIMIT = 32 * 1024**2
"""Bytes of a JSON or text file: what Python makes of it takes up to thirty times as much."""
WEIGHTS_LIMIT = 8 * 1024**3
"""Bytes of a file of weights or of a training's state."""


@contextmanager
def named(path: Path, doing: str) -> Iterator[None]:
    """Turn an OSError of the block into a FileError that names the path and what was tried."""
    if isinstance(path, Remote):  # whose every call tells for itself
        yield
        return
    try:
        if "\0" in os.fsdecode(path):
            raise OSError(EINVAL, "a name has no NUL in it")
        os.fsencode(path)
    except (OSError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or "this is no name of a file"
        raise FileError(f"{os.fsdecode(path)!r}: cannot {doing}: {reason}") from error
    try:
        yield
    except OSError as error:
        raise FileError(f"{path}: cannot {doing}: {error.strerror or error}") from error


def exists(path: Path) -> bool:
    """Whether anything is there, links followed; raises FileError where that cannot be told."""
    if isinstance(path, Remote):
        return objects.info(path) is not None
    return _stat(path) is not None


def _stat(path: Path) -> os.stat_result | None:
    with named(path, "look for it"):
        try:
            return path.stat()
        except OSError as error:
            # Not by pathlib, which takes ever more errors for "not there".
            if error.errno in (ENOENT, ENOTDIR, ELOOP, EBADF):
                return None
            raise


def is_there(path: Path) -> bool:
    """Whether anything has the name, a link that leads nowhere too."""
    if isinstance(path, Remote):
        return exists(path)
    with named(path, "look for it"):
        return os.path.lexists(path)


def is_file(path: Path) -> bool:
    """Whether a regular file is there, or a link to one; False for a name that nothing can have."""
    if isinstance(path, Remote):
        return objects.is_file(path)
    try:
        with named(path, "look for it"):
            return path.is_file()
    except FileError:
        return False


def is_folder(path: Path) -> bool:
    """Whether a folder is there, links followed; raises FileError where that cannot be told."""
    if isinstance(path, Remote):
        return objects.is_folder(path)
    found = _stat(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def length(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    if isinstance(path, Remote):
        return objects.size(path) if exists(path) else 0
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        found = _stat(path)
    return 0 if found is None else found.st_size


def size(path: Path) -> int:
    """Size of a file in bytes."""
    if isinstance(path, Remote):
        return objects.size(path)
    with named(path, "read"):
        return path.stat().st_size


def real(path: Path) -> Path:
    """The path with links followed, as far as they lead: one in a circle stays as it is."""
    if isinstance(path, Remote):
        return path
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError there


def matches(pattern: str, root: Path = Path()) -> list[Path]:
    """Files and folders that a glob names below `root`, sorted."""
    place = place_of(pattern)
    if isinstance(root, Remote) or isinstance(place, Remote):
        place = root / pattern if isinstance(root, Remote) else place
        assert isinstance(place, Remote)
        return list(objects.matches(place))
    return [root / found for found in sorted(glob.glob(pattern, root_dir=root, recursive=True))]


def walk(folder: Path, left_out: dict[str, int] | None = None) -> Iterator[Path]:
    """All files below a folder in a fixed order, links followed once, hidden names left out.

    left_out: takes the number of those in a remote place that no path can name. Raises FileError
    for a folder that cannot be listed.
    """
    if isinstance(folder, Remote):
        yield from objects.walk(folder, left_out)
        return
    seen: set[str] = set()

    def unreadable(error: OSError) -> None:
        raise FileError(f"{error.filename}: cannot list: {error.strerror}") from error

    for root, folders, found in os.walk(folder, onerror=unreadable, followlinks=True):
        real = os.path.realpath(root)
        folders[:] = [] if real in seen else sorted(n for n in folders if not n.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        for name in sorted(found):
            if not name.startswith("."):
                yield Path(root) / name


def read_bytes(path: Path, limit: int = TEXT_LIMIT) -> bytes:
    """The whole file; raises FileError naming it, also where it has more than `limit` bytes."""
    if isinstance(path, Remote):
        return objects.read(path, limit)
    with reading(path, limit) as file:
        return file.read()


def regular(path: str, flags: int) -> int:
    """Opens what is a file and nothing else: a pipe would be waited for, a device never end."""
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFDIR: "a folder", stat.S_IFSOCK: "a socket"}

    def check(mode: int) -> None:
        if not stat.S_ISREG(mode):
            kind = kinds.get(stat.S_IFMT(mode), "a device")
            raise OSError(EINVAL, f"it is {kind}, not a file")

    check(os.stat(path).st_mode)  # opening a device can already do something
    opened = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        check(os.fstat(opened).st_mode)
    except BaseException:
        os.close(opened)
        raise
    return opened


@contextmanager
def reading(
    path: Path, limit: int | None = None, span: tuple[int, int] | None = None
) -> Iterator[BufferedReader]:
    """An open binary file to read and seek in; raises FileError naming it.

    limit: bytes that it may have at most. span: bytes from `start` to `end`, as if they were a file
    of their own.
    """
    if isinstance(path, Remote):
        with objects.reading(path, limit, span) as file:
            yield file
        return
    with named(path, "read"), open(path, "rb", opener=regular) as file:
        length = os.fstat(file.fileno()).st_size
        if limit is not None and length > limit:
            raise FileError(f"{path}: {length} bytes, more than the limit of {limit}")
        if span is None:
            yield file
            return
        first, end = span

        def read(start: int, until: int) -> bytes:
            file.seek(first + start)
            return file.read(until - start)

        with BufferedReader(cast("Any", objects.Ranges(path, read, end - first))) as part:
            yield part


def read_spans(path: Path, spans: Sequence[tuple[int, int]]) -> list[bytes]:
    """Bytes from `start` to `end` of each span of a file, fewer where it ends before.

    Remote ones are read by one request where they lie near each other.
    """
    if isinstance(path, Remote):
        return objects.read_spans(path, spans)
    found = []
    with reading(path) as file:
        for start, end in spans:
            file.seek(start)
            found.append(file.read(end - start))
    return found


def stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file is written to or replaced: the second is its size, the third when
    it was written, or its tag where its file system has tags.
    """
    if isinstance(path, Remote):
        return objects.stamp(path)
    with named(path, "read"):
        found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def aside(path: Path) -> Path:
    """Where a file is while it is written: beside it, by a name that fits and is nobody's."""
    name = hashlib.blake2b(os.fsencode(path.name), digest_size=8).hexdigest()
    return path.with_name(f"{ASIDE}{name}{PART}")


def is_aside(name: str) -> bool:
    """Whether a name is that of what was not written to its end."""
    return name.startswith(ASIDE) and name.endswith(PART)


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name only when the block ends without an error.

    What is there and is no regular file is refused: a link or a device is somebody's.
    """
    if isinstance(path, Remote):
        with objects.writing(path) as upload:
            yield upload
        return
    unfinished = aside(path)
    with named(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise OSError(EINVAL, "something is there that is not a regular file")
        unfinished.unlink(missing_ok=True)
        try:
            with unfinished.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if not os.path.samestat(os.fstat(file.fileno()), unfinished.lstat()):
                    raise OSError(EBUSY, "another process is writing it too")
            unfinished.replace(path)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, data: bytes) -> None:
    if isinstance(path, Remote):
        objects.write(path, data)
        return
    with writing(path) as file:
        file.write(data)


def link(path: Path, to: Path) -> int:
    """A second name for a file that is whole; where the file system has no such names, a copy.

    Returns the bytes that it saves. Raises FileError as `writing`.
    """
    if isinstance(path, Remote) and isinstance(to, Remote) and path.scheme == to.scheme:
        objects.copy(path, to)
        return 0
    unfinished = aside(path)
    with named(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.unlink(missing_ok=True)
        try:
            os.link(to, unfinished)
        except OSError:  # other systems give other numbers for what they do not have
            pass
        else:
            unfinished.replace(path)
            unfinished.unlink(missing_ok=True)  # both were names of one file already
            return path.stat().st_size
    write_bytes(path, read_bytes(to))
    return 0


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def seconds_to_write(folder: Path, size: int) -> float | None:
    """Seconds until so many bytes, at random, have reached the disk of a folder, or of what there
    is above it: in a file without a name, which is gone at once and that nobody ever sees. None
    where the system has no such files, or nothing may be written.
    """
    if isinstance(folder, Remote):
        return None
    while not os.path.isdir(folder):
        folder = folder.absolute().parent
    data = os.urandom(size)
    try:
        opened = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except (AttributeError, OSError):  # not Linux, or not this file system
        return None
    try:
        begun = time.perf_counter()
        os.write(opened, data)
        os.fsync(opened)
        return time.perf_counter() - begun
    except OSError:
        return None
    finally:
        os.close(opened)


def make_folder(path: Path) -> None:
    """Remote folders are there where there is something in them."""
    if isinstance(path, Remote):
        objects.require_writable(path)
        return
    with named(path, "make the folder"):
        path.mkdir(parents=True, exist_ok=True)


def taken_away(path: Path, name: str) -> Path:
    """Give what is to be removed another name in the same place; returns the new path. What is
    remote cannot be renamed and stays; what lies deepest is removed first there.
    """
    if isinstance(path, Remote):
        return path
    with named(path, "rename"):
        return path.rename(path.with_name(name))


def move(path: Path, to: Path) -> None:
    """Let a file that is whole take the place of another of the same file system."""
    if isinstance(path, Remote) and isinstance(to, Remote):
        objects.copy(to, path)
        objects.remove(path)
        return
    with named(to, "write"):
        os.replace(path, to)


def remove(path: Path) -> None:
    """A file, a link or a folder with all in it; nothing happens where there is none."""
    if isinstance(path, Remote):
        objects.remove(path)
        return
    with named(path, "remove"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def names(folder: Path, suffix: str = "") -> list[str]:
    """Sorted names in a folder that end in `suffix`; none where there is no such folder."""
    if isinstance(folder, Remote):
        return sorted(name for name in objects.sizes(folder) if name.endswith(suffix))
    if not is_folder(folder):
        return []
    with named(folder, "list"):
        return sorted(name for name in os.listdir(folder) if name.endswith(suffix))


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file of a folder by its name, links followed; none where it is not there."""
    if isinstance(folder, Remote):
        return objects.sizes(folder)
    return {name: size(folder / name) for name in names(folder) if is_file(folder / name)}


def sha256(path: Path, limit: int | None = None) -> str:
    """SHA-256 of a file in hex. limit: bytes that it may have, as in `reading`."""
    with reading(path, limit) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
