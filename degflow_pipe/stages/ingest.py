"""ingest: photos -> patches -> latents, into the store.

The photos are one stream of patches in a fixed order, cut into units of UNIT patches. What is in
the store is left when an ingest is run again, and the patches that are not take the free numbers
from the lowest up: so an ingest that was stopped ends in the same store as one that was not, and
units that were lost are filled again by the photos they were of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import defaults, files, folders
from degflow_pipe.degflow import DegFlow
from degflow_pipe.engine import Engine, check_workers, in_order
from degflow_pipe.errors import PhotoError, StoreError, UsageError
from degflow_pipe.patches import Patch, check_grid, check_size, crop_patches
from degflow_pipe.photos import (
    Photo,
    PhotoFile,
    check_max_pixels,
    decode,
    decoded_bytes,
    find_photos,
    read_file,
)
from degflow_pipe.pictures import to_tensor
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.stages.common import Batches, checkpoint_id, one_thread_each
from degflow_pipe.stages.remove import drop_photos, finish_move
from degflow_pipe.store import UNIT, PatchRecord, PhotoRecord, Store, StoreSettings
from degflow_pipe.store.lacking import lacking
from degflow_pipe.store.records import Ledger, photo_key
from degflow_pipe.store.store import DESCRIPTION, KIND
from degflow_pipe.text import printable

NOT_DECODED = np.empty((0, 0, 3), np.uint8)


@dataclass
class IngestSummary:
    """What an ingest did. photos: newly ingested; known: already in the store.

    other_settings: those of the known ones that were cropped with another stride or min_detail, and
    stay so. replaced: photos that went because others of their names came. lacking: photos and
    units of earlier ingests that are not whole. left_out: files that are no photos, by ending.
    colours: new photos whose colours were not plain sRGB, by what was done. unchecked: those in
    which damage may go unseen, by kind. batch: patches encoded at once, the least where a GPU's
    memory did not do for what was asked.
    """

    store: str
    photos: int = 0
    known: int = 0
    patches: int = 0
    flat: int = 0
    duplicate: int = 0
    other_settings: int = 0
    replaced: int = 0
    lacking: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    colours: dict[str, int] = field(default_factory=dict)
    unchecked: dict[str, int] = field(default_factory=dict)
    patches_in_store: int = 0
    batch: int = 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class PatchUnit:
    """A unit of work: up to UNIT patches for one place in the store."""

    number: int
    pixels: list[np.ndarray] = field(default_factory=list)
    records: list[PatchRecord] = field(default_factory=list)
    finished: list[PhotoRecord] = field(default_factory=list)


def ingest(
    photos: Sequence[str],
    store: Path,
    model: DegFlow,
    *,
    patch: int = defaults.PATCH,
    stride: int | None = None,
    min_detail: float = defaults.MIN_DETAIL,
    strict: bool = False,
    max_pixels: int = defaults.MAX_PIXELS,
    replace: bool = False,
    batch: int = defaults.BATCH,
    workers: int = 0,
    progress: Progress | None = None,
    engine: Engine = in_order,
) -> IngestSummary:
    """Crop photos into HR patches, encode their latents, and append both to the store.

    photos: files, folders and globs. patch, stride: in pixels (stride: the patch by default).
    min_detail: patches with less (see `patches.Patch.detail`) and repeated ones are dropped; 0
    keeps all. strict: a photo that cannot be used is an error, not a skip. max_pixels: a
    photo of more is not read. replace: where the store
    holds another photo of the same name, that one goes; else both stay. batch: patches encoded at
    once on a GPU. workers: 0 for one a core. A photo that is in the store already, by the hash of
    its file, is left as it is.

    Raises UsageError, PhotoError (strict, or where no photo can be used), StoreError for a store of
    another patch size or checkpoint, FileError where the store cannot be written.
    """
    stride = patch if stride is None else stride
    check_grid(patch, stride, model.model.side_multiple)
    if not 0 <= min_detail < float("inf"):
        raise UsageError(f"--min-detail must be 0 or more, got {min_detail}")
    batches = Batches(model, batch)
    workers = check_workers(workers)
    check_max_pixels(max_pixels)
    left_out: dict[str, int] = {}
    found = list(find_photos(photos, left_out))
    with folders.one_writer(store, KIND), one_thread_each(model):
        target = _open(store, patch, model)
        finish_move(target)
        stream = _Stream(target, patch, stride, min_detail, strict, workers, max_pixels)
        stream.summary.left_out = left_out
        target.write_ledger(Ledger(False, stream.ledger))

        def work(unit: PatchUnit) -> PatchUnit:
            return ingest_unit(unit, target, batches)

        with (progress or Silent()).task("ingest", len(found)) as task:
            for _ in engine(work, stream.units(found, task), workers):
                pass
            stream.note_known(task)
            _same_names(target, stream, replace, task)
        target.write_ledger(Ledger(True, stream.ledger))
        target.note_skipped(stream.summary.skipped, stream.ingested)
        stream.summary.lacking = len(lacking(target))
    summary = stream.summary
    summary.batch = batches.least
    summary.patches_in_store = sum(len(record.patches) for _, record in target.records())
    if not summary.patches_in_store:
        reasons = "; ".join(list(summary.skipped.values())[:3]) or "every patch was flat"
        raise PhotoError(f"no patch came of {len(found)} photos: {reasons}")
    if len(summary.skipped) == len(found):
        reasons = "; ".join(list(summary.skipped.values())[:3])
        raise PhotoError(f"none of {len(found)} photos could be used: {reasons}")
    return summary


def ingest_unit(unit: PatchUnit, store: Store, batches: Batches) -> PatchUnit:
    """Encode one unit's patches and write them, their latents and, last, the unit's mark."""
    hr, size = np.stack(unit.pixels), batches.size
    parts = [
        batches.compute(lambda x: batches.model.latents(to_tensor(x)), hr[i : i + size])
        for i in range(0, len(hr), size)
    ]
    latents = np.concatenate([part.cpu().numpy() for part in parts])
    store.write_patches(unit.number, hr, latents, unit.records, unit.finished, batches.used)
    return unit


def _open(path: Path, patch: int, model: DegFlow) -> Store:
    """The store, made where there is none; refused where it was made with other settings."""
    identity = checkpoint_id(model)
    if not files.exists(path / DESCRIPTION):
        if left := folders.held(path):
            raise StoreError(
                f"{path} has lost its description, {DESCRIPTION}, and holds {left[0]}: put a copy "
                f"of it back, or ingest into another --store"
            )
        side = patch // 8
        shape = [model.model.rae.latent_channels, side, side]
        assert model.info is not None  # checkpoint_id has seen to it
        return Store.create(path, StoreSettings(patch, identity, model.info.s_max, shape))
    store = Store.open(path)
    if store.settings.patch != patch:
        raise StoreError(
            f"{path} holds patches of {store.settings.patch}, not {patch}: give --patch "
            f"{store.settings.patch} or another --store"
        )
    if store.settings.checkpoint != identity:
        raise StoreError(
            f"{path} was made with the checkpoint {store.settings.checkpoint}, not {identity}: "
            f"give that one with --checkpoint, or another --store"
        )
    store.mend()
    return store


def _same_names(store: Store, stream: _Stream, replace: bool, task: Task) -> None:
    """Photos in the store that bear the name of one given now and are other files."""
    other = {
        photo.sha256: name
        for photo in stream.finished.values()
        if (name := photo.source) in stream.given and photo.sha256 not in stream.given[name]
    }
    # Two files of one name, given together, are no versions of each other.
    twice = [name for name in other.values() if len(stream.given[name]) > 1]
    if not other:
        return
    names = ", ".join(sorted(set(other.values()))[:3])
    if not replace or twice:
        task.note(
            f"the store holds other photos of the same names too ({names}): with --replace they go"
        )
        return
    drop_photos(store, set(other))
    for sha256 in other:
        stream.ledger.pop(photo_key(sha256), None)
    stream.summary.replaced = len(other)
    task.note(f"replaced: {names}")


class _Stream:
    """The stream of patches of an ingest, cut into units that take the free numbers of the store.

    ledger: patches of every photo that was ever finished, see `Ledger`. finished: the record of
    each by the hash of its file. given: hashes of the photos that came now, by name.
    """

    def __init__(
        self,
        store: Store,
        patch: int,
        stride: int,
        min_detail: float,
        strict: bool,
        readers: int,
        max_pixels: int,
    ) -> None:
        self.store, self.patch, self.stride = store, patch, stride
        self.min_detail, self.strict, self.readers = min_detail, strict, readers
        self.max_pixels = max_pixels
        self.summary = IngestSummary(store=printable(str(store.path)))
        self.seen: set[str] = set()
        self.ingested: set[str] = set()
        self.finished: dict[str, PhotoRecord] = {}
        self.given: dict[str, set[str]] = {}
        self.begun: set[tuple[str, int, int]] = set()
        self.free = self._survey()
        self.in_store = frozenset(self.known)

    def _survey(self) -> Iterator[int]:
        """Take in what the store holds; the numbers that are free, from the lowest up."""
        taken: set[int] = set()
        held: Counter[str] = Counter()
        for unit, record in self.store.records():
            if not self.store.has_patches(unit, record):
                continue
            taken.add(unit)
            self.finished |= {photo.sha256: photo for photo in record.finished}
            held.update(patch.sha256 for patch in record.patches)
            self.seen.update(patch.digest for patch in record.patches)
        # Records, for a store whose ledger is lost; else it alone knows of units that are.
        self.ledger = {photo_key(sha256): p.kept for sha256, p in self.finished.items()}
        self.ledger |= self.store.ledger().photos
        self.known = {
            sha256 for sha256 in self.finished if held[sha256] >= self.ledger[photo_key(sha256)]
        }
        for unit in taken:
            self.begun |= {
                (patch.sha256, patch.y, patch.x)
                for patch in self.store.record(unit).patches
                if patch.sha256 not in self.known
            }
        return (number for number in count() if number not in taken)

    def units(self, found: list[PhotoFile], task: Task) -> Iterator[PatchUnit]:
        """Units in order. A full one waits for the next patch, to take in the photos it ends."""
        unit = PatchUnit(next(self.free))
        photos = in_order(self._read, found, self.readers, cost=self._bytes)
        for file, photo in zip(found, photos, strict=True):
            if isinstance(photo, PhotoError):
                if self.strict:
                    raise photo
                self.summary.skipped[file.name] = str(photo)
                task.note(f"skipped {photo}")
            elif photo.sha256 in self.known:
                self.given.setdefault(file.name, set()).add(photo.sha256)
                self.summary.known += 1
            else:
                self.given.setdefault(file.name, set()).add(photo.sha256)
                before = self.finished.get(photo.sha256)
                counts = _Counts()
                for patch, record in self._kept(file, photo, before, counts):
                    if len(unit.records) == UNIT:
                        self.store.make_room(unit.number + 1)
                        yield unit
                        unit = PatchUnit(next(self.free))
                    unit.pixels.append(patch.pixels)
                    unit.records.append(record)
                if before is None:
                    made = self._record(file, photo, counts)
                    unit.finished.append(made)
                    self.finished[photo.sha256] = made
                self.known.add(photo.sha256)
                self.ledger[photo_key(photo.sha256)] = counts.kept
                self.ingested.add(file.name)
                photo.count(self.summary.colours, self.summary.unchecked)
                self._count(counts)
            task.advance()
        if unit.records:
            self.store.make_room(unit.number + 1)
            yield unit

    def _record(self, file: PhotoFile, photo: Photo, counts: _Counts) -> PhotoRecord:
        return PhotoRecord(
            source=file.name,
            sha256=photo.sha256,
            kept=counts.kept,
            flat=counts.flat,
            duplicate=counts.duplicate,
            stride=self.stride,
            min_detail=self.min_detail,
            colour=photo.colour,
        )

    def note_known(self, task: Task) -> None:
        """Say which of the known photos were cropped in another way than is asked for now."""
        given = {sha256 for hashes in self.given.values() for sha256 in hashes}
        other = [
            photo
            for sha256 in given
            if (photo := self.finished.get(sha256)) is not None
            and (photo.stride, photo.min_detail) != (self.stride, self.min_detail)
        ]
        self.summary.other_settings = len(other)
        if other:
            task.note(
                f"{len(other)} photos are in the store, cropped with --stride {other[0].stride} "
                f"--min-detail {other[0].min_detail:g}, and stay so: `remove` them first, or give "
                f"another --store"
            )

    def _read(self, file: PhotoFile) -> Photo | PhotoError:
        """The photo, or why it cannot be used; one that is in the store is not decoded."""
        try:
            data, sha256 = read_file(file.path)
            if sha256 in self.in_store:
                return Photo(NOT_DECODED, sha256)
            decoded = decode(data, str(file.path), self.max_pixels)
            check_size(decoded.pixels, self.patch, printable(str(file.path)))
        except PhotoError as error:
            return error
        return Photo(decoded.pixels, sha256, decoded.colour, decoded.unchecked)

    def _bytes(self, file: PhotoFile) -> int:
        return decoded_bytes(file.path, self.max_pixels)

    def _kept(
        self, file: PhotoFile, photo: Photo, before: PhotoRecord | None, counts: _Counts
    ) -> Iterator[tuple[Patch, PatchRecord]]:
        """The photo's patches that are neither flat, repeated nor in the store already.

        before: its record, where it has lost some; it is cropped again as it was.
        """
        stride, min_detail = self.stride, self.min_detail
        if before is not None:
            stride, min_detail = before.stride, before.min_detail
        for patch in crop_patches(photo.pixels, self.patch, stride):
            if (photo.sha256, patch.y, patch.x) in self.begun:
                counts.kept += 1
                continue
            record = PatchRecord(
                source=file.name,
                sha256=photo.sha256,
                y=patch.y,
                x=patch.x,
                detail=round(patch.detail, 4),
                digest=patch.digest,
            )
            if min_detail > 0 and record.detail < min_detail:
                counts.flat += 1
            elif min_detail > 0 and record.digest in self.seen:
                counts.duplicate += 1
            else:
                counts.kept += 1
                self.summary.patches += 1
                self.seen.add(record.digest)
                yield patch, record

    def _count(self, counts: _Counts) -> None:
        self.summary.photos += 1
        self.summary.flat += counts.flat
        self.summary.duplicate += counts.duplicate


@dataclass
class _Counts:
    """What became of one photo's patches."""

    kept: int = 0
    flat: int = 0
    duplicate: int = 0
