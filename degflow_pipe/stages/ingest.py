"""ingest: photos -> patches -> latents, into the store.

In three passes that run into each other: workers read, hash and measure photos; the driver settles
order, repetitions and numbers; workers crop, encode and write units, which it notes when they are
there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from dataclasses import replace as dc_replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from degflow_pipe import defaults, files, folders
from degflow_pipe.cameras.asked import batch_size
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.checkpoint.identity import encoder_id
from degflow_pipe.checkpoint.site import Site
from degflow_pipe.engines.engine import Engine, check_workers
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.engines.ticks import Amount
from degflow_pipe.errors import PhotoError, StoreError
from degflow_pipe.formats.said import number_of
from degflow_pipe.model.config import COMPRESSION
from degflow_pipe.pictures.patches import check_grid
from degflow_pipe.pictures.photos import PhotoFile, check_max_pixels, find_photos
from degflow_pipe.places import text_of
from degflow_pipe.progress import Progress, Silent, Task
from degflow_pipe.quality import Limits, check_least
from degflow_pipe.stages.crops import (
    CropDone,
    CropJob,
    CropWork,
    EncodeJob,
    EncodeWork,
    HashJob,
    MeasureJob,
)
from degflow_pipe.stages.meant import require_model
from degflow_pipe.stages.numbering import IngestSummary, Numbering, otherwise
from degflow_pipe.stages.remove import drop_photos, finish_removal
from degflow_pipe.store import Encoder, PhotoRecord, Store, StoreSettings
from degflow_pipe.store.arrays import ZARR
from degflow_pipe.store.description import DESCRIPTION
from degflow_pipe.store.lacking import lacking
from degflow_pipe.store.records import photo_key
from degflow_pipe.store.store import KIND
from degflow_pipe.watching import StageWatch, Watch

if TYPE_CHECKING:
    from degflow_pipe.checkpoint.degflow import DegFlow


def ingest(
    photos: Sequence[str],
    store: Path,
    model: DegFlow | Bank,
    *,
    patch: int = defaults.PATCH,
    stride: int | None = None,
    min_detail: float = defaults.MIN_DETAIL,
    min_sharpness: float | None = None,
    max_blockiness: float | None = None,
    max_clipped: float | None = None,
    max_noise: float | None = None,
    strict: bool = False,
    max_pixels: int = defaults.MAX_PIXELS,
    replace: bool = False,
    encode: bool = True,
    batch: int = defaults.BATCH,
    workers: int = 0,
    progress: Progress | None = None,
    watch: Watch | None = None,
    engine: Engine = run_in_threads,
) -> IngestSummary:
    """Crop photos into HR patches, encode their latents, and append both to the store.

    photos: files, folders and globs of photos, tars and Parquet files. patch, stride: in pixels
    (stride: the patch by default). min_detail: patches with less (see `patches.Patch.detail`) and
    repeated ones are dropped; 0 keeps all. min_sharpness, max_blockiness, max_clipped, max_noise: a
    photo with a figure beyond one (see `metrics.quality`) is left out as a whole; None asks
    nothing, and a figure that the photo does not tell is beyond nothing. strict: a photo that
    cannot be used is an error, not a skip. max_pixels: a photo of more is not read. replace: where
    the store holds another photo of the same name, or the same one cropped otherwise, that one
    goes; else both photos stay, and the same one cropped otherwise, or held to other limits, is
    refused. encode: write latents, of units too that have none of this checkpoint's encoder. batch:
    patches encoded at once on a GPU. workers: 0 for one a core. watch: is told of each unit. A
    photo that is in the store already, by the hash of its file, is left as it is.

    Raises UsageError, PhotoError (strict, or where no photo can be used), StoreError for a store of
    another patch size, or with one of the photos cropped otherwise, FileError where the store
    cannot be written.
    """
    stride = patch if stride is None else stride
    bank = Bank.of(model)
    first, *others = bank.sites
    limits = Limits(min_sharpness, max_blockiness, max_clipped, max_noise)
    check_asked(model, patch, stride, min_detail, max_pixels)
    size = batch_size(first.device, batch)
    at_once = check_workers(workers, engine)
    left_out: dict[str, int] = {}
    found = list(find_photos(photos, left_out))
    check_version(store)
    if encode and not files.exists(store / DESCRIPTION):
        require_model(bank, engine, progress)
    with folders.one_writer(store, KIND):
        target = _open(store, patch)
        with target.writing():
            finish_removal(target)
            measure = MeasureJob(patch, stride, min_detail, limits, max_pixels, frozenset(), {})
            again = _take_out(target, found, measure, replace, engine, at_once)
            numbering = Numbering(
                *(target, stride, min_detail, limits), again.outdated, again.unreadable
            )
            summary = numbering.summary
            summary.left_out, summary.batch = left_out, size
            summary.replaced = again.gone
            told = StageWatch(watch)
            told.watch.skip(summary.skipped)
            writer = _Writer(target, summary, engine, at_once, progress or Silent(), told)
            site, encoder = (first, _encoder(target, first)) if encode else (None, None)
            measure = dc_replace(measure, known=numbering.known, strides=numbering.strides())
            crop = CropJob(text_of(store), max_pixels, site, encoder, size)
            writer.crop(found, measure, crop, numbering, strict)
            for each in (first, *others) if encode else ():
                job = EncodeJob(text_of(store), each, _encoder(target, each), size)
                writer.encode(job)
            target.note_ingest(complete=True)
            target.note_skipped(summary.skipped, numbering.ingested)
            summary.slowest = told.slowest
            summary.lacking = len(lacking(target))
            summary.patches_in_store = sum(unit.count for unit in target.units.values())
    require_some(summary, len(found))
    return summary


def check_asked(
    model: DegFlow | Bank, patch: int, stride: int, min_detail: float, max_pixels: int
) -> None:
    """Raises UsageError for what `ingest` cannot do."""
    for each in Bank.of(model).sites:
        check_grid(patch, stride, each.info.model.side_multiple)
    check_least("min_detail", min_detail)
    check_max_pixels(max_pixels)


def check_version(store: Path) -> None:
    """Raises StoreError for a store of an older version, which says so of itself."""
    if files.exists(store / ZARR) and not folders.kind_of(store):
        Store.open(store)


@dataclass(frozen=True)
class _Writer:
    """Runs the work of an ingest, and notes in the store what it hands back."""

    store: Store
    summary: IngestSummary
    engine: Engine
    workers: int
    progress: Progress
    told: StageWatch

    def crop(
        self,
        found: list[PhotoFile],
        measure: MeasureJob,
        crop: CropJob,
        numbering: Numbering,
        strict: bool,
    ) -> None:
        """All three passes: photos are measured, their patches numbered, units written."""
        with (
            self.progress.task("ingest", len(found), counts="photos") as task,
            closing(self.engine(measure, found, self.workers, measure.bytes_of)) as measured,
        ):
            written = 0

            def show(more: int) -> None:
                nonlocal written
                written += more
                skipped = len(self.summary.skipped)
                said = f", {number_of(skipped, 'photos')} skipped" if skipped else ""
                task.show(f"{number_of(written, 'patches')}{said}")

            works = numbering.works(zip(found, measured, strict=True), task, strict)
            begun, so_far = self._begun(works, crop), Amount(show)
            with closing(self.engine(crop, begun, self.workers, hear=so_far.hear)) as records:
                for units, done in enumerate(records, 1):
                    so_far.whole(done.unit.count)
                    self.store.note_unit(done.number, done.unit, list(done.patches))
                    self._note_latents(crop.encoder, done)
                    self._note_photos(numbering.finished(units), task)
                    self._tell("ingest", done, crop.device)
            self._note_photos(numbering.finished(len(self.store.units)), task)
            _replace(self.store, numbering, task)

    def _begun(self, works: Iterator[CropWork], job: CropJob) -> Iterator[CropWork]:
        """The units; the store is not whole from the first one on."""
        for i, work in enumerate(works):
            if i == 0:
                if job.site is not None:
                    job.site.require(loads=self.engine is run_in_threads)
                self.store.note_ingest(complete=False)
            yield work

    def encode(self, job: EncodeJob) -> None:
        """Write the latents of units that have none of the job's encoder."""
        bare = _without_latents(self.store, job.encoder)
        if not bare:
            return
        patches = sum(work.unit.count for work in bare)
        with (
            self.progress.task("encode", patches, counts="patches") as task,
            closing(
                self.engine(job, bare, self.workers, hear=(so_far := Amount(task.advance)).hear)
            ) as records,
        ):
            for done in records:
                self._note_latents(job.encoder, done)
                self._tell("encode", done, job.device)
                so_far.whole(done.unit.count)

    def _tell(self, stage: str, done: CropDone, device: str) -> None:
        made = {"patches": done.unit.count}
        self.told.unit(stage, f"unit {done.number}", done.took, device, made)

    def _note_latents(self, encoder: Encoder | None, done: CropDone) -> None:
        if encoder is not None and done.latents is not None:
            self.store.latents(encoder).note(done.number, done.latents)
            self.summary.encoded += done.unit.count
            batch = done.latents.computed.get("batch", self.summary.batch)
            self.summary.batch = min(self.summary.batch, batch)

    def _note_photos(self, photos: Iterator[PhotoRecord], task: Task) -> None:
        for photo in photos:
            self.store.note_photo(photo)
            task.advance()


