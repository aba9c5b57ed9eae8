"""NAME.json: the mark of a finished data set, and its figures."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from degflow_pipe import files, folders, json_files
from degflow_pipe.errors import FileError, ShardError
from degflow_pipe.shards.layout import INDEX

FORMAT = "degflow-pipe shards"
VERSION = 2
WHOLE = 1
"""Version of shards that have one index for all tars; they are still read."""
AGAIN = "copy the shards again, or make them again with `shard(overwrite=True)`"


@dataclass(frozen=True)
class Summary:
    """A finished data set; levels: pairs in each sample; first_keys: of each tar, none of them in
    version 1; figures: all that NAME.json says.
    """

    folder: Path
    name: str
    tars: tuple[str, ...]
    samples: int
    levels: int
    first_keys: tuple[str, ...]
    figures: dict[str, Any]

    def tars_of(self, index: Path) -> tuple[str, ...]:
        """The tars that an index is of, in order."""
        return self.tars if self.figures["version"] == WHOLE else (tar_of(index),)

    @property
    def index(self) -> str:
        """How errors call the indexes."""
        one = f"{self.name}{INDEX}" if self.figures["version"] == WHOLE else f"*{INDEX}"
        return str(self.folder / one)

    @property
    def indexes(self) -> list[Path]:
        """The index of each tar, a line a sample; of version 1 the one index of all."""
        return list(dict.fromkeys(map(self.index_of, self.tars)))

    def index_of(self, tar: str) -> Path:
        """The index that has the samples of a tar."""
        stem = self.name if self.figures["version"] == WHOLE else tar.removesuffix(".tar")
        return self.folder / f"{stem}{INDEX}"


def tar_of(index: Path) -> str:
    """The tar that an index is of."""
    return f"{index.name.removesuffix(INDEX)}.tar"


def _refuse_export(folder: Path) -> None:
    """Raises ShardError for a folder that `export` made."""
    with suppress(FileError):  # of its mark, which is not what is looked for
        if folders.kind_of(folder) == folders.EXPORT:
            raise ShardError(f"{folder} is an export, not shards: name those that it was made of")


def read_summary(folder: Path) -> Summary:
    """The data set in a folder of finished shards.

    Raises ShardError where there is none, or it is unfinished, damaged, foreign or too new.
    Its tars are plain file names; whether they are there is not looked at.
    """
    if not files.is_folder(folder):
        raise ShardError(f"{folder}: no such folder of shards")
    if any(files.exists(folder / name) for name in ("store.json", "zarr.json")):
        raise ShardError(
            f"{folder} is a store, not shards: read it with LazyPairs, or run `shard()`"
        )
    # What begins with a dot is a run's own.
    found = [name for name in files.names(folder, ".json") if not name.startswith(".")]
    if len(found) != 1:
        _refuse_export(folder)
        raise ShardError(
            f"{folder}: no finished shards: NAME.json is written when all tars are, and "
            f"{len(found)} are there: run `shard()` to its end"
        )
    path = folder / found[0]
    try:
        figures = json_files.read_summed(path, needed=False)
    except FileError as error:
        raise ShardError(f"{error}; {AGAIN}") from error
    if not isinstance(figures, dict) or figures.get("format") != FORMAT:
        _refuse_export(folder)
        raise ShardError(f"{path} is not of {FORMAT}")
    if figures.get("version") not in (WHOLE, VERSION):
        raise ShardError(
            f"{path} is of version {figures.get('version')!r}, this degflow-pipe reads {VERSION}: "
            f"upgrade degflow-pipe"
        )
    tars, samples, levels = _counts(path, figures)
    for tar in tars:
        if not isinstance(tar, str) or not re.fullmatch(r"[^/\\]+\.tar", tar):
            raise ShardError(f"{path}: tar {tar!r} is not a file of this folder; {AGAIN}")
    first_keys = figures["first_keys"] if figures["version"] == VERSION else []
    name = found[0].removesuffix(".json")
    return Summary(folder, name, tuple(tars), samples, levels, tuple(first_keys), figures)


def _counts(path: Path, figures: dict[str, Any]) -> tuple[list[Any], int, int]:
    """The tars, the samples and the pairs of each sample; raises ShardError."""
    try:
        tars, samples = list(figures["tars"]), int(figures["samples"])
        pairs = int(figures["pairs"])
        levels = {"pairs": 1, "grouped": pairs // max(samples, 1)}[figures["layout"]]
        if not tars or samples < 1 or samples * levels != pairs:
            raise ValueError(f"{pairs} pairs in {samples} samples in {len(tars)} tars")
        if figures["version"] == VERSION:
            keys = figures["first_keys"]
            if not (isinstance(keys, list) and len(keys) == len(tars)) or not all(
                isinstance(key, str) for key in keys
            ):
                raise ValueError("first_keys must be the first key of each tar")
    except (TypeError, ValueError, KeyError) as error:
        raise ShardError(f"{path}: damaged: {error!r}; {AGAIN}") from error
    return tars, samples, levels
