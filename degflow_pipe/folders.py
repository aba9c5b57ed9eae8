"""The folders that commands write to: whose they are, and that one process at a time writes.

A command writes into a new or empty folder, or into one that a command of the same kind made and
marked. Anything else is somebody's, and is left as it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from errno import ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from degflow_pipe import files, json_files
from degflow_pipe.errors import FileError, UsageError
from degflow_pipe.places import Remote, objects, place_of
from degflow_pipe.places import lease as leases

MARK = ".degflow-pipe.json"
SHARDS = "set of shards"
"""The kind of a folder of shards, whose pictures are no photos."""
EXPORT = "export"
"""The kind of a folder that was made for a trainer."""
MARK_LIMIT = 1000
"""Bytes of it."""
LOCK = ".lock"
NOBODYS = frozenset({MARK, LOCK, leases.LEASE, leases.HEARD, "lost+found", ".DS_Store"})
"""What an empty folder may hold: what we or a file system put there."""


def kind_of(folder: Path, meant: str = "...") -> str | None:
    """What the folder's mark says it is, such as `store`; None where it has none.

    meant: what it is taken for. Raises FileError where the mark is damaged.
    """
    mark = folder / MARK
    if not files.exists(mark):
        return None
    value = json_files.read(mark, MARK_LIMIT)
    kind = value.get("kind") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(kind, str) or not kind.isprintable():
        raise FileError(f'{mark} is damaged: it should be {{"kind": "{meant}"}}')
    return kind


def held(folder: Path) -> list[str]:
    """Sorted names in a folder, but for marks, locks and what was not written to its end."""
    names = sorted(set(_listed(folder)) - NOBODYS)
    return [name for name in names if not files.is_aside(name)]


def _listed(folder: Path) -> list[str]:
    if isinstance(folder, Remote):
        return files.names(folder)
    with files.named(folder, "list"):
        return os.listdir(folder)


def check_ours(folder: Path, kind: str) -> None:
    """Raises FileError where the folder holds anything that is not of this kind's commands."""
    if isinstance(folder, Remote):
        objects.require_writable(folder)
    elif not os.path.lexists(folder):
        return
    marked = kind_of(folder, kind)
    if marked == kind:
        return
    others = held(folder)
    if marked is not None or others:
        what, lost = f"is for a {marked} of degflow-pipe", ""
        if marked is None:
            what = f"is not empty and was not made by degflow-pipe (it holds {others[0]})"
            lost = f'; a copy of a {kind} that lost its {MARK} needs {{"kind": "{kind}"}} there'
        raise FileError(
            f"{folder} {what}, so no {kind} is written into it: give a new or an empty folder{lost}"
        )


@contextmanager
def one_writer(folder: Path, kind: str) -> Iterator[None]:
    """Make the folder, or the one that is ours, this process's to write into.

    kind: of what it holds, such as `store`. Raises FileError where it is somebody else's, another
    process is writing to it, or its file system has no locks. The lock goes with the process,
    however it ends; that of a remote folder stays where the process was killed, see `break_lock`.
    """
    check_ours(folder, kind)
    files.make_folder(folder)
    with locked(folder):
        check_ours(folder, kind)
        if kind_of(folder) != kind:
            json_files.write(folder / MARK, {"kind": kind})
        yield


def check_file(path: Path, ending: str, overwrite: bool) -> None:
    """Raises UsageError where a file that is to be written has another ending, or is there and not
    to be overwritten.
    """
    if path.suffix.lower() != ending:
        raise UsageError(f"{path}: `out` must end in {ending}, which is what is written")
    if files.exists(path) and not overwrite:
        raise UsageError(f"{path} is there already: give another name as `out`, or `overwrite`")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which is ours already; raises FileError as `one_writer`."""
    if isinstance(folder, Remote):
        with leases.held(folder):
            yield
        return
    # Not the soft lock that filelock would fall back to: it outlives a process that was killed.
    lock = FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
    with files.named(folder, "lock"):
        try:
            lock.acquire()
        except Timeout as error:
            raise FileError(f"{folder}: another process is writing to it; wait for it") from error
        except (OSError, NotImplementedError) as error:
            if getattr(error, "errno", ENOSYS) in (ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP):
                raise FileError(
                    f"{folder}: its file system has no locks, so nothing would keep two processes "
                    f"from writing there at once: write to a local disk and copy"
                ) from error
            raise
    try:
        yield
    finally:
        lock.release()


def break_lock(folder: str | Path) -> str | None:
    """End another process's lock on a remote folder, and say whose it was and how old; None where
    there was none. A process that still lives writes nothing more there, once it finds out.

    A lock on this machine ends with its process: it is left.
    """
    place = place_of(folder)
    return leases.broken(place) if isinstance(place, Remote) else None


def claim(folder: Path, kind: str) -> None:
    """Make the folder ours, for what is written into it later; raises as `one_writer`."""
    with one_writer(folder, kind):
        pass


def sums_of(paths: Iterable[Path], folder: Path) -> dict[str, list[Any]]:
    """Bytes and SHA-256 of files, by their paths below the folder; for a mark of what is done."""
    return {
        path.relative_to(folder).as_posix(): [files.size(path), files.sha256(path)]
        for path in paths
    }


def are_whole(sums: dict[str, list[Any]], paths: Iterable[Path], folder: Path) -> bool:
    """Whether these files were summed, and are there as they were."""

    def is_whole(path: Path) -> bool:
        summed = sums.get(path.relative_to(folder).as_posix())
        if not isinstance(summed, list) or len(summed) != 2 or not files.exists(path):
            return False
        # Its length first: what it grew to may take minutes to read.
        return files.size(path) == summed[0] and files.sha256(path) == summed[1]

    return all(is_whole(path) for path in paths)


def mark_damage(folder: Path, kind: str) -> list[str]:
    """What is wrong with a folder's mark; nothing where it has none, as a copy may lack it."""
    try:
        marked = kind_of(folder)
    except FileError as error:
        return [str(error)]
    if marked in (None, kind):
        return []
    mark = folder / MARK
    return [f'{mark} is damaged: it says "{marked}", and should say "{kind}"']