def require_some(summary: IngestSummary, found: int) -> None:
    """Raises PhotoError where the store is empty, or none of the photos could be used."""
    every = list(summary.skipped.values())
    reasons = "; ".join(every[:3]) + f"; and {len(every) - 3} more" * (len(every) > 3)
    if not summary.patches_in_store:
        beyond = ", ".join(f"{n} beyond `{limit}`" for limit, n in summary.beyond.items())
        why = "; ".join(filter(None, (reasons, beyond))) or "every patch was flat"
        raise PhotoError(f"no patch came of {number_of(found, 'photos')}: {why}")
    if len(summary.skipped) == found:
        raise PhotoError(f"none of {found} photos could be used: {reasons}")


def _open(path: Path, patch: int) -> Store:
    """The store, made where there is none; refused where it was made with another patch."""
    return found_store(path, patch) or Store.create(path, StoreSettings(patch))


def found_store(path: Path, patch: int) -> Store | None:
    """The store, None where there is none yet; refused where it was made with another patch."""
    if not files.exists(path / DESCRIPTION):
        if left := folders.held(path) if files.exists(path) else []:
            raise StoreError(
                f"{path} has lost its description, {DESCRIPTION}, and holds {left[0]}: "
                f"`verify(path='{path}', repair=True)` writes it again, or ingest into another "
                f"`store`"
            )
        return None
    store = Store.open(path)
    if store.settings.patch != patch:
        if not store.units and not store.photos():
            return None  # nothing came of an ingest before: it is made anew
        raise StoreError(
            f"{path} holds patches of {store.settings.patch}, not {patch}: give "
            f"{store.settings.patch} as `patch`, or another `store`"
        )
    return store


