"""What is settled between measuring photos and writing crops: order, repetitions, numbers.

Photos come in a fixed order, and their patches row by row. What is in the store is left, and the
patches that are not take the free numbers from the lowest up: so an ingest that was stopped ends in
the same store as one that was not, and units that were lost are filled again by their photos.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from dataclasses import replace as dc_replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe.errors import PhotoError, StoreError
from degflow_pipe.formats.text import printable
from degflow_pipe.pictures.photos import PhotoFile
from degflow_pipe.progress import Task
from degflow_pipe.quality import LIMITS, Limits
from degflow_pipe.stages.crops import Crop, CropWork, Measured
from degflow_pipe.store import UNIT, PatchRecord, PhotoRecord, Store
from degflow_pipe.store.records import photo_key
from degflow_pipe.watching import SlowUnit


@dataclass
class IngestSummary:
    """What an ingest did. photos: newly ingested; known: already in the store.

    replaced: photos that went because others of their names, or with other settings, came. encoded:
    patches whose latents were written, of earlier ingests too where they had none of this
    checkpoint. beyond: photos left out, now or before, by the first of the limits that they are
    beyond. lacking: photos and units of earlier ingests that are not whole. left_out: files that
    are no photos, by ending. colours: new photos whose colours were not plain sRGB, by what
    was done. unchecked: those in which damage may go unseen, by kind. batch: patches encoded at
    once, the least where a GPU's memory did not do for what was asked.
    """

    store: str
    photos: int = 0
    known: int = 0
    patches: int = 0
    flat: int = 0
    duplicate: int = 0
    replaced: int = 0
    encoded: int = 0
    lacking: int = 0
    beyond: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    colours: dict[str, int] = field(default_factory=dict)
    unchecked: dict[str, int] = field(default_factory=dict)
    patches_in_store: int = 0
    batch: int = 1
    slowest: list[SlowUnit] = field(default_factory=list, compare=False)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Digests:
    """A set of 128-bit digests in hex, in 16 bytes each however many there are."""

    MERGE = 2**16

    def __init__(self) -> None:
        self._sorted = np.empty(0, "V16")
        self._recent: set[bytes] = set()
        self._more = bytearray()

    def add(self, digest: str) -> None:
        self._recent.add(bytes.fromhex(digest))
        if len(self._recent) >= self.MERGE:
            self._merge()

    def update(self, digests: Iterable[str]) -> None:
        """Add many, which are looked at when one is asked for."""
        self._more += bytes.fromhex("".join(digests))

    def _merge(self) -> None:
        new = np.frombuffer(b"".join(self._recent) + self._more, "V16")
        # Bytes are compared as big-endian words: void values have no order in NumPy.
        every = np.concatenate([self._sorted, new])
        words = every.view(">u8").reshape(-1, 2)
        self._sorted = every[np.lexsort((words[:, 1], words[:, 0]))]
        self._first = self._sorted.view(">u8").reshape(-1, 2)[:, 0].astype("u8")
        self._recent, self._more = set(), bytearray()

    def __contains__(self, digest: str) -> bool:
        if self._more:
            self._merge()
        wanted = bytes.fromhex(digest)
        if wanted in self._recent:
            return True
        if not len(self._sorted):
            return False
        first = np.uint64(int.from_bytes(wanted[:8], "big"))
        low, high = (np.searchsorted(self._first, first, side) for side in ("left", "right"))
        return any(self._sorted[i].tobytes() == wanted for i in range(low, high))


@dataclass
class _Counts:
    """What became of one photo's patches."""

    kept: int = 0
    flat: int = 0
    duplicate: int = 0


