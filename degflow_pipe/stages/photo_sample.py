"""What an ingest would find: every photo's header, and a sample of the photos themselves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from degflow_pipe import folders
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.engines.engine import Engine
from degflow_pipe.engines.threads import in_order
from degflow_pipe.errors import PhotoError
from degflow_pipe.pictures.patches import check_size, starts
from degflow_pipe.pictures.photos import PhotoFile, find_photos, picture_size
from degflow_pipe.progress import Silent
from degflow_pipe.quality import Limits
from degflow_pipe.stages.crops import Measured, MeasureJob
from degflow_pipe.stages.ingest import (
    check_asked,
    check_version,
    come_again,
    found_store,
    hashes_of,
    outdated_of,
    require_some,
)
from degflow_pipe.stages.numbering import Numbering
from degflow_pipe.stages.recipe import IngestSettings
from degflow_pipe.stages.rehearsal import Looked, LookJob, Patches, rehearse
from degflow_pipe.store import PatchRecord, PhotoRecord, Store, StoreSettings, Unit
from degflow_pipe.store.records import Rows
from degflow_pipe.store.store import KIND

if TYPE_CHECKING:
    from degflow_pipe.checkpoint.degflow import DegFlow

LOOKED = 32
"""Photos that are decoded, at most."""
LOOK_SECONDS = 6.0
"""Seconds after which no more of them are begun."""
CODED = 512
"""Patches whose HR is coded, at most."""
SHOWN = 256
"""Patches whose LR may be made, at most."""
SHOWN_BYTES = 2**28
SEED = 0
"""Of the sample: the same photos are looked at again."""


@dataclass(frozen=True)
class Found:
    """What an ingest would do.

    store: as it is, read alone, without the photos that would go. photos: to be read; known: in the
    store already. skipped: photos that cannot be used, of those that were looked at and those whose
    header says so. patches: that would come; grid: those that were cropped, flat and repeated ones
    among them. looked: photos that were decoded. seconds: that each photo takes to read and
    measure. hr: mean bytes of a patch in the store; coding: seconds of that. spread: relative
    standard error of all the patches' bytes. sample: patches to try, a photo's after another's.
    """

    store: Store
    photos: int
    known: int
    replaced: int
    skipped: dict[str, str]
    patches: int
    grid: int
    looked: int
    seconds: Sequence[float]
    start: float
    hr: float
    coding: float
    spread: float
    sample: list[Patches] = field(repr=False)


class Unwritten(Store):
    """A store that may not be there yet, to be read alone. gone: hashes of photos that would have
    been taken out.
    """

    gone: Collection[str] = ()

    def make_room(self, number: int) -> None:
        pass

    def photos(self) -> dict[str, PhotoRecord]:
        every = super().photos()
        return {key: photo for key, photo in every.items() if photo.sha256 not in self.gone}

    def every_unit(self) -> Iterator[tuple[int, Unit, Rows]]:
        for number, unit, rows in super().every_unit():
            yield number, unit, rows.of(lambda sha256: sha256 not in self.gone)


def look_at_photos(
    photos: Sequence[str],
    path: Path,
    model: DegFlow | Bank,
    asked: IngestSettings,
    *,
    replaces: bool,
    workers: int,
    engine: Engine,
) -> Found:
    """path: of the store. replaces: see `ingest`, as the rest; raises as it does, of photos that
    are looked at.
    """
    stride = asked.patch if asked.stride is None else asked.stride
    check_asked(model, asked.patch, stride, asked.min_detail, asked.max_pixels)
    found = list(find_photos(photos))
    check_version(path)
    folders.check_ours(path, KIND)
    found_store(path, asked.patch)
    store = Unwritten(path, StoreSettings(asked.patch))
    limits = Limits(asked.min_sharpness, asked.max_blockiness, asked.max_clipped, asked.max_noise)
    measure = MeasureJob(
        asked.patch, stride, asked.min_detail, limits, asked.max_pixels, frozenset(), {}
    )
    again = come_again(store, found, measure, replaces, engine, workers)
    store.gone = {photo.sha256 for _, photo in again.changed}
    stay = {
        name: {photo.sha256 for photo in held} - store.gone for name, held in again.held.items()
    }
    outdated = outdated_of(stay, again.hashes) if replaces else set()
    numbering = Numbering(store, stride, asked.min_detail, limits, outdated)
    measure = replace(measure, strides=numbering.strides())
    hashes = _hashes(found, numbering, engine, workers)
    known, new = _parted(found, hashes, numbering)
    list(numbering.works(known, _TASK, asked.strict))  # raises for those cropped otherwise
    sizes, refused = _sizes(new, measure, workers)
    if refused and asked.strict:
        raise next(iter(refused.values()))
    counts = {
        file: _grid(size, asked.patch, measure.strides.get(hashes.get(file, ""), stride))
        for file, size in sizes.items()
    }
    weights = _sampled(counts)
    chosen = list(weights)
    many = max(min(len(chosen), LOOKED), 1)
    room = max(SHOWN_BYTES // (3 * asked.patch**2) // many, 1)
    job = LookJob(measure, min(-(-CODED // many), 4 * room), min(-(-SHOWN // many), room))
    tried = rehearse(engine, job, chosen, workers, LOOK_SECONDS, workers, job.bytes_of)
    looked = dict(zip(chosen, tried.records, strict=False))
    kept = _kept(numbering, looked, asked.strict)
    summary = numbering.summary
    summary.skipped |= {file.name: str(error) for file, error in refused.items()}
    made = _scaled(looked, kept, counts, weights)
    existing = sum(unit.count for unit in store.units.values())
    summary.patches_in_store = existing + math.ceil(made.patches)
    if len(looked) == len(sizes):
        require_some(summary, len(found))
    pixels = sum(math.prod(sizes[file]) for file in looked)
    rate = sum(one.seconds for one in looked.values()) / max(pixels, 1)
    costs = [rate * math.prod(size) for size in sizes.values()]
    return Found(
        store=store,
        photos=len(sizes),
        known=len(found) - len(sizes) - len(refused),
        replaced=len(store.gone) + len(outdated),
        skipped=summary.skipped,
        patches=round(made.patches),
        grid=sum(counts.values()),
        looked=len(looked),
        seconds=costs,
        start=tried.start([one.seconds + one.coding * len(one.hr) for one in tried.records]),
        hr=made.hr,
        coding=made.coding,
        spread=made.spread,
        sample=_sample(looked, kept, counts, weights),
    )


_TASK = Silent().task("", None).__enter__()


def _hashes(
    found: list[PhotoFile], numbering: Numbering, engine: Engine, workers: int
) -> dict[PhotoFile, str]:
    """Of all files, where the store has photos, or lengths are known when they are read, as those
    of rows of Parquet; else of those alone that may be the same twice, as they are of one length.
    """
    if numbering.photos:
        return hashes_of(found, engine, workers)
    lengths = {file: file.length() for file in found if not file.problem}
    often = Counter(lengths.values())
    alike = [file for file, n in lengths.items() if often[None] or often[n] > 1]
    return hashes_of(alike, engine, workers)


def _parted(
    found: list[PhotoFile], hashes: Mapping[PhotoFile, str], numbering: Numbering
) -> tuple[list[tuple[PhotoFile, Measured | PhotoError]], list[PhotoFile]]:
    """Photos that the store knows by their hashes, and those that are new, each once."""
    known: list[tuple[PhotoFile, Measured | PhotoError]] = []
    new: dict[str, PhotoFile] = {}
    for file in found:
        sha256 = hashes.get(file, str(file))
        if sha256 in numbering.known:
            known.append((file, Measured(sha256)))
        else:
            new.setdefault(sha256, file)
    return known, list(new.values())


def _sizes(
    new: list[PhotoFile], measure: MeasureJob, workers: int
) -> tuple[dict[PhotoFile, tuple[int, int]], dict[PhotoFile, PhotoError]]:
    """Height and width by the header, and why photos cannot be used of which that tells."""
    sizes: dict[PhotoFile, tuple[int, int]] = {}
    refused: dict[PhotoFile, PhotoError] = {}
    with measure.open() as measured:

        def size_of(file: PhotoFile) -> tuple[int, int] | PhotoError:
            try:
                height, width = picture_size(file)
                shape = np.broadcast_to(np.uint8(0), (height, width))
                check_size(shape, measure.patch, str(file))
            except PhotoError as error:
                return error
            if height * width > measure.max_pixels:  # decoding refuses it, and says so
                found = measured(file)
                return found if isinstance(found, PhotoError) else (height, width)
            return height, width

        for file, size in zip(new, in_order(size_of, new, workers), strict=True):
            if isinstance(size, PhotoError):
                refused[file] = size
            else:
                sizes[file] = size
    return sizes, refused


def _grid(size: tuple[int, int], patch: int, stride: int) -> int:
    """Patches of a photo before any is dropped."""
    return math.prod(len(starts(side, patch, stride)) for side in size)


def _sampled(counts: Mapping[PhotoFile, int]) -> dict[PhotoFile, int]:
    """All photos, weighted by their patches; or LOOKED of them, drawn evenly over all patches from
    small photos to large ones, weighted by how often they were drawn. In an order that may be cut
    off anywhere.
    """
    rng = np.random.default_rng(SEED)
    every = sorted(counts, key=lambda file: (counts[file], file.name))
    weights = dict(counts)
    if len(every) > LOOKED:
        ends = np.cumsum([counts[file] for file in every])
        points = (np.arange(LOOKED) + rng.random()) * ends[-1] / LOOKED
        drawn = Counter(every[i] for i in np.searchsorted(ends, points, "right"))
        every, weights = list(drawn), dict(drawn)
    return {every[i]: weights[every[i]] for i in rng.permutation(len(every))}


def _kept(
    numbering: Numbering, looked: Mapping[PhotoFile, Looked], strict: bool
) -> dict[str, list[PatchRecord]]:
    """Patches that would be kept of the photos that were looked at, by their hashes."""
    kept: dict[str, list[PatchRecord]] = {}
    measured = ((file, one.found) for file, one in looked.items())
    for work in numbering.works(measured, _TASK, strict):
        for record in work.patches:
            kept.setdefault(record.sha256, []).append(record)
    return kept


@dataclass(frozen=True)
class _Scaled:
    """From the sample to all: patches, and see `Found`."""

    patches: float
    hr: float
    coding: float
    spread: float


def _scaled(
    looked: Mapping[PhotoFile, Looked],
    kept: Mapping[str, list[PatchRecord]],
    counts: Mapping[PhotoFile, int],
    drawn: Mapping[PhotoFile, int],
) -> _Scaled:
    rows = []
    for file, one in looked.items():
        records = kept.get(one.found.sha256, []) if isinstance(one.found, Measured) else []
        sizes = [one.hr[record.y, record.x] for record in records if (record.y, record.x) in one.hr]
        share = len(records) / counts[file]
        rows.append((drawn[file], share, sizes))
    if not rows:
        return _Scaled(0.0, 0.0, 0.0, 0.0)
    weights = np.array([row[0] for row in rows], float)
    shares = np.array([row[1] for row in rows])
    means = np.array([float(np.mean(row[2])) if row[2] else 0.0 for row in rows])
    total = sum(counts.values())
    share = float(np.average(shares, weights=weights))
    whole = float(np.average(shares * means, weights=weights))
    coding = [one.coding for one in looked.values() if one.hr]
    return _Scaled(
        patches=share * total,
        hr=whole / share if share else 0.0,
        coding=float(np.mean(coding)) if coding else 0.0,
        spread=_spread(weights, shares * means, len(rows) == len(counts)),
    )


def _spread(weights: np.ndarray, values: np.ndarray, all_of_them: bool) -> float:
    """Relative standard error of a weighted mean; 0 where nothing was left out."""
    mean = float(np.average(values, weights=weights))
    if all_of_them or len(values) < 2 or not mean:
        return 0.0
    w = weights / weights.sum()
    return float(np.sqrt(np.sum((w * (values - mean)) ** 2))) / mean


def _sample(
    looked: Mapping[PhotoFile, Looked],
    kept: Mapping[str, list[PatchRecord]],
    counts: Mapping[PhotoFile, int],
    drawn: Mapping[PhotoFile, int],
) -> list[Patches]:
    """Patches to try, in an order in which each photo comes as often as it has, or stands for,
    patches that are kept.
    """
    rng = np.random.default_rng(SEED)
    turns: list[tuple[float, Patches]] = []
    for file, one in looked.items():
        if not isinstance(one.found, Measured):
            continue
        of = {(record.y, record.x): record for record in kept.get(one.found.sha256, [])}
        every = drawn[file] * len(of) / counts[file]
        shown = [Patches(hr[None], (of[place],)) for place, hr in one.shown.items() if place in of]
        begin = rng.random()
        order = rng.permutation(len(shown))
        turns += [((begin + turn) / every, shown[i]) for turn, i in enumerate(order)]
    return [patches for _, patches in sorted(turns, key=lambda turn: turn[0])]