def _encoder(store: Store, site: Site) -> Encoder:
    """The checkpoint's encoder, which the store holds latents of from now on."""
    side = store.settings.patch // COMPRESSION
    shape = [site.info.model.rae.latent_channels, side, side]
    encoder = Encoder(encoder_id(site.info), site.info.id, shape)
    store.make_encoder(encoder)
    return store.encoder(encoder.id)


def _without_latents(store: Store, encoder: Encoder) -> list[EncodeWork]:
    """The units that have no latents of an encoder."""
    layer = store.latents(encoder)
    return [
        EncodeWork(number, unit)
        for number, unit in store.units.items()
        if not layer.has(number, unit) and store.has_hr(number)
    ]


@dataclass(frozen=True)
class _Again:
    """What becomes of photos of the store that come again.

    gone: how many were taken out, to be cropped anew. unreadable: why others, by their hashes,
    cannot be, and stay. outdated: hashes of photos that are to go when what bears their name is in.
    """

    gone: int
    unreadable: dict[str, PhotoError]
    outdated: set[str]


def _take_out(
    store: Store,
    found: list[PhotoFile],
    measure: MeasureJob,
    replace: bool,
    engine: Engine,
    workers: int,
) -> _Again:
    """Take out photos that are to be cropped anew. Raises StoreError where they may not be."""
    held, hashes, changed = come_again(store, found, measure, replace, engine, workers)
    gone, unreadable = _readable(changed, measure, engine, workers)
    if gone:
        store.note_ingest(complete=False)
        drop_photos(store, gone)
    stay = {name: {photo.sha256 for photo in photos} - gone for name, photos in held.items()}
    return _Again(len(gone), unreadable, outdated_of(stay, hashes) if replace else set())


