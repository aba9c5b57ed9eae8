"""One tar of samples: written whole, with its index."""

from __future__ import annotations

import hashlib
import json
import platform
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, Protocol

import numpy as np

from degflow_pipe import files, folders
from degflow_pipe.chains.chain import Chain, apply_drawn, chain_rng
from degflow_pipe.engines.threads import in_order, threads
from degflow_pipe.engines.ticks import tick
from degflow_pipe.engines.timing import Clock, Took
from degflow_pipe.errors import ShardError, StoreError, UsageError
from degflow_pipe.formats.tarfiles import SAMPLE_LIMIT, Member
from degflow_pipe.levels import Grid, Place, Told
from degflow_pipe.pictures.arrays import is_grey
from degflow_pipe.pictures.formats import PictureFormat
from degflow_pipe.places import place_of
from degflow_pipe.settings import Apart, AtMost, read
from degflow_pipe.shards.layout import (
    PackedLevel,
    ShardSettings,
    drawn_json,
    packed_levels,
    patch_json,
    patch_key,
)
from degflow_pipe.shards.plan import Piece, Row, TarWork
from degflow_pipe.store import BLOCK, BLOCKS, Encoder, PatchRecord, Store
from degflow_pipe.store.reading import block_latents, block_places

if TYPE_CHECKING:
    from webdataset import TarWriter

HELD = 8
"""Blocks of HR that are held, so that none is read twice."""
TAR_LIMIT = 2**50
"""Bytes of a tar."""
BLOCK_OF_TAR = 512
"""Bytes that headers and contents of a tar are filled up to (POSIX ustar)."""


class LR(Protocol):
    """values: (B, T, p, p, 3) uint8. told: see `levels.Told`. evaluations: of v for a patch."""

    @property
    def values(self) -> np.ndarray: ...

    @property
    def evaluations(self) -> int: ...

    @property
    def told(self) -> Told: ...


Levels = Callable[[np.ndarray, Mapping[int, np.ndarray], Sequence[Place]], LR]
"""HR (B, P, P, 3) uint8, latents (B, C, h, w) float32 that the store has, by the number of the
camera, and where the patches were, to LR."""


class Maker(Protocol):
    """Makes the levels of a grid where the store does not hold them; data that can be pickled."""

    @property
    def grid(self) -> Grid: ...

    @property
    def size(self) -> int:
        """Patches that are made together; those of a block are cut so from its first one on."""

    @property
    def device(self) -> str:
        """Where it computes."""

    def open(self) -> AbstractContextManager[Levels]:
        """Load what it needs."""


class Written(Protocol):
    """A file that takes what is written, one byte after the other."""

    def write(self, data: bytes, /) -> int: ...

    def flush(self) -> None: ...


@dataclass(frozen=True)
class TarRecord:
    """What the ledger says of a tar that is whole.

    digest: see `plan.TarWork`. sha256, bytes: of the tar; index_sha256, index_bytes: of its index.
    first_key: of its first sample. squared_error: sum and number by level.
    """

    digest: str
    sha256: str
    bytes: Annotated[int, AtMost(TAR_LIMIT)]
    index_sha256: str
    index_bytes: Annotated[int, AtMost(TAR_LIMIT)]
    samples: int
    pairs: int
    first_key: str
    squared_error: Annotated[dict[str, Any], Apart()]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TarRecord | None:
        """None where it is none: the tar is made again."""
        try:
            found = read(cls, data, "tar")
            if all(len(pair) == 2 and sum(pair) >= 0 for pair in found.squared_error.values()):
                return found
        except (UsageError, TypeError):
            pass
        return None


@dataclass(frozen=True)
class TarDone:
    """record: of a tar that was made. shown: LR, (T, P, P, 3) uint8, of those of the patches that
    the contact sheet shows that were made for it. evaluations: of v for a patch, None where levels
    were read.
    """

    record: TarRecord
    shown: dict[int, np.ndarray]
    took: Took
    evaluations: int | None


