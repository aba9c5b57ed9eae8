"""Files that lines are added to, here or at a remote place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from degflow_pipe import files
from degflow_pipe.places import Remote
from degflow_pipe.places.log import RemoteLog


def append_line(path: Path, text: str) -> None:
    """One line at the end of a log, which lies on this machine."""
    with files.named(path, "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8", opener=_to_append) as file:
            file.write(text + "\n")


def opened(path: Path, end: int) -> Log:
    """A file to add to after its first `end` bytes, made where there is none; what is after them
    goes. Raises FileError, as what is done with it does.
    """
    return RemoteLog(path, end) if isinstance(path, Remote) else _LocalLog(path, end)


class Log(Protocol):
    """A file that is added to."""

    def add(self, line: bytes) -> None: ...

    def sync(self) -> None:
        """Let what was added outlast the process, and a power cut."""

    def held(self) -> bytes | None:
        """All of it, where it is not in its file before `sync`."""

    def close(self) -> None:
        """The same as `sync`, and the end."""


class _LocalLog:
    def __init__(self, path: Path, end: int) -> None:
        self._path = path
        files.make_folder(path.parent)
        with files.named(path, "write"):
            if os.path.lexists(path):
                os.close(files.regular(str(path), os.O_RDONLY))
            flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._file = os.open(path, flags, 0o666)
            try:
                if os.lseek(self._file, 0, os.SEEK_END) > end:
                    os.ftruncate(self._file, end)
                os.lseek(self._file, 0, os.SEEK_END)
            except BaseException:
                os.close(self._file)
                raise

    def add(self, line: bytes) -> None:
        with files.named(self._path, "write"):
            left = line
            while left:
                left = left[os.write(self._file, left) :]

    def sync(self) -> None:
        with files.named(self._path, "write"):
            os.fsync(self._file)

    def held(self) -> None:
        return None

    def close(self) -> None:
        with files.named(self._path, "write"):
            try:
                os.fsync(self._file)
            finally:
                os.close(self._file)


def _to_append(path: str, flags: int) -> int:
    if os.path.lexists(path):
        os.close(files.regular(path, os.O_RDONLY))
    return os.open(path, flags, 0o666)
