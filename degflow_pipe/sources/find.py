"""Finding photos: in files, folders, globs and URLs, and in tars and Parquet files there."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from degflow_pipe import files, folders
from degflow_pipe.errors import FileError, UsageError
from degflow_pipe.formats.text import printable
from degflow_pipe.places import Remote, Unreachable, place_of
from degflow_pipe.sources.endings import EXTENSIONS, count, is_picture
from degflow_pipe.sources.parquet import photos_in_parquet
from degflow_pipe.sources.photo_file import PhotoFile, ends_run
from degflow_pipe.sources.tars import photos_in_tar

MANY = {".tar": photos_in_tar, ".parquet": photos_in_parquet}
"""Files of many photos, by ending."""
NONE = {
    ".tar": "no member with a picture's ending is in it",
    ".parquet": "no column of pictures is in it: one of binary, or of struct<bytes, path>",
}
METADATA = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
"""Beside the photos of a folder, as `imagefolder` of Hugging Face has them: they hold none.
Source: huggingface/datasets, folder_based_builder.py, METADATA_FILENAMES."""
ARCHIVES = frozenset({".gz", ".tgz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".zst", ".zip", ".7z"})
REFUSED = (401, 403)
UNPACK = "a compressed archive gives no access to one photo: unpack it, or make a plain .tar of it"


def find_photos(
    sources: Iterable[str], left_out: dict[str, int] | None = None
) -> Iterator[PhotoFile]:
    """Files, folders (recursive) and globs to photos, in the order given, folders sorted; any of
    them may be at a URL. Of a tar and a Parquet file all photos in it, in its order.

    A file named outright is always yielded, whatever its ending. left_out: takes the number of
    files, and of a tar's members, that are found and no photos, by ending. What of a glob is there
    as it is spelled, such as a folder `set[1]`, is taken so. Raises UsageError where a source names
    nothing or a compressed archive, or pyarrow is not installed and a Parquet file is to be read.
    """
    for source in sources:
        path = place_of(source)
        others: dict[str, int] = {}
        if files.is_folder(path):
            found = _below(path, others)
        elif files.exists(path):
            found = _outright(path, others)
        else:
            found = _matches(source, others)
        first = next(found, None)
        if first is None:
            raise UsageError(_nothing(source, path, others))
        yield first
        yield from found
        if left_out is not None:
            for ending, number in sorted(others.items()):
                left_out[ending] = left_out.get(ending, 0) + number


def _nothing(source: str, path: Path, others: dict[str, int]) -> str:
    """Why a source has no photo."""
    name = printable(source)
    is_folder = files.is_folder(path)
    if not is_folder and not glob.has_magic(source):
        return f"{name}: there is no such file or folder"
    if is_folder and (kind := _kind(path)):
        return f"{name} is of a {kind} that degflow-pipe made, and no photos are in it"
    where = "in it" if is_folder else "of that pattern"
    endings = ", ".join(sorted(EXTENSIONS | MANY.keys()))
    there = ", ".join(f"{n} of {ending}" for ending, n in sorted(others.items()))
    packed = f": {UNPACK}" if others.keys() & ARCHIVES else ""
    return f"{name}: no photo ({endings}) is {where}" + f"; left out: {there}{packed}" * bool(there)


def _outright(path: Path, others: dict[str, int]) -> Iterator[PhotoFile]:
    if path.suffix.lower() in ARCHIVES:
        raise UsageError(f"{printable(str(path))}: {UNPACK}")
    if path.suffix.lower() in MANY:
        if kind := _kind(path.parent):
            problem = f"it is of a {kind} that degflow-pipe made, and no photos are in it"
            return iter([PhotoFile(path, path.name, problem=problem)])
        inside = _inside(path, path.name, others)
        none = PhotoFile(path, path.name, problem=NONE[path.suffix.lower()])
        return chain([next(inside, none)], inside)
    return iter([PhotoFile(path, path.name)])


def _kind(folder: Path) -> str | None:
    """See `folders.kind_of`; None too where a server, as some do, refuses what is not there."""
    try:
        return folders.kind_of(folder)
    except Unreachable as error:
        if error.status in REFUSED:
            return None
        raise


def _inside(path: Path, name: str, others: dict[str, int]) -> Iterator[PhotoFile]:
    """The photos in a file of many; one that cannot be opened has a problem, as a photo has."""
    try:
        yield from MANY[path.suffix.lower()](path, name, others)
    except FileError as error:
        if ends_run(error):
            raise
        problem = printable(str(error)).removeprefix(f"{printable(str(path))}: ")
        yield PhotoFile(path, name, problem=problem)


def _matches(pattern: str, others: dict[str, int]) -> Iterator[PhotoFile]:
    if isinstance(place_of(pattern), Remote):
        found = files.matches(pattern)
    else:
        found = files.matches(_literal(pattern)) or files.matches(pattern.replace("[", "[[]"))
    for path in found:
        if files.is_folder(path):
            yield from _below(path, others)
        else:
            yield from _at(path, path.name, others)


def _literal(pattern: str) -> str:
    """The glob with those of its leading folders escaped that are there as they are spelled."""
    done = Path()
    parts = Path(pattern).parts
    for i, part in enumerate(parts):
        if not files.exists(done / part):
            return str(Path(glob.escape(str(done)), *parts[i:]))
        done = done / part
    return glob.escape(pattern)


def _below(folder: Path, others: dict[str, int]) -> Iterator[PhotoFile]:
    of_shards: dict[Path, bool] = {}
    for path in files.walk(folder, others):
        if path.parent not in of_shards:
            of_shards[path.parent] = _kind(path.parent) == folders.SHARDS
        if of_shards[path.parent]:  # its contact sheet is no photo
            count(path.suffix.lower(), others)
        else:
            yield from _at(path, path.relative_to(folder).as_posix(), others)


def _at(path: Path, name: str, others: dict[str, int]) -> Iterator[PhotoFile]:
    """The photos of a file that was come upon; where it has none it is counted by its ending."""
    ending = path.suffix.lower()
    of_many = ending in MANY and path.name not in METADATA
    if of_many and _kind(path.parent) is None:  # pairs of ours are no photos
        inside = _inside(path, name, others)
        first = next(inside, None)
        if first is not None:
            yield first
            yield from inside
            return
    elif is_picture(ending):
        yield PhotoFile(path, name)
        return
    count(ending, others)
