"""One tar of samples: written whole, and remembered in a mark with its index."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from webdataset import TarWriter

from degflow_pipe import files
from degflow_pipe.engines.threads import in_order
from degflow_pipe.errors import FileError, UsageError
from degflow_pipe.formats.tarfiles import SAMPLE_LIMIT, Member
from degflow_pipe.levels import Grid
from degflow_pipe.pictures.formats import PictureFormat, parse_format
from degflow_pipe.shards.layout import (
    PackedLevel,
    ShardSettings,
    TarPlan,
    packed_levels,
    patch_json,
    patch_key,
    settings_json,
)
from degflow_pipe.store import PatchRecord, Store

SHOWN = 4
"""Patches, at most, that the contact sheet shows."""


class Maker(Protocol):
    """Makes the levels of a grid, `batch` patches at once, where the store does not hold them."""

    grid: Grid
    batch: int

    def levels(self, hr: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """(B, P, P, 3) uint8 and (B, C, h, w) float32 to (B, T, P, P, 3) uint8."""


@dataclass(frozen=True)
class Sources:
    """What tars are made from: a store, one of its grids, and the settings.

    maker: makes the levels as they are wanted, in place of reading them from the store. kept: the
    levels that were made of the patches in `shown`, so that they are not made twice.
    """

    store: Store
    grid: Grid
    settings: ShardSettings
    maker: Maker | None = None
    kept: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    @cached_property
    def shown(self) -> list[tuple[int, int]]:
        """Unit and place of the patches that the contact sheet shows, spread over the store."""
        units = spread(self.store.units(), SHOWN)
        return [(unit, len(self.store.record(unit).patches) // 2) for unit in units]

    @cached_property
    def levels(self) -> list[PackedLevel]:
        return packed_levels(self.grid, self.store.settings, self.settings)

    @property
    def batch(self) -> int:
        """Patches that are made together; those of a unit are cut so from its first one on."""
        return 1 if self.maker is None else self.maker.batch

    @cached_property
    def format(self) -> PictureFormat:
        return parse_format(self.settings.picture_format)


class UnitReader:
    """HR and levels of one unit's patches."""

    def __init__(self, sources: Sources, unit: int) -> None:
        store, self.maker = sources.store, sources.maker
        self.sources, self.unit, self.size = sources, unit, sources.batch
        self.records = store.record(unit).patches
        self.hr = store.hr(unit)
        if self.maker is None:
            self.lr = store.levels(sources.grid.name, unit)
        else:
            self.latents = store.latents(unit)

    def batch(self, number: int) -> np.ndarray:
        """LR of a batch, (B, T, P, P, 3) uint8: whole, as on a GPU a part may have other bytes."""
        batch = slice(number * self.size, (number + 1) * self.size)
        if self.maker is None:
            return self.lr[batch]
        made = self.maker.levels(self.hr[batch], self.latents[batch])
        for unit, place in self.sources.shown:
            if unit == self.unit and place // self.size == number:
                self.sources.kept[unit, place] = made[place % self.size]
        return made

    def levels(self, place: int) -> np.ndarray:
        """LR of the patch at that place in the unit, (T, P, P, 3) uint8."""
        kept = self.sources.kept.get((self.unit, place))
        return self.batch(place // self.size)[place % self.size] if kept is None else kept


def spread(items: list[int], count: int) -> list[int]:
    """Up to `count` items, first and last among them, evenly apart."""
    if len(items) <= count:
        return items
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def shard_unit(
    plan: TarPlan,
    sources: Sources,
    out: Path,
    workers: int,
    pool: ThreadPoolExecutor,
    trusted: bool = False,
) -> dict[str, Any]:
    """Write one tar, its index and, last, its mark; a tar whose mark still fits is left as it is.

    workers: batches that are made and coded at once, in the threads of `pool`, which several tars
    may share. trusted: a tar that is left is looked at by its length alone, else by its sum.
    Returns the mark: digest, tar, sha256, bytes, samples, pairs, squared error by level, and
    index_sha256.
    """
    known = kept_tar(plan, sources, out, trusted)
    if known is not None:
        return known
    tar = out / sources.settings.tar(plan.number)
    mark_path, index = _mark_paths(out, sources.settings, plan.number)
    files.remove(mark_path)
    errors = np.zeros(len(sources.grid))
    counts = np.zeros(len(sources.grid), int)
    notes: dict[str, dict[str, Any]] = {}
    with files.writing(tar) as file:
        # Fixed owner, mode and time: the same samples give the same bytes.
        writer = TarWriter(file, encoder=False, user="degflow", group="degflow", mtime=0)
        try:
            for batch in in_order(_samples, _batches(plan, sources), workers, pool):
                for sample, note, squares in batch:
                    _check_size(sample)
                    writer.write(sample)
                    notes[sample["__key__"]] = note
                    for i, error in squares.items():
                        errors[i], counts[i] = errors[i] + error, counts[i] + 1
            writer.close()
        except BaseException:
            with suppress(OSError):  # else it tries to write its end when it is collected
                writer.close()
            raise
    with files.writing(index) as lines:
        for key, members in tar_members(tar):
            line = {"key": key, "tar": tar.name, "members": members, "json": notes[key]}
            lines.write(json.dumps(line, sort_keys=True).encode() + b"\n")
    mark = {
        "digest": _digest(plan, sources),
        "tar": tar.name,
        "sha256": files.sha256(tar),
        "bytes": files.size(tar),
        "samples": len(notes),
        "pairs": int(counts.sum()),
        "squared_error": {
            level.name: [float(e), int(n)]
            for level, e, n in zip(sources.grid.levels, errors, counts, strict=True)
        },
        "index_sha256": files.sha256(index),
    }
    files.write_summed(mark_path, mark)
    return mark


def _check_size(sample: dict[str, Any]) -> None:
    """Raises UsageError for a sample that is larger than readers take it to be honest."""
    size = sum(len(part) for key, part in sample.items() if key != "__key__")
    if size > SAMPLE_LIMIT:
        raise UsageError(
            f"a sample of {size} bytes is more than the {SAMPLE_LIMIT} that are read: choose "
            f"--layout pairs, or smaller patches"
        )


def _mark_paths(out: Path, settings: ShardSettings, number: int) -> tuple[Path, Path]:
    """The mark of a tar, and its part of the index."""
    marks = out / settings.marks
    return marks / f"{number:06d}.json", marks / f"{number:06d}.jsonl"


def index_part(out: Path, settings: ShardSettings, number: int) -> Path:
    """The lines of the index that are a tar's, kept beside its mark."""
    return _mark_paths(out, settings, number)[1]


def read_mark(path: Path) -> dict[str, Any] | None:
    """The mark of a tar; None where there is none, or it is damaged: the tar is made again."""
    if not files.exists(path):
        return None
    try:
        mark = files.read_summed(path)
    except FileError:
        return None
    fields = {"digest", "tar", "sha256", "bytes", "samples", "pairs", "squared_error"}
    return mark if mark.keys() == fields | {"index_sha256"} else None


def kept_tar(plan: TarPlan, sources: Sources, out: Path, trusted: bool) -> dict[str, Any] | None:
    """The mark of a tar that is there, whole, and what would be made now; else None."""
    tar = out / sources.settings.tar(plan.number)
    mark_path, index = _mark_paths(out, sources.settings, plan.number)
    mark = read_mark(mark_path)
    if mark is None or mark["digest"] != _digest(plan, sources):
        return None
    if not (files.exists(tar) and files.exists(index) and files.size(tar) == mark["bytes"]):
        return None
    if files.sha256(index) != mark["index_sha256"]:
        return None
    return mark if trusted or files.sha256(tar) == mark["sha256"] else None


def tar_members(path: Path) -> Iterator[tuple[str, dict[str, list[int]]]]:
    """Samples of a tar in order: key, and [offset, size] in bytes of each member by its ending.

    Raises tarfile.TarError for a damaged tar.
    """
    with files.reading(path) as file, tarfile.open(fileobj=file, mode="r:", tarinfo=Member) as tar:
        key = ""
        members: dict[str, list[int]] = {}
        for member in tar:
            found, _, ending = member.name.partition(".")
            if members and found != key:
                yield key, members
                members = {}
            key = found
            members[ending] = [member.offset_data, member.size]
        if members:
            yield key, members


def _digest(plan: TarPlan, sources: Sources) -> str:
    """Changes whenever the tar's bytes would."""
    store, grid = sources.store, sources.grid
    parts = [
        settings_json(sources.settings, store.settings, grid),
        grid.scales,
        plan.rows,
        [
            [
                unit,
                store.record(unit).sha256,
                "made" if sources.maker else store.levels_record(grid.name, unit).sha256,
            ]
            for unit in plan.units
        ],
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class _Batch:
    """A part of a tar: its rows of patches that are made together."""

    sources: Sources
    reader: UnitReader
    number: int
    rows: list[tuple[int, int, int, int]]


class _Made(NamedTuple):
    """A sample, its JSON, and the mean squared error of each of its levels, by index."""

    sample: dict[str, Any]
    note: dict[str, Any]
    errors: dict[int, float]


def _batches(plan: TarPlan, sources: Sources) -> Iterator[_Batch]:
    """A tar's rows, cut where the maker's batches end; single patches where levels are stored."""
    held = -1
    for (unit, number), rows in groupby(plan.rows, lambda row: (row[0], row[1] // sources.batch)):
        if unit != held:
            held, reader = unit, UnitReader(sources, unit)
        yield _Batch(sources, reader, number, list(rows))


def _samples(batch: _Batch) -> list[_Made]:
    """Samples of a batch, coded."""
    made: list[_Made] = []
    sources = batch.sources
    lr = batch.reader.batch(batch.number)
    for unit, place, first, end in batch.rows:
        hr, record = batch.reader.hr[place], batch.reader.records[place]
        lr_levels = lr[place % batch.reader.size]
        squares = {
            i: float(np.mean((hr.astype(np.float64) - lr_levels[i]) ** 2))
            for i in range(first, end)
        }
        key = patch_key(unit, place, record)
        if sources.settings.layout == "grouped":
            made.append(_Made(*_grouped(key, hr, lr_levels, record, sources), squares))
            continue
        hr_files: dict[int, bytes] = {}
        for i, error in squares.items():
            packed_hr, packed_lr = sources.levels[i].packing.apply(hr, lr_levels[i])
            # Most levels pack the same HR: it is coded once.
            if len(packed_hr) not in hr_files:
                hr_files[len(packed_hr)] = sources.format.encode(packed_hr)
            hr_file = hr_files[len(packed_hr)]
            lr_file = sources.format.encode(packed_lr)
            made.append(_Made(*_pair(key, hr_file, lr_file, i, record, sources), {i: error}))
    return made


def _pair(
    key: str, hr_file: bytes, lr_file: bytes, i: int, record: PatchRecord, sources: Sources
) -> tuple[dict[str, Any], dict[str, Any]]:
    ending, level = sources.format.ending, sources.levels[i]
    note = {**patch_json(record, sources.store.settings, sources.grid), **level.to_dict()}
    sample = {
        "__key__": f"{key}-{level.level.name}",
        f"hr.{ending}": hr_file,
        "json": _json_bytes(note),
        f"lr.{ending}": lr_file,
    }
    return sample, note


def _grouped(
    key: str, hr: np.ndarray, lr_levels: np.ndarray, record: PatchRecord, sources: Sources
) -> tuple[dict[str, Any], dict[str, Any]]:
    picture_format = sources.format
    note = {
        **patch_json(record, sources.store.settings, sources.grid),
        "levels": [level.to_dict() for level in sources.levels],
    }
    sample = {
        "__key__": key,
        f"hr.{picture_format.ending}": picture_format.encode(hr),
        "json": _json_bytes(note),
    }
    for level, lr in zip(sources.levels, lr_levels, strict=True):
        _, packed = level.packing.apply(hr, lr)
        name = f"lr_{level.level.name}.{picture_format.ending}"
        sample[name] = picture_format.encode(packed)
    return sample, note


def _json_bytes(note: dict[str, Any]) -> bytes:
    return json.dumps(note, sort_keys=True).encode()
