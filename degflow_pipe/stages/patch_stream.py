"""The stream of patches of an ingest: photos in a fixed order, cropped, cut into units of work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count
from typing import Any

import numpy as np

from degflow_pipe.engines.threads import in_order
from degflow_pipe.errors import PhotoError
from degflow_pipe.formats.text import printable
from degflow_pipe.pictures.patches import Patch, check_size, crop_patches
from degflow_pipe.pictures.photos import Photo, PhotoFile, decode, decoded_bytes, read_file
from degflow_pipe.progress import Task
from degflow_pipe.store import UNIT, PatchRecord, PhotoRecord, Store
from degflow_pipe.store.records import photo_key

MOST_EMPTY = 10_000
"""Photos that one unit's mark names though they gave no patch."""
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


class PatchStream:
    """The stream of patches of an ingest, cut into units that take the free numbers of the store.

    ledger: patches of every photo that was ever finished, see `Ledger`. finished: the record of
    each by the hash of its file. given: hashes of the photos that came now, by name. outdated:
    hashes of photos that are to go, whose patches may come again.
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
        outdated: Collection[str] = (),
    ) -> None:
        self.store, self.patch, self.stride = store, patch, stride
        self.min_detail, self.strict, self.readers = min_detail, strict, readers
        self.max_pixels = max_pixels
        self.summary = IngestSummary(store=printable(str(store.path)))
        self.outdated = outdated
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
            self.seen.update(
                patch.digest for patch in record.patches if patch.sha256 not in self.outdated
            )
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
                    # A photo that gave nothing may as well be read again; a mark is no long list.
                    if counts.kept or len(unit.finished) < MOST_EMPTY:
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
