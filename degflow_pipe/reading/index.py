"""Any pair of finished shards by its number, through the index."""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch.utils.data import Dataset

from degflow_pipe import files
from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.formats.tarfiles import SAMPLE_LIMIT
from degflow_pipe.pictures.arrays import to_tensor
from degflow_pipe.places import place_of
from degflow_pipe.reading.samples import Info, Sample, hr_of, member, pairs_of, picture
from degflow_pipe.shards.layout import VALIDATE
from degflow_pipe.shards.summary import AGAIN, Summary, read_summary

MAX_LINE = 16 * 1024**2
"""Bytes of a line of the index: a sample of MAX_LEVELS levels takes no more."""


class SRPairs(Dataset[Sample]):
    """Any pair of a folder of finished shards by its number, in the order of the keys.

    `pairs[i]` is `(LR, HR, info)`: float32 RGB in [0, 1], (3, h, w) and (3, H, W), and the pair's
    JSON as a dict. Only the two pictures are read. Files are open during an access only, so that
    the object may be pickled, forked and shared by threads. split: see `sr_pairs`.

    Raises ShardError where the folder is missing, unfinished, damaged or too new.
    """

    def __init__(self, folder: str | Path, split: str = "train") -> None:
        self._shards = whole_shards(split_folder(place_of(folder), split))
        found = []
        for path in self._shards.indexes:
            with files.reading(path) as file:
                found.append(np.fromiter(map(len, _lines(path, file)), np.int64))
        lengths = np.concatenate(found)
        if len(lengths) != self._shards.samples:
            raise ShardError(
                f"{self._shards.index}: {len(lengths)} lines for {self._shards.samples} samples; "
                f"{AGAIN}"
            )
        self._ends = np.cumsum(lengths)
        """Where each line ends, in bytes, were the indexes one file."""
        self._files = np.cumsum([part.sum() for part in found])
        """Where each index ends, likewise."""

    def __len__(self) -> int:
        return self._shards.samples * self._shards.levels

    def __getitem__(self, i: int) -> Sample:
        """Raises IndexError past the end, ShardError for a damaged index, tar or picture."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"pair {i} of {len(self)}")
        line, level = divmod(i % len(self), self._shards.levels)
        start = int(self._ends[line - 1]) if line else 0
        number = int(np.searchsorted(self._files, start, side="right"))
        path = self._shards.indexes[number]
        before = int(self._files[number - 1]) if number else 0
        (entry,) = files.read_spans(path, [(start - before, int(self._ends[line]) - before)])
        return self._pair(read_line(self._shards, path, entry), level)

    def of_key(self, key: str) -> Sample:
        """The pair of a key, such as `00000012-5867f313-t0500`; the index of its tar is read.

        Raises KeyError where there is none, ShardError as `pairs[i]`.
        """
        return self._pair(*_find(self._shards, key))

    def _pair(self, entry: Entry, level: int) -> Sample:
        name, members, pairs = entry
        key, lr_name, info = pairs[level]
        tar = self._shards.folder / name
        where = f"{tar}: {key}"
        spans = [member(members, stem, where) for stem in (lr_name, "hr")]
        lr, hr = (picture(data, where) for data in cut(tar, spans, where))
        return to_tensor(lr)[0], to_tensor(hr_of(hr, info, where))[0], info

    def keys(self) -> Iterator[str]:
        """The key of each pair in order, read from the index one line at a time."""
        for _, _, pairs in read_index(self._shards):
            yield from (key for key, _, _ in pairs)


def split_folder(folder: Path, split: str) -> Path:
    """Where the pairs of a split are. Raises UsageError for what is none, ShardError where a folder
    has no validation set.
    """
    if split == "train":
        return folder
    if split != "validate":
        raise UsageError(
            f"split must be 'train' or 'validate', got {split!r}; who reads which part on several "
            f"ranks is said by ranks="
        )
    if not files.is_folder(folder / VALIDATE):
        raise ShardError(
            f"{folder} has no validation set: set photos apart with `shard(validate='5%')`"
        )
    return folder / VALIDATE


def whole_shards(folder: Path) -> Summary:
    """The finished data set of a folder, all its tars there; raises ShardError."""
    shards = read_summary(folder)
    missing = sorted(set(shards.tars) - set(files.names(folder)))
    if missing:
        raise ShardError(f"{folder}: {missing[0]} is not a file of this folder; {AGAIN}")
    return shards


Entry = tuple[str, dict[str, Any], list[tuple[str, str, Info]]]


def read_index(shards: Summary) -> Iterator[Entry]:
    """Every line of the index, one at a time: see `read_line`.

    The samples must come in the order of their keys, as they are written, so that none is there
    twice; raises ShardError.
    """
    last: tuple[int, str] = (0, "")
    seen: set[str] = set()
    for path, line in _every_line(shards):
        tar, members, pairs = read_line(shards, path, line)
        for key, _, info in pairs:
            patch = key.removesuffix(f"-{info.get('level')}")
            # Numbers have eight digits until there are more: the longer name is the later.
            if (place := (len(patch), patch)) > last:
                last, seen = place, set()
            if place < last or key in seen:
                raise ShardError(f"{path}: {key} is there twice or too late; {AGAIN}")
            seen.add(key)
        yield tar, members, pairs


def read_lines(shards: Summary, path: Path) -> Iterator[Entry]:
    """The samples of one of the indexes, in order: see `read_line`."""
    with files.reading(path) as file:
        for line in _lines(path, file):
            yield read_line(shards, path, line)


def _every_line(shards: Summary) -> Iterator[tuple[Path, bytes]]:
    for path in shards.indexes:
        with files.reading(path) as file:
            for line in _lines(path, file):
                yield path, line


def _find(shards: Summary, key: str) -> tuple[Entry, int]:
    """The sample that has the pair of that key, and the pair's place in it: only the indexes of
    tars that may hold its patch are read.

    Raises KeyError where there is none, ShardError where the index is damaged.
    """
    paths = shards.indexes
    if shards.first_keys:
        # Levels are in the grid's order, which is none of their names; a patch may be in several.
        first = bisect_left(shards.first_keys, _patch(key), key=_patch)
        end = bisect_right(shards.first_keys, _patch(key), key=_patch)
        paths = paths[max(first - 1, 0) : end]
    for path in paths:
        with files.reading(path) as file:
            for line in _lines(path, file):
                entry = read_line(shards, path, line)
                for level, (known, _, _) in enumerate(entry[2]):
                    if key == known:
                        return entry, level
    raise KeyError(key)


def _patch(key: str) -> tuple[int, str]:
    """In which order patches come: numbers have eight digits until there are more."""
    patch = "-".join(key.split("-")[:2])
    return len(patch.partition("-")[0]), patch


def _lines(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """The lines of the index; raises ShardError for one that is longer than MAX_LINE."""
    while line := file.readline(MAX_LINE + 1):
        if len(line) > MAX_LINE:
            raise ShardError(f"{path}: a line of more than {MAX_LINE} bytes; {AGAIN}")
        yield line


def read_line(shards: Summary, path: Path, line: bytes) -> Entry:
    """The tar, the members and the pairs of one line of the index; raises ShardError."""
    try:
        entry = json.loads(
            line, object_pairs_hook=_once, parse_float=_finite, parse_constant=_finite
        )
        key, tar, members = entry["key"], entry["tar"], dict(entry["members"])
        pairs = pairs_of(key, entry["json"])
        known = tar in shards.tars_of(path)
    # RecursionError: nested deeper than Python goes.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        problem = str(error)[:100] if str(error) else type(error).__name__
        raise ShardError(f"{path}: damaged line {line[:60]!r}: {problem}; {AGAIN}") from error
    if not known or len(pairs) != shards.levels:
        raise ShardError(
            f"{path}: {key} has {len(pairs)} levels in {str(tar)[:60]!r}, where "
            f"{shards.levels} are due, in a tar of this data set; {AGAIN}"
        )
    return tar, members, pairs


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; raises ValueError where it has a key twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no number")
    return value


def cut(tar: Path, spans: Sequence[Any], where: str) -> list[bytes]:
    """The bytes of members; raises ShardError where [offset, size] is not within the tar."""
    for span in spans:
        if not (
            isinstance(span, list)
            and [type(number) for number in span] == [int, int]
            and min(span) >= 0
            and span[1] <= SAMPLE_LIMIT
        ):
            raise _outside(tar, span, where)
    found = files.read_spans(tar, [(offset, offset + size) for offset, size in spans])
    for span, data in zip(spans, found, strict=True):
        if len(data) < span[1]:
            raise _outside(tar, span, where)
    return found


def _outside(tar: Path, span: Any, where: str) -> ShardError:
    return ShardError(
        f"{where} is at {str(span)[:60]} by the index, the tar has {files.size(tar)} bytes; {AGAIN}"
    )
