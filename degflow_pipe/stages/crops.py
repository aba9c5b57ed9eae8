"""The two kinds of work of an ingest: photos are measured, then crops of them are written.

Between the two the driver settles order, numbers and repetitions: see `numbering`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from degflow_pipe.checkpoint.site import Site
from degflow_pipe.engines.ticks import tick
from degflow_pipe.engines.timing import Clock, Took
from degflow_pipe.errors import PhotoError
from degflow_pipe.metrics.quality import quality_of
from degflow_pipe.model.devices import one_thread_each
from degflow_pipe.pictures.patches import check_size, crop_patches
from degflow_pipe.pictures.photos import (
    PhotoFile,
    decode,
    decoded_bytes,
    file_digest,
    read_file,
)
from degflow_pipe.pictures.recent import Held, Recent
from degflow_pipe.places import place_of
from degflow_pipe.quality import Limits, Quality
from degflow_pipe.store import Encoder, Made, PatchRecord, Store, Unit

if TYPE_CHECKING:
    from degflow_pipe.cameras.batches import Batches

RECENT = Recent()
"""This process's."""


class Crop(NamedTuple):
    """A patch of a photo: its top left corner, and see `patches.Patch` for detail and digest."""

    y: int
    x: int
    detail: float
    digest: str


@dataclass(frozen=True)
class Measured:
    """A photo that was read; colour, unchecked: see `photos.Photo`. crops: row by row; None where
    the photo was known by its hash and not decoded. quality: of the whole photo.
    """

    sha256: str
    colour: str = "sRGB"
    unchecked: str = ""
    crops: tuple[Crop, ...] | None = None
    quality: Quality = field(default_factory=Quality)


@dataclass(frozen=True)
class MeasureJob:
    """Reads, hashes and measures photos: see `engines.job.Job`. A unit is a `PhotoFile`.

    min_detail, limits: of patches that are likely to be kept. known: hashes of the photos that are
    in the store, which are not decoded. strides: of photos that were cropped otherwise, by their
    hashes; they are cropped again as they were.
    """

    patch: int
    stride: int
    min_detail: float
    limits: Limits
    max_pixels: int
    known: frozenset[str]
    strides: dict[str, int]

    @contextmanager
    def open(self) -> Iterator[Callable[[PhotoFile], Measured | PhotoError]]:
        yield self._measured

    def bytes_of(self, file: PhotoFile) -> int:
        """Memory that a photo takes while it is measured."""
        return decoded_bytes(file, self.max_pixels)

    def _measured(self, file: PhotoFile) -> Measured | PhotoError:
        """The photo, or why it cannot be used."""
        try:
            data, sha256 = read_file(file)
            if sha256 in self.known:
                return Measured(sha256)
            decoded = decode(data, str(file), self.max_pixels)
            check_size(decoded.pixels, self.patch, str(file))
        except PhotoError as error:
            return error
        stride = self.strides.get(sha256, self.stride)
        crops = tuple(
            Crop(patch.y, patch.x, round(patch.detail, 4), patch.digest)
            for patch in crop_patches(decoded.pixels, self.patch, stride)
        )
        quality = quality_of(decoded.pixels)
        if sha256 in self.strides or not self.limits.failed(quality):
            wanted = [(crop.y, crop.x) for crop in crops if crop.detail >= self.min_detail]
            RECENT.hold(sha256, Held.of(decoded.pixels, self.patch, wanted))
        return Measured(sha256, decoded.colour, decoded.unchecked, crops, quality)


@dataclass(frozen=True)
class HashJob:
    """Hashes photos' files: see `engines.job.Job`. A unit is a `PhotoFile`."""

    @contextmanager
    def open(self) -> Iterator[Callable[[PhotoFile], str | PhotoError]]:
        yield _hashed


def _hashed(file: PhotoFile) -> str | PhotoError:
    try:
        return file_digest(file)
    except PhotoError as error:
        return error


@dataclass(frozen=True)
class CropWork:
    """A unit of the store to be written.

    patches: what goes where. photos: where the photo of each hash is. last: hashes of the photos
    that no later unit needs.
    """

    number: int
    patches: tuple[PatchRecord, ...]
    photos: dict[str, PhotoFile]
    last: frozenset[str]


@dataclass(frozen=True)
class CropDone:
    """A unit as it lies in the store now; latents: None where none were wanted."""

    number: int
    unit: Unit
    patches: tuple[PatchRecord, ...]
    latents: Made | None
    took: Took


@dataclass(frozen=True)
class CropJob:
    """Writes units of HR and, where there is an encoder, their latents: see `engines.job.Job`.

    site, encoder: whose latents are written; None for none. size: patches encoded at once.
    """

    store: str
    max_pixels: int
    site: Site | None
    encoder: Encoder | None
    size: int

    @property
    def device(self) -> str:
        """Where it computes."""
        return "cpu" if self.site is None else self.site.device

    @contextmanager
    def open(self) -> Iterator[Callable[[CropWork], CropDone]]:
        store = Store.open(place_of(self.store))
        if self.site is None:
            yield lambda work: self._written(work, store, None)
            return
        from degflow_pipe.cameras.batches import Batches

        model = self.site.load()
        with one_thread_each(model.device):
            yield lambda work: self._written(work, store, Batches(model, self.size))

    def _written(self, work: CropWork, store: Store, batches: Batches | None) -> CropDone:
        clock = Clock()
        side = store.settings.patch
        hr = np.empty((len(work.patches), side, side, 3), np.uint8)
        at = 0
        for sha256, patches in groupby(work.patches, lambda patch: patch.sha256):
            places = [(patch.y, patch.x) for patch in patches]
            file = work.photos[sha256]
            hr[at : at + len(places)] = RECENT.crops(file, sha256, self.max_pixels, side, places)
            at += len(places)
        for sha256 in work.last:
            RECENT.drop(sha256)
        unit, made = store.write_hr(work.number, hr), None
        if batches is not None and self.encoder is not None:
            from degflow_pipe.cameras.batches import latents_of

            latents = latents_of(batches, hr, tick)
            layer = store.latents(self.encoder)
            made = layer.write(work.number, latents.values, unit, latents.computed)
        return CropDone(work.number, unit, work.patches, made, clock.took)


@dataclass(frozen=True)
class EncodeWork:
    """A unit of the store whose latents are to be written."""

    number: int
    unit: Unit


@dataclass(frozen=True)
class EncodeJob:
    """Writes latents of units that have none of an encoder: see `engines.job.Job`."""

    store: str
    site: Site
    encoder: Encoder
    size: int

    @property
    def device(self) -> str:
        """Where it computes."""
        return self.site.device

    @contextmanager
    def open(self) -> Iterator[Callable[[EncodeWork], CropDone]]:
        from degflow_pipe.cameras.batches import Batches, latents_of

        store = Store.open(place_of(self.store))
        model = self.site.load()
        batches = Batches(model, self.size)

        def encoded(work: EncodeWork) -> CropDone:
            clock = Clock()
            latents = latents_of(batches, store.hr(work.number, work.unit), tick)
            layer = store.latents(self.encoder)
            made = layer.write(work.number, latents.values, work.unit, latents.computed)
            return CropDone(work.number, work.unit, (), made, clock.took)

        with one_thread_each(model.device):
            yield encoded