@dataclass(frozen=True)
class TarJob:
    """Makes tars: see `engines.job.Job`.

    encoders: whose latents the store holds, by the number of the camera. maker: makes the levels as
    they are wanted, in place of reading them from the store. at_once: threads that code pictures.
    shown: numbers of the patches that the contact sheet shows.
    """

    store: str
    out: str
    settings: ShardSettings
    grid: Grid
    encoders: dict[int, Encoder]
    maker: Maker | None
    at_once: int
    shown: tuple[int, ...]

    @property
    def device(self) -> str:
        """Where it computes."""
        return "cpu" if self.maker is None else self.maker.device

    @contextmanager
    def open(self) -> Iterator[Callable[[TarWork], TarDone]]:
        if not files.exists(place_of(self.out) / folders.MARK):
            raise ShardError(
                f"{self.out} is not there on {platform.node()}, which is to write to it: give a "
                f"folder that all machines share as `out`"
            )
        levels = nullcontext(None) if self.maker is None else self.maker.open()
        with levels as make, threads(self.at_once) as pool:
            sources = Sources(self, Store.open(place_of(self.store)), make)
            yield lambda work: _write(work, sources, pool)


class Sources:
    """What tars are made from."""

    def __init__(self, job: TarJob, store: Store, make: Levels | None) -> None:
        self.job, self.store, self._make = job, store, make
        self.grid = job.grid
        # A block is cut into several batches on the CPU, which follow each other.
        self._block_hr = lru_cache(HELD)(store.block_hr)
        self.patch = store.settings.patch
        store.read_ahead()  # else each thread would read the ledger for itself

    @cached_property
    def levels(self) -> list[PackedLevel]:
        return packed_levels(self.grid, self.patch, self.job.settings)

    @property
    def size(self) -> int:
        """Patches that are read or made together."""
        return BLOCK if self.job.maker is None else self.job.maker.size

    @cached_property
    def formats(self) -> tuple[PictureFormat, PictureFormat]:
        """Of HR and of LR."""
        return self.job.settings.formats()

    @cached_property
    def chain(self) -> Chain | None:
        return self.job.settings.read_chain()

    def after_camera(
        self, lr: np.ndarray, record: PatchRecord, level: PackedLevel
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A packed LR after the chain, and what the sample's JSON says of that."""
        if self.chain is None:
            return lr, {}
        place = record.sha256, record.y, record.x, level.level.name
        rng = chain_rng(self.job.settings.chain_seed, *place)
        drawn = self.chain.draw(rng, is_grey(lr))
        return apply_drawn(lr, drawn), {"chain": drawn}

    def batch(self, piece: Piece, number: int) -> tuple[np.ndarray, np.ndarray, Told, int | None]:
        """HR (B, P, P, 3) and LR (B, T, p, p, 3) of a batch of a block, both uint8, what is told of
        them, and evaluations of v for a patch, where they were made.

        It is whole whatever of it the tar holds, as on a GPU a part may have other bytes.
        """
        block, unit = piece.block, piece.unit
        part = slice(number * self.size, (number + 1) * self.size)
        hr = self._block_hr(block, unit)[part]
        if self._make is None:
            levels = self.store.levels(self.grid)
            told = levels.told(block) if self.grid.told else ()
            if self.grid.told and len(told) != unit.in_block(block % BLOCKS):
                raise StoreError(
                    f"{self.store.path} does not say what the levels of block {block} are: delete "
                    f"{levels.file(block)} and run `generate` again"
                )
            return hr, levels.read(block, unit, piece.levels)[part], told[part], None
        latents = block_latents(self.store, self.job.encoders, block, unit, piece.latents)
        places = block_places(self.store, block)[part]
        lr = self._make(hr, {i: values[part] for i, values in latents.items()}, places)
        return hr, lr.values, lr.told, lr.evaluations


def _write(work: TarWork, sources: Sources, pool: ThreadPoolExecutor) -> TarDone:
    """Write one tar and its index."""
    out, settings = place_of(sources.job.out), sources.job.settings
    tar, index = out / settings.tar(work.number), out / settings.index(work.number)
    with files.writing(tar) as file, files.writing(index) as lines:
        return write_samples(work, sources, pool, file, lines)


def write_samples(
    work: TarWork, sources: Sources, pool: ThreadPoolExecutor, file: Written, lines: Written
) -> TarDone:
    """Write the samples of a tar into a file, and its index into another."""
    from webdataset import TarWriter  # which loads torch

    clock, job = Clock(), sources.job
    errors, counts = np.zeros(len(job.grid)), np.zeros(len(job.grid), int)
    shown: dict[int, np.ndarray] = {}
    keys: list[str] = []
    evaluations: list[int] = []
    name = job.settings.tar(work.number)
    summed, index = _Summed(file), _Summed(lines)
    # Fixed owner, mode and time: the same samples give the same bytes.
    writer = TarWriter(summed, encoder=False, user="degflow", group="degflow", mtime=0)
    try:
        for batch in in_order(_samples, _batches(work, sources), job.at_once, pool):
            tick(sum(len(sample.errors) for sample in batch.made))
            shown |= batch.shown
            evaluations += [] if batch.evaluations is None else [batch.evaluations]
            for sample, note, squares in batch.made:
                keys.append(sample["__key__"])
                members = _add(writer, sample)
                line = {"key": keys[-1], "tar": name, "members": members, "json": note}
                index.write(json.dumps(line, sort_keys=True).encode() + b"\n")
                for i, error in squares.items():
                    errors[i], counts[i] = errors[i] + error, counts[i] + 1
        writer.close()
    except BaseException:
        with suppress(OSError):  # else it tries to write its end when it is collected
            writer.close()
        raise
    record = TarRecord(
        digest=work.digest,
        sha256=summed.digest.hexdigest(),
        bytes=summed.size,
        index_sha256=index.digest.hexdigest(),
        index_bytes=index.size,
        samples=len(keys),
        pairs=int(counts.sum()),
        first_key=keys[0],
        squared_error={
            level.name: [float(e), int(n)]
            for level, e, n in zip(job.grid.levels, errors, counts, strict=True)
        },
    )
    return TarDone(record, shown, clock.took, max(evaluations, default=None))


class _Summed:
    """A file that is summed while it is written, never by reading it back."""

    def __init__(self, file: Written) -> None:
        self._file, self.digest, self.size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Left to whoever opened it."""


def _add(writer: TarWriter, sample: dict[str, Any]) -> dict[str, list[int]]:
    """Write a sample; [offset, size] in bytes of each member by its ending.

    Raises UsageError for a sample that is larger than readers take it to be honest.
    """
    contents = {ending: part for ending, part in sample.items() if ending != "__key__"}
    size = sum(map(len, contents.values()))
    if size > SAMPLE_LIMIT:
        raise UsageError(
            f"a sample of {size} bytes is more than the {SAMPLE_LIMIT} that are read: choose "
            f"`layout` pairs, or smaller patches"
        )
    at = writer.tarstream.offset
    writer.write(sample)
    members = {}
    for ending in sorted(contents):
        members[ending] = [at + BLOCK_OF_TAR, len(contents[ending])]
        filled = -(-len(contents[ending]) // BLOCK_OF_TAR) * BLOCK_OF_TAR
        at += BLOCK_OF_TAR + filled
    assert at == writer.tarstream.offset, "a member has one header"
    return members


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


class _Batch(NamedTuple):
    """A part of a tar: its rows of patches that are read or made together."""

    sources: Sources
    piece: Piece
    number: int
    rows: list[Row]


class _Sample(NamedTuple):
    """A sample, its JSON, and the mean squared error of each of its levels, by index."""

    sample: dict[str, Any]
    note: dict[str, Any]
    errors: dict[int, float]


class _Made(NamedTuple):
    made: list[_Sample]
    shown: dict[int, np.ndarray]
    evaluations: int | None


def _batches(work: TarWork, sources: Sources) -> Iterator[_Batch]:
    """A tar's rows, cut where batches end."""
    rows = work.rows(len(sources.grid))
    for (_, number), found in groupby(rows, lambda r: (r.piece.block, r.place // sources.size)):
        batch = list(found)
        yield _Batch(sources, batch[0].piece, number, batch)


def _samples(batch: _Batch) -> _Made:
    """Samples of a batch, coded."""
    made: list[_Sample] = []
    shown: dict[int, np.ndarray] = {}
    sources, settings = batch.sources, batch.sources.job.settings
    unit, in_unit = divmod(batch.piece.block, BLOCKS)
    records = sources.store.patches(unit)[in_unit * BLOCK :]
    hr_batch, lr_batch, told_batch, evaluations = sources.batch(batch.piece, batch.number)
    for row in batch.rows:
        record, place = records[row.place], row.place % sources.size
        hr, lr = hr_batch[place], lr_batch[place]
        levels = [level.to_dict() for level in sources.levels]
        for i, drawn in enumerate(told_batch[place] if told_batch else ()):
            levels[i] |= drawn_json(sources.grid, sources.grid.levels[i], drawn)
        squares = {
            i: sources.levels[i].packing.squared_error(hr, lr[i]) for i in range(row.first, row.end)
        }
        number = batch.piece.block * BLOCK + row.place
        if number in sources.job.shown:
            shown[number] = lr
        key = patch_key(number, record)
        if settings.layout == "grouped":
            made.append(_Sample(*_grouped(key, hr, lr, record, levels, sources), squares))
            continue
        hr_files: dict[int, bytes] = {}
        for i, error in squares.items():
            packed_hr, packed_lr = sources.levels[i].packing.apply(hr, lr[i])
            # Most levels pack the same HR: it is coded once.
            if len(packed_hr) not in hr_files:
                hr_files[len(packed_hr)] = sources.formats[0].encode(packed_hr)
            hr_file = hr_files[len(packed_hr)]
            packed_lr, after = sources.after_camera(packed_lr, record, sources.levels[i])
            lr_file = sources.formats[1].encode(packed_lr)
            note = {**patch_json(record, sources.patch, sources.grid), **levels[i], **after}
            made.append(_Sample(_pair(key, hr_file, lr_file, note, sources), note, {i: error}))
    return _Made(made, shown, evaluations)


def _pair(
    key: str, hr_file: bytes, lr_file: bytes, note: dict[str, Any], sources: Sources
) -> dict[str, Any]:
    hr_format, lr_format = sources.formats
    return {
        "__key__": f"{key}-{note['level']}",
        f"hr.{hr_format.ending}": hr_file,
        "json": _json_bytes(note),
        f"lr.{lr_format.ending}": lr_file,
    }


def _grouped(
    key: str,
    hr: np.ndarray,
    lr_levels: np.ndarray,
    record: PatchRecord,
    levels: list[dict[str, Any]],
    sources: Sources,
) -> tuple[dict[str, Any], dict[str, Any]]:
    hr_format, lr_format = sources.formats
    # Once, as large as the level that uses most of it; each level's JSON says how much it uses.
    side = max(level.packing.hr for level in sources.levels)
    hr = hr[:side, :side]
    notes, lr_files = [], {}
    for level, said, lr in zip(sources.levels, levels, lr_levels, strict=True):
        _, packed = level.packing.apply(hr, lr)
        packed, after = sources.after_camera(packed, record, level)
        notes.append({**said, **after})
        lr_files[f"lr_{level.level.name}.{lr_format.ending}"] = lr_format.encode(packed)
    note = {**patch_json(record, sources.patch, sources.grid), "levels": notes}
    sample = {
        "__key__": key,
        f"hr.{hr_format.ending}": hr_format.encode(hr),
        "json": _json_bytes(note),
        **lr_files,
    }
    return sample, note


def _json_bytes(note: dict[str, Any]) -> bytes:
    return json.dumps(note, sort_keys=True).encode()