class Numbering:
    """Cuts the measured photos of an ingest into units that take the free numbers of the store.

    photos: what the store says of the photos that were ever finished, by `photo_key`, and what it
    is to say of those that come now. known: hashes of those that are whole. given: hashes of the
    photos that came now, by name. outdated: hashes of photos that are to go, whose patches may come
    again. unreadable: why photos, by their hashes, cannot be cropped anew, and stay as they are.
    """

    def __init__(
        self,
        store: Store,
        stride: int,
        min_detail: float,
        limits: Limits,
        outdated: Collection[str] = (),
        unreadable: Mapping[str, PhotoError] | None = None,
    ) -> None:
        self.store = store
        self.stride, self.min_detail, self.limits = stride, min_detail, limits
        self.summary = IngestSummary(store=printable(str(store.path)))
        self.outdated, self._unreadable = outdated, unreadable or {}
        self.photos = store.photos()
        self.ingested: set[str] = set()
        self.given: dict[str, set[str]] = {}
        self._seen = Digests()
        self._begun: set[tuple[str, int, int]] = set()
        self._waiting: deque[tuple[int, PhotoRecord]] = deque()
        """Photos that are finished when so many units are."""
        self._units = 0
        self._free = self._survey()
        self.known = frozenset(self._known)

    def _survey(self) -> Iterator[int]:
        """Take in what the store holds; the numbers that are free, from the lowest up."""
        taken: set[int] = set()
        held: Counter[str] = Counter()
        hashes: dict[str, str] = {}
        for number, unit, rows in self.store.every_unit():
            if not self.store.has_hr(number, unit):
                continue
            taken.add(number)
            for photo, kept in Counter(rows.photo).items():
                sha256 = rows.photos[photo][1]
                held[photo_key(sha256)] += kept
                hashes[photo_key(sha256)] = sha256
            stay = rows.of(lambda sha256: sha256 not in self.outdated)
            self._seen.update(stay.digest)
        self._known = {
            photo.sha256
            for key, photo in self.photos.items()
            if held[key] >= photo.kept and (photo.kept or self._as_asked(photo))
        }
        unfinished = {sha256 for sha256 in hashes.values() if sha256 not in self._known}
        for number, patches in self.store.every_patch() if unfinished else ():
            if number in taken:
                self._begun |= {(p.sha256, p.y, p.x) for p in patches if p.sha256 in unfinished}
        return (number for number in count() if number not in taken)

    def strides(self) -> dict[str, int]:
        """Of the photos that have lost patches: they are cropped again as they were."""
        lost = (photo for photo in self.photos.values() if photo.sha256 not in self._known)
        return {photo.sha256: photo.stride for photo in lost if photo.kept}

    def _as_asked(self, photo: PhotoRecord) -> bool:
        return photo.crop == (self.stride, self.min_detail, self.limits)

    def _before(self, photo: Measured) -> PhotoRecord | None:
        """What the store says of a photo that has given patches, and lost some."""
        before = self.photos.get(photo_key(photo.sha256))
        return before if before is not None and before.kept else None

    def works(
        self, found: Iterable[tuple[PhotoFile, Measured | PhotoError]], task: Task, strict: bool
    ) -> Iterator[CropWork]:
        """Units in order. strict: a photo that cannot be used is raised."""
        patches: list[PatchRecord] = []
        files: dict[str, PhotoFile] = {}
        for file, photo in found:
            if isinstance(photo, Measured):
                photo = self._unreadable.get(photo.sha256, photo)
            if isinstance(photo, PhotoError):
                if strict:
                    raise photo
                self.summary.skipped[file.name] = str(photo)
                task.advance()
                continue
            self.given.setdefault(file.name, set()).add(photo.sha256)
            if photo.crops is None or photo.sha256 in self._known:
                known = self.photos[photo_key(photo.sha256)]
                if not self._as_asked(known):
                    raise StoreError(otherwise(self.store.path, known, file.name))
                if known.beyond is None:
                    self.summary.known += 1
                else:
                    self._count_beyond(known.beyond)
                task.advance()
                continue
            counts = _Counts()
            if (failed := self._failed(photo)) is not None:
                begun = [c for c in photo.crops if (photo.sha256, c.y, c.x) in self._begun]
                photo = dc_replace(photo, crops=tuple(begun))
                task.note(f"left out {self._told(file.name, photo, failed)}")
            for record in self._kept(file, photo, counts):
                if len(patches) == UNIT:
                    yield self._work(patches, files, {p.sha256 for p in patches} - {photo.sha256})
                    patches, files = [], {}
                patches.append(record)
                files[photo.sha256] = file
            needs = self._units + bool(patches)
            if not self._finish(file, photo, counts, failed, needs):
                task.advance()
        if patches:
            yield self._work(patches, files, set(files))

    def _failed(self, photo: Measured) -> str | None:
        """The first limit that a photo is beyond; one that has given patches stays what it was."""
        if self._before(photo) is not None:
            return None
        return next(iter(self.limits.failed(photo.quality)), None)

    def _told(self, name: str, photo: Measured, limit: str) -> str:
        """Why a photo is left out; photo: with those of its crops alone that are in the store."""
        figure = next(figure for figure, other in LIMITS.items() if other == limit)
        found, asked = getattr(photo.quality, figure), getattr(self.limits, limit)
        said = f"{name}: {figure} {found:g}, and `{limit}` is {asked:g}"
        if photo.crops:
            said += (
                f"; {len(photo.crops)} patches of it, which an ingest without the limit wrote "
                f"before it was stopped, stay: `remove` it"
            )
        return said

    def _work(
        self, patches: list[PatchRecord], files: dict[str, PhotoFile], last: Collection[str]
    ) -> CropWork:
        self._units += 1
        number = next(self._free)
        self.store.make_room(number)
        return CropWork(number, tuple(patches), dict(files), frozenset(last))

    def _kept(self, file: PhotoFile, photo: Measured, counts: _Counts) -> Iterator[PatchRecord]:
        """The photo's patches that are neither flat, repeated nor in the store already."""
        before = self._before(photo)
        min_detail = self.min_detail if before is None else before.min_detail
        for crop in photo.crops or ():
            if (photo.sha256, crop.y, crop.x) in self._begun:
                counts.kept += 1
            elif min_detail > 0 and crop.detail < min_detail:
                counts.flat += 1
            elif min_detail > 0 and crop.digest in self._seen:
                counts.duplicate += 1
            else:
                counts.kept += 1
                self.summary.patches += 1
                self._seen.add(crop.digest)
                yield _record(file, photo, crop)

    def _finish(
        self, file: PhotoFile, photo: Measured, counts: _Counts, failed: str | None, needs: int
    ) -> bool:
        """The photo is to be noted when so many units are written; False where it is already."""
        before = self._before(photo)
        record = PhotoRecord(
            source=file.name if before is None else before.source,
            sha256=photo.sha256,
            kept=counts.kept,
            flat=counts.flat,
            duplicate=counts.duplicate,
            stride=self.stride if before is None else before.stride,
            min_detail=self.min_detail if before is None else before.min_detail,
            colour=photo.colour,
            quality=photo.quality,
            limits=self.limits if before is None else before.limits,
        )
        waits = record != self.photos.get(photo_key(photo.sha256))
        if waits:
            self._waiting.append((needs, record))
        self.photos[photo_key(photo.sha256)] = record
        self._known.add(photo.sha256)
        self.ingested.add(file.name)
        summary = self.summary
        if failed is not None:
            self._count_beyond(failed)
            return waits
        summary.photos += 1
        summary.flat += counts.flat
        summary.duplicate += counts.duplicate
        if photo.colour != "sRGB":
            summary.colours[photo.colour] = summary.colours.get(photo.colour, 0) + 1
        if photo.unchecked:
            summary.unchecked[photo.unchecked] = summary.unchecked.get(photo.unchecked, 0) + 1
        return waits

    def _count_beyond(self, limit: str) -> None:
        beyond = self.summary.beyond
        beyond[limit] = beyond.get(limit, 0) + 1

    def finished(self, units: int) -> Iterator[PhotoRecord]:
        """The photos all of whose patches are written, now that the first `units` units are."""
        while self._waiting and self._waiting[0][0] <= units:
            yield self._waiting.popleft()[1]


def otherwise(path: Path, photo: PhotoRecord, name: str, count: int = 1) -> str:
    """Why a photo that is in the store is not ingested with other settings.

    name: what it is called now; count: of photos of which the same is to be said.
    """
    more = f" and {count - 1} others" if count > 1 else ""
    cure = "`replace` to crop anew"
    if name != photo.source:  # by which alone a photo is replaced
        more, cure = f", the same photo as {name}", f"`remove` {photo.source} first"
    limits = {name: value for name, value in asdict(photo.limits).items() if value is not None}
    settings = {"stride": photo.stride, "min_detail": photo.min_detail, **limits}
    *first, last = (f"{value:.9g} as `{name}`" for name, value in settings.items())
    asked = "" if limits else " and no limit"
    return (
        f"{path} holds {photo.source}{more}, cropped with {', '.join(first)} and {last}: give the "
        f"same{asked}, or {cure}, or another `store`"
    )


def _record(file: PhotoFile, photo: Measured, crop: Crop) -> PatchRecord:
    return PatchRecord(file.name, photo.sha256, crop.y, crop.x, crop.detail, crop.digest)
