"""Which files of an export's folder are ours, and reading files that nobody vouches for."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from degflow_pipe import files, json_files
from degflow_pipe.errors import DegflowError, UsageError
from degflow_pipe.ledger import Ledger
from degflow_pipe.places import Remote

DONE, PAIRS, MARK = "export.json", "pairs.jsonl", ".degflow/export.json"
"""What an export is, written at its end; its pairs; and what it is to be, written first."""
MAX_MARK = 64 * 1024**2
"""Bytes of either."""
WRITTEN = ".degflow/written"
"""Folder of the ledger of the pictures that an export writes, by the number of their unit."""
MAX_LINE = 1024**2
"""Bytes of a line of pairs.jsonl."""
MAX_NAME = 1024
"""Characters of a path in a list."""
MAX_LIST_BYTES = 128 * 1024**2
MAX_LIST_LINES = 4_000_000
"""Of a list of pictures: a pair takes 40 to 100 bytes."""


def made_for(folder: Path) -> str:
    """The trainer that a folder is an export for, by its own word; empty where it has none."""
    for name in (DONE, MARK):
        with suppress(DegflowError):
            found = json_files.read(folder / name, MAX_MARK)
            if isinstance(found, dict) and isinstance(found.get("trainer"), str):
                return str(found["trainer"])
    return ""


def is_export(folder: Path) -> bool:
    """Whether `export` wrote there, to its end or not."""
    return files.is_there(folder / MARK)


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


def note(ledger: Ledger, unit: int, paths: Sequence[str]) -> None:
    """Say that the pictures of a unit are ours and may be replaced, before they are written."""
    record = {"paths": list(paths)}
    if unit not in ledger or ledger.record(unit) != record:
        ledger.write(unit, record)


def rows(pairs: Path) -> Iterator[dict[str, Any]]:
    """The lines of a list of pairs, but for those that are none; none where there is no list."""
    if not files.is_file(pairs):
        return
    with files.reading(pairs) as file:
        while line := file.readline(MAX_LINE):
            with suppress(ValueError):
                if isinstance(value := json_files.parse(line), dict):
                    yield value


def written(out: Path, pairs: str) -> set[str]:
    """Paths of the pictures that exports wrote below a folder, by their ledger and `pairs`.

    Both are files of the folder, and so not trusted: what leads out of it is left out. Raises
    FileError where the ledger cannot be read.
    """
    found: set[str] = set()

    def add(named: object) -> None:
        if isinstance(named, list):
            found.update(path for path in named if isinstance(path, str))

    for _, record in Ledger(out / WRITTEN).records():
        add(record.get("paths"))
    for row in rows(out / pairs):
        add([row.get("hr"), row.get("lr")])
    return {path for path in found if below(out, path) is not None and inside(out, path)}


def inside(out: Path, path: str) -> bool:
    """Whether a path stays in the folder where links are followed."""
    if isinstance(out, Remote):  # which has none
        return True
    parent = os.path.realpath((out / path).parent)
    root = os.path.realpath(out)
    return parent == root or parent.startswith(root + os.sep)


def remove_files(out: Path, paths: Iterable[str]) -> None:
    """Remove these files, and the folders of theirs below `out` that are empty then."""
    if isinstance(out, Remote):
        for path in paths:
            files.remove(out / path)
        return
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
