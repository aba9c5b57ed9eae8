"""Any pair of finished shards by its number, through the index."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch.utils.data import Dataset

from degflow_pipe import files
from degflow_pipe.errors import FileError, ShardError
from degflow_pipe.reading.samples import AGAIN, Info, Sample, member, pairs_of, picture, planes
from degflow_pipe.shards import FORMAT, VERSION

INDEX = ".index.jsonl"


class SRPairs(Dataset[Sample]):
    """Any pair of a folder of finished shards by its number, in the order of the keys.

    `pairs[i]` is `(LR, HR, info)`: float32 RGB in [0, 1], (3, h, w) and (3, H, W), and the pair's
    JSON as a dict. Only the two pictures are read. Files are open during an access only, so that
    the object may be pickled, forked and shared by threads.

    Raises ShardError where the folder is missing, unfinished, damaged or too new; `name` says
    which data set, where the folder holds several.
    """

    def __init__(self, folder: str | Path, name: str | None = None) -> None:
        self._shards = find_shards(Path(folder), name)
        with files.reading(self._shards.index) as file:
            lengths = np.fromiter(map(len, file), np.int64)
        if len(lengths) != self._shards.samples:
            raise ShardError(
                f"{self._shards.index}: {len(lengths)} lines for {self._shards.samples} samples; "
                f"{AGAIN}"
            )
        self._ends = np.cumsum(lengths)
        """Where each line of the index ends, in bytes."""

    def __len__(self) -> int:
        return self._shards.samples * self._shards.levels

    def __getitem__(self, i: int) -> Sample:
        """Raises IndexError past the end, ShardError for a damaged index, tar or picture."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"pair {i} of {len(self)}")
        line, level = divmod(i % len(self), self._shards.levels)
        start = int(self._ends[line - 1]) if line else 0
        with files.reading(self._shards.index) as file:
            file.seek(start)
            entry = file.read(int(self._ends[line]) - start)
        name, members, pairs = self._shards.read_line(entry)
        key, lr_name, info = pairs[level]
        tar = self._shards.folder / name
        where = f"{tar}: {key}"
        spans = [member(members, stem, where) for stem in (lr_name, "hr")]
        with files.reading(tar) as file:
            lr, hr = (picture(_cut(file, span, where), where) for span in spans)
        return planes(lr), planes(hr), info

    def keys(self) -> Iterator[str]:
        """The key of each pair in order, read from the index one line at a time."""
        with files.reading(self._shards.index) as file:
            for line in file:
                yield from (key for key, _, _ in self._shards.read_line(line)[2])


@dataclass(frozen=True)
class Shards:
    """A finished data set as its NAME.json tells of it; levels: pairs in each sample."""

    folder: Path
    index: Path
    tars: tuple[str, ...]
    samples: int
    levels: int

    def read_line(self, line: bytes) -> tuple[str, dict[str, Any], list[tuple[str, str, Info]]]:
        """The tar, the members and the pairs of one line of the index; raises ShardError."""
        try:
            entry = json.loads(line)
            key, tar, members = str(entry["key"]), entry["tar"], dict(entry["members"])
            pairs = pairs_of(key, entry["json"])
            known = tar in self.tars
        except (ValueError, TypeError, KeyError) as error:
            raise ShardError(f"{self.index}: damaged line {line[:60]!r}; {AGAIN}") from error
        if not known or len(pairs) != self.levels:
            raise ShardError(
                f"{self.index}: {key} has {len(pairs)} levels in {tar!r}, where {self.levels} are "
                f"due, in a tar of this data set; {AGAIN}"
            )
        return tar, members, pairs


def find_shards(folder: Path, name: str | None) -> Shards:
    """The data set `name`, or the only one of the folder; raises ShardError."""
    if not folder.is_dir():
        raise ShardError(f"{folder}: no such folder of shards")
    listed = set(files.names(folder))
    stems = sorted(text.removesuffix(INDEX) for text in listed if text.endswith(INDEX))
    stems = [stem for stem in stems if f"{stem}.json" in listed and name in (None, stem)]
    if not stems:
        raise ShardError(
            f"{folder}: no finished shards: {name or 'NAME'}.json and {name or 'NAME'}{INDEX} are "
            f"written when all tars are; run the step that makes the shards to its end"
        )
    if len(stems) > 1:
        raise ShardError(f"{folder}: holds {', '.join(stems)}; say which with name=")
    path = folder / f"{stems[0]}.json"
    try:
        about = files.read_json(path)
    except FileError as error:
        raise ShardError(f"{error}; {AGAIN}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise ShardError(f"{path}: not the summary of {FORMAT}")
    if about.get("version") != VERSION:
        raise ShardError(
            f"{path}: version {about.get('version')!r}, this release reads {VERSION}; read it "
            f"with the release that made it, or a later one"
        )
    tars, samples, levels = _counts(path, about)
    for tar in tars:
        if not isinstance(tar, str) or re.search(r"[/\\]", tar) or tar not in listed:
            raise ShardError(f"{path}: tar {tar!r} is not a file of this folder; {AGAIN}")
    return Shards(folder, folder / f"{stems[0]}{INDEX}", tuple(tars), samples, levels)


def _counts(path: Path, about: Info) -> tuple[list[Any], int, int]:
    """The tars, the samples and the pairs of each sample in a NAME.json; raises ShardError."""
    try:
        tars, samples, pairs = list(about["tars"]), int(about["samples"]), int(about["pairs"])
        levels = {"pairs": 1, "grouped": pairs // max(samples, 1)}[about["layout"]]
        if not tars or samples < 1 or samples * levels != pairs:
            raise ValueError(f"{pairs} pairs in {samples} samples in {len(tars)} tars")
    except (TypeError, ValueError, KeyError) as error:
        raise ShardError(f"{path}: damaged: {error!r}; {AGAIN}") from error
    return tars, samples, levels


def _cut(file: IO[bytes], span: Any, where: str) -> bytes:
    """The bytes of a member; raises ShardError where [offset, size] is not within the tar."""
    end = file.seek(0, 2)
    if not (
        isinstance(span, list)
        and [type(number) for number in span] == [int, int]
        and 0 <= span[0] <= span[0] + span[1] <= end
    ):
        raise ShardError(f"{where} is at {span!r} by the index, the tar has {end} bytes; {AGAIN}")
    file.seek(span[0])
    return file.read(span[1])
