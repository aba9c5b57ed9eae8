"""ingest: photos -> patches -> latents, into the store.

The photos are one stream of patches in a fixed order, cut into units of UNIT patches. Complete
units at the head of the stream are kept when an ingest is run again; the stream goes on after them,
so an ingest that was stopped ends in the same store as one that was not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import defaults, files
from degflow_pipe.degflow import DegFlow
from degflow_pipe.engine import Engine, check_workers, in_order
from degflow_pipe.errors import PhotoError, StoreError, UsageError
from degflow_pipe.patches import Patch, check_grid, check_size, crop_patches
from degflow_pipe.photos import Photo, PhotoFile, decode_photo, find_photos, read_file
from degflow_pipe.pictures import to_tensor
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.stages.common import Batches, checkpoint_id, one_thread_each
from degflow_pipe.store import UNIT, PatchRecord, PhotoRecord, Store, StoreSettings


@dataclass
class IngestSummary:
    """What an ingest did. photos: newly ingested; known: already in the store.

    batch: patches encoded at once, the least where a GPU's memory did not do for what was asked.
    """

    store: str
    photos: int = 0
    known: int = 0
    patches: int = 0
    flat: int = 0
    duplicate: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
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
    batch: int = defaults.BATCH,
    workers: int = 0,
    progress: Progress | None = None,
    engine: Engine = in_order,
) -> IngestSummary:
    """Crop photos into HR patches, encode their latents, and append both to the store.

    photos: files, folders and globs. patch, stride: in pixels (stride: the patch by default).
    min_detail: patches with less (see `patches.Patch.detail`) and repeated ones are dropped; 0
    keeps all. strict: a photo that cannot be used is an error, not a skip. batch: patches encoded
    at once on a GPU. workers: 0 for one a core. A photo that is in the store already, by the hash
    of its file, is left as it is.

    Raises UsageError, PhotoError (strict, or where no photo can be used), StoreError for a store of
    another patch size or checkpoint, FileError where the store cannot be written.
    """
    stride = patch if stride is None else stride
    check_grid(patch, stride, model.model.side_multiple)
    if not 0 <= min_detail < float("inf"):
        raise UsageError(f"--min-detail must be 0 or more, got {min_detail}")
    batches = Batches(model, batch)
    workers = check_workers(workers)
    found = list(find_photos(photos))
    with files.one_writer(store), one_thread_each(model):
        target = _open(store, patch, model)
        stream = _Stream(target, patch, stride, min_detail, strict, workers)

        def work(unit: PatchUnit) -> PatchUnit:
            return ingest_unit(unit, target, batches)

        with (progress or Silent()).task("ingest", len(found)) as task:
            for _ in engine(work, stream.units(found, task), workers):
                pass
        target.note_skipped(stream.summary.skipped, stream.ingested)
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
    if not files.exists(path / "zarr.json"):
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
    return store


class _Stream:
    """The stream of patches of an ingest, cut into units after those that are complete."""

    def __init__(
        self,
        store: Store,
        patch: int,
        stride: int,
        min_detail: float,
        strict: bool,
        readers: int,
    ) -> None:
        self.store, self.patch, self.stride = store, patch, stride
        self.min_detail, self.strict, self.readers = min_detail, strict, readers
        self.summary = IngestSummary(store=str(store.path))
        self.seen: set[str] = set()
        self.done: set[str] = set()
        self.ingested: set[str] = set()
        self.begun: set[tuple[str, int, int]] = set()
        self.next_unit = self._read_head()
        self.known = frozenset(self.done)

    def _read_head(self) -> int:
        """Take in the complete units at the head of the store; forget those after a gap."""
        units = self.store.units()
        head = next((i for i, unit in enumerate(units) if unit != i), len(units))
        for unit in units[head:]:
            self.store.forget(unit)
        for unit in range(head):
            record = self.store.record(unit)
            self.done.update(photo.sha256 for photo in record.finished)
            for p in record.patches:
                self.seen.add(p.digest)
                self.begun.add((p.sha256, p.y, p.x))
            self.begun = {place for place in self.begun if place[0] not in self.done}
        return head

    def units(self, found: list[PhotoFile], task: Task) -> Iterator[PatchUnit]:
        """Units in order. A full one waits for the next patch, to take in the photos it ends."""
        unit = PatchUnit(self.next_unit)
        photos = in_order(self._read, found, self.readers)
        for file, photo in zip(found, photos, strict=True):
            if isinstance(photo, PhotoError):
                if self.strict:
                    raise photo
                self.summary.skipped[file.name] = str(photo)
                task.note(f"skipped {photo}")
            elif photo is None or photo.sha256 in self.done:
                self.summary.known += 1
            else:
                counts = _Counts()
                for patch, record in self._kept(file, photo, counts):
                    if len(unit.records) == UNIT:
                        self.store.make_room(unit.number + 1)
                        yield unit
                        unit = PatchUnit(unit.number + 1)
                    unit.pixels.append(patch.pixels)
                    unit.records.append(record)
                unit.finished.append(
                    PhotoRecord(file.name, photo.sha256, counts.kept, counts.flat, counts.duplicate)
                )
                self.done.add(photo.sha256)
                self.ingested.add(file.name)
                self._count(counts)
            task.advance()
        if unit.records:
            self.store.make_room(unit.number + 1)
            yield unit

    def _read(self, file: PhotoFile) -> Photo | PhotoError | None:
        """The photo, why it cannot be used, or None where it is in the store: not decoded then."""
        try:
            data, sha256 = read_file(file.path)
            if sha256 in self.known:
                return None
            pixels = decode_photo(data, str(file.path))
            check_size(pixels, self.patch, str(file.path))
        except PhotoError as error:
            return error
        return Photo(pixels, sha256)

    def _kept(
        self, file: PhotoFile, photo: Photo, counts: _Counts
    ) -> Iterator[tuple[Patch, PatchRecord]]:
        """The photo's patches that are neither flat, repeated nor in the store already."""
        for patch in crop_patches(photo.pixels, self.patch, self.stride):
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
            if self.min_detail > 0 and record.detail < self.min_detail:
                counts.flat += 1
            elif self.min_detail > 0 and record.digest in self.seen:
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
