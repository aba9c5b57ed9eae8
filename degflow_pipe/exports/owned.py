"""Which files of an export's folder are ours, and reading files that nobody vouches for."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from threading import Lock

from degflow_pipe import files
from degflow_pipe.errors import UsageError

WRITTEN = ".degflow/written.jsonl"
"""The paths of the pictures that an export wrote, a list a line: written before they are."""
MAX_LINE = 1024**2
"""Bytes of a line of the journal, and of pairs.jsonl."""
MAX_NAME = 1024
"""Characters of a path in a list."""
MAX_LIST_BYTES = 128 * 1024**2
MAX_LIST_LINES = 4_000_000
"""Of a list of pictures: a pair takes 40 to 100 bytes."""


def below(folder: Path, name: str) -> Path | None:
    """Where a name in a list leads; None for one that no system takes or that leads out."""
    parts = PurePosixPath(name).parts
    if not parts or len(name) > MAX_NAME or "\0" in name or name.startswith("/") or ".." in parts:
        return None
    try:
        if any(len(part.encode()) > 255 for part in parts):
            return None
    except UnicodeEncodeError:
        return None
    return folder / name


class Journal:
    """The pictures that an export writes: what is in it is ours, and may be replaced."""

    def __init__(self, out: Path) -> None:
        self._path, self._lock = out / WRITTEN, Lock()

    def add(self, paths: Iterable[str]) -> None:
        if line := list(paths):
            with self._lock:
                files.append_line(self._path, json.dumps(line))


def written(out: Path, pairs: str) -> set[str]:
    """Paths of the pictures that exports wrote below a folder, by their journal and `pairs`.

    Both are files of the folder, and so not trusted: what leads out of it is left out.
    """
    found: set[str] = set()
    for name in (WRITTEN, pairs):
        if not files.is_file(out / name):
            continue
        with files.reading(out / name) as file:
            while line := file.readline(MAX_LINE):
                try:
                    value = files.parse_json(line)
                except ValueError:
                    continue  # the line that a stop cut short
                named = [value.get("hr"), value.get("lr")] if isinstance(value, dict) else value
                if isinstance(named, list):
                    found.update(path for path in named if isinstance(path, str))
    return {path for path in found if below(out, path) is not None and _inside(out, path)}


def _inside(out: Path, path: str) -> bool:
    """Whether a path stays in the folder where links are followed."""
    parent = os.path.realpath((out / path).parent)
    root = os.path.realpath(out)
    return parent == root or parent.startswith(root + os.sep)


def remove_files(out: Path, paths: Iterable[str]) -> None:
    """Remove these files, and the folders of theirs below `out` that are empty then."""
    folders: set[PurePosixPath] = set()
    for path in paths:
        with files.named(out / path, "remove"):
            (out / path).unlink(missing_ok=True)
        folders.update(parent for parent in PurePosixPath(path).parents if parent.parts)
    for folder in sorted(folders, key=lambda folder: -len(folder.parts)):
        there = out / folder
        if there.is_dir() and not there.is_symlink():
            with files.named(there, "remove"):
                if not os.listdir(there):
                    there.rmdir()


def root_text(out: Path) -> str:
    """A folder's absolute path, as text. Raises UsageError where its bytes are no UTF-8."""
    text = os.path.abspath(out)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"`out`: the path of {os.fsencode(out)!r} is not UTF-8, and cannot stand in an option "
            f"file: give another folder, or `relative`"
        ) from error
    return text.replace(os.sep, "/")
