"""Every path in or out is opened here, so that one day it can be a URL.

Outputs are written aside and renamed when whole: a reader never sees half a file. A name that ends
in PART is unfinished and may be deleted.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from degflow_pipe.errors import FileError

PART = ".part"


@contextmanager
def named(path: Path, doing: str) -> Iterator[None]:
    """Turn an OSError of the block into a FileError that names the path and what was tried."""
    try:
        yield
    except OSError as error:
        raise FileError(f"{path}: cannot {doing}: {error.strerror or error}") from error


def exists(path: Path) -> bool:
    with named(path, "look for it"):
        return path.exists()


def is_folder(path: Path) -> bool:
    with named(path, "look for it"):
        return path.is_dir()


def size(path: Path) -> int:
    """Size of a file in bytes."""
    with named(path, "read"):
        return path.stat().st_size


def matches(pattern: str, root: Path = Path()) -> list[Path]:
    """Files and folders that a glob names below `root`, sorted."""
    return [root / found for found in sorted(glob.glob(pattern, root_dir=root, recursive=True))]


def walk(folder: Path) -> Iterator[Path]:
    """All files below a folder in a fixed order, links followed once, hidden names left out.

    Raises FileError for a folder that cannot be listed.
    """
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


def read_bytes(path: Path) -> bytes:
    """The whole file; raises FileError naming it."""
    with named(path, "read"):
        return path.read_bytes()


@contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """An open binary file to read and seek in; raises FileError naming it."""
    with named(path, "read"), path.open("rb") as file:
        yield file


def read_json(path: Path) -> Any:
    """A JSON file; raises FileError where it is not JSON."""
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise FileError(f"{path}: not JSON: {error}") from error


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A binary file that appears under its name only when the block ends without an error."""
    aside = path.with_name(path.name + PART)
    with named(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def write_bytes(path: Path, data: bytes) -> None:
    with writing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """One JSON value with sorted keys, so that equal values give equal bytes."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def append_line(path: Path, text: str) -> None:
    """One line at the end of a log."""
    with named(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def make_folder(path: Path) -> None:
    with named(path, "make the folder"):
        path.mkdir(parents=True, exist_ok=True)


def renamed(path: Path, name: str) -> Path:
    """Give a file or folder another name in the same place; returns the new path."""
    with named(path, "rename"):
        return path.rename(path.with_name(name))


def remove(path: Path) -> None:
    """A file or a folder with all in it; nothing happens where there is none."""
    with named(path, "remove"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@contextmanager
def one_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; raises FileError where another process holds it.

    The lock goes with the process, however it ends.
    """
    make_folder(folder)
    path = folder / ".lock"
    with named(path, "lock"):
        file = path.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FileError(f"{folder}: another process is writing to it; wait for it") from error
        yield


def names(folder: Path, suffix: str = "") -> list[str]:
    """Sorted names in a folder that end in `suffix`; none where there is no such folder."""
    if not is_folder(folder):
        return []
    with named(folder, "list"):
        return sorted(name for name in os.listdir(folder) if name.endswith(suffix))


def sha256(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with reading(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