class ComeAgain(NamedTuple):
    """held: photos of the store, by name. hashes: of the files of those names that had to be looked
    at. changed: those that are to be cropped otherwise than they were.
    """

    held: dict[str, list[PhotoRecord]]
    hashes: dict[PhotoFile, str]
    changed: list[tuple[PhotoFile, PhotoRecord]]


def come_again(
    store: Store,
    found: list[PhotoFile],
    measure: MeasureJob,
    replace: bool,
    engine: Engine,
    workers: int,
) -> ComeAgain:
    """Raises StoreError where a photo is to be cropped otherwise than it was, and may not be."""
    held: dict[str, list[PhotoRecord]] = {}
    for photo in store.photos().values():
        held.setdefault(photo.source, []).append(photo)

    def differs(photo: PhotoRecord) -> bool:
        asked = measure.stride, measure.min_detail, measure.limits
        return bool(photo.kept) and photo.crop != asked

    looked_at = [
        file
        for file in found
        if file.name in held and (replace or any(map(differs, held[file.name])))
    ]
    hashes = hashes_of(looked_at, engine, workers)
    changed = [
        (file, photo)
        for file, sha256 in hashes.items()
        for photo in held[file.name]
        if differs(photo) and photo.sha256 == sha256
    ]
    if changed and not replace:
        _, first = changed[0]
        raise StoreError(otherwise(store.path, first, first.source, len(changed)))
    return ComeAgain(held, hashes, changed)


def hashes_of(found: list[PhotoFile], engine: Engine, workers: int) -> dict[PhotoFile, str]:
    """The hash of each file; those that cannot be read are skipped by name later."""
    if not found:  # else an engine would start its workers for nothing
        return {}
    with closing(engine(HashJob(), found, workers)) as hashed:
        every = zip(found, hashed, strict=True)
        return {file: sha256 for file, sha256 in every if not isinstance(sha256, PhotoError)}


def _readable(
    changed: list[tuple[PhotoFile, PhotoRecord]], job: MeasureJob, engine: Engine, workers: int
) -> tuple[set[str], dict[str, PhotoError]]:
    """Hashes of those photos that can be cropped anew, and why the others cannot and stay."""
    photos = [file for file, _ in changed]
    gone: set[str] = set()
    unreadable: dict[str, PhotoError] = {}
    with closing(engine(job, photos, workers, job.bytes_of)) as measured:
        for (_, photo), found in zip(changed, measured, strict=True):
            if isinstance(found, PhotoError):
                unreadable[photo.sha256] = found
            else:
                gone.add(photo.sha256)
    return gone, unreadable


def outdated_of(held: dict[str, set[str]], hashes: dict[PhotoFile, str]) -> set[str]:
    """Hashes of photos in the store whose name one file, and one alone, bears now that differs.

    held: hashes in the store, by name. Two files of one name, given together, are no versions of
    each other.
    """
    given: dict[str, set[str]] = {}
    for file, sha256 in hashes.items():
        given.setdefault(file.name, set()).add(sha256)
    return {old for name, new in given.items() if len(new) == 1 for old in held[name] - new}


def _replace(store: Store, numbering: Numbering, task: Task) -> None:
    """Take out the outdated photos whose successors are in the store now; tell of the others."""
    given, photos = numbering.given, store.photos()
    taken_in = {
        name for name, new in given.items() if any(photo_key(sha256) in photos for sha256 in new)
    }
    old = {
        photo.sha256: photo.source
        for photo in photos.values()
        if photo.source in given and photo.sha256 not in given[photo.source]
    }
    outdated = numbering.outdated
    go = {sha256 for sha256, name in old.items() if sha256 in outdated and name in taken_in}
    if go:
        drop_photos(store, go)
        numbering.summary.replaced += len(go)
        task.note(f"replaced: {', '.join(sorted({old[sha256] for sha256 in go})[:3])}")
    if stay := sorted({name for sha256, name in old.items() if sha256 not in go}):
        task.note(
            f"the store holds other photos of the same names too ({', '.join(stay[:3])}), and they "
            f"stay: with `replace` they go, where one file of the name is given"
        )
