"""Work done to see what it costs: by the functions that do it, on the engine that runs it, and
written nowhere.
"""

from __future__ import annotations

import heapq
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from degflow_pipe.cameras.making import LR, Making
from degflow_pipe.checkpoint.site import Site
from degflow_pipe.engines.engine import Engine
from degflow_pipe.engines.job import Job
from degflow_pipe.engines.threads import run_in_threads, threads
from degflow_pipe.errors import PhotoError
from degflow_pipe.levels import Place
from degflow_pipe.model.devices import one_thread_each
from degflow_pipe.pictures.photos import PhotoFile
from degflow_pipe.places import place_of
from degflow_pipe.shards.plan import Piece, TarWork
from degflow_pipe.shards.tars import BLOCK_OF_TAR, Sources, TarJob, write_samples
from degflow_pipe.stages.crops import RECENT, Measured, MeasureJob
from degflow_pipe.store import PatchRecord, Store, StoreSettings, Unit
from degflow_pipe.store.arrays import FileArray, Held
from degflow_pipe.store.layers import sums_of

if TYPE_CHECKING:
    from degflow_pipe.cameras.batches import Batches

NOWHERE = Path()
MANY = 1000
"""Units of a worker of which the last does not count."""
AnyUnit = TypeVar("AnyUnit")
AnyRecord = TypeVar("AnyRecord")


@dataclass(frozen=True)
class Looked:
    """A photo that was measured, as `ingest` does it. seconds: that took.

    hr: bytes that patches of it take in the store, of those that were coded, by their corners.
    coding: seconds of that for one of them. shown: pixels of some, by their corners.
    """

    found: Measured | PhotoError
    seconds: float
    hr: Mapping[tuple[int, int], int] = field(default_factory=dict)
    coding: float = 0.0
    shown: Mapping[tuple[int, int], np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class LookJob:
    """Measures photos and codes some of their patches: see `engines.job.Job`.

    coded, shown: patches of a photo whose HR is coded, and whose pixels are handed back, at most.
    """

    measure: MeasureJob
    coded: int
    shown: int

    @contextmanager
    def open(self) -> Iterator[Callable[[PhotoFile], Looked]]:
        with self.measure.open() as measured:
            yield lambda file: self._look(file, measured)

    def bytes_of(self, file: PhotoFile) -> int:
        return self.measure.bytes_of(file)

    def _look(
        self, file: PhotoFile, measured: Callable[[PhotoFile], Measured | PhotoError]
    ) -> Looked:
        begun = time.perf_counter()
        found = measured(file)
        seconds = time.perf_counter() - begun
        if isinstance(found, PhotoError) or not found.crops:
            return Looked(found, seconds)
        measure = self.measure
        likely = [(c.y, c.x) for c in found.crops if c.detail >= measure.min_detail]
        places = evenly(likely, self.coded)
        if not places:
            return Looked(found, seconds)
        limits = measure.max_pixels, measure.patch
        hr = np.stack(RECENT.crops(file, found.sha256, *limits, places))
        RECENT.drop(found.sha256)
        begun = time.perf_counter()
        sums_of(hr)
        sizes = [_hr_array(one[None]).write(one[None]) for one in hr]
        coding = (time.perf_counter() - begun) / len(places)
        pixels = dict(zip(places, hr, strict=True))
        shown = {place: pixels[place] for place in evenly(places, self.shown)}
        return Looked(found, seconds, dict(zip(places, sizes, strict=True)), coding, shown)


def evenly(items: Sequence[AnyUnit], count: int) -> list[AnyUnit]:
    """Up to `count` items, evenly apart, from the middles of as many parts."""
    n = len(items)
    return (
        list(items) if n <= count else [items[n * (2 * i + 1) // (2 * count)] for i in range(count)]
    )


def _hr_array(hr: np.ndarray) -> Held:
    return Held(FileArray(NOWHERE, len(hr), hr.shape[1:], "uint8", 1))


@dataclass(frozen=True)
class Patches:
    """Some patches: hr, (n, P, P, 3) uint8; latents that the store has, by the number of the
    camera; where they were. kind: of the camera that is to make their LR.
    """

    hr: np.ndarray
    records: tuple[PatchRecord, ...]
    latents: Mapping[int, np.ndarray] = field(default_factory=dict)
    kind: int = 0

    @property
    def places(self) -> list[Place]:
        return [Place(record.sha256, record.y, record.x) for record in self.records]


@dataclass(frozen=True)
class Tried:
    """What n patches cost, by part. seconds: `read` (HR), `latents`, `make` (LR), `keep` (levels),
    `reread` (levels), `tar`. bytes: `hr`, `latents`, `levels`, `told`, `tar`, `index`. lr: of the
    first patch, (T, p, p, 3) uint8, where it was made.
    """

    n: int
    kind: int
    seconds: dict[str, float]
    bytes: dict[str, int]
    lr: np.ndarray | None = None


@dataclass(frozen=True)
class TryJob:
    """Makes what a run would make of patches: see `engines.job.Job`.

    encoders: whose latents are written, and patches at once. making: of LR, where some are made.
    kept: whether they go into the store first. tars: how pairs are packed, where they are.
    """

    encoders: tuple[Site, ...]
    size: int
    making: Making | None
    kept: bool
    tars: TarJob | None

    @property
    def device(self) -> str:
        """Where it computes."""
        if self.making is not None:
            return self.making.device
        return self.encoders[0].device if self.encoders else "cpu"

    @contextmanager
    def open(self) -> Iterator[Callable[[Patches], Tried]]:
        from degflow_pipe.cameras.batches import Batches

        models = [site.load() for site in self.encoders]
        make = self.making.open() if self.making is not None else nullcontext(None)
        quiet = one_thread_each(models[0].device) if models else nullcontext()
        with quiet, make as opened:
            yield lambda unit: _tried(self, [Batches(m, self.size) for m in models], opened, unit)


class _Clock:
    """Seconds by part, from one call to the next."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.start()

    def start(self) -> None:
        self._begun = time.perf_counter()

    def stop(self, part: str) -> None:
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - self._begun
        self.start()


def _tried(
    job: TryJob,
    encoders: Sequence[Batches],
    make: Callable[[np.ndarray, Mapping[int, np.ndarray], Sequence[Place]], LR] | None,
    unit: Patches,
) -> Tried:
    held, n = _hr_array(unit.hr), len(unit.hr)
    sizes = {"hr": held.write(unit.hr)}
    clock = _Clock()
    sums_of(held.read())
    clock.stop("read")
    for batches in encoders:
        from degflow_pipe.cameras.batches import latents_of

        latents = latents_of(batches, unit.hr).values
        sums_of(latents)
        array = FileArray(NOWHERE, n, latents.shape[1:], "float32", 1)
        sizes["latents"] = sizes.get("latents", 0) + Held(array).write(latents)
        clock.stop("latents")
    if make is None:
        return Tried(n, unit.kind, clock.seconds, sizes)
    clock.start()
    lr = make(unit.hr, unit.latents, unit.places)
    clock.stop("make")
    if job.kept:
        levels = Held(FileArray(NOWHERE, n, lr.values.shape[1:], "uint8", 2))
        sums_of(lr.values)
        sizes["levels"] = levels.write(lr.values)
        clock.stop("keep")
        sums_of(levels.read())
        clock.stop("reread")
    sizes["told"] = len(json.dumps(lr.told)) if lr.told else 0
    if job.tars is not None:
        sources = Sources(job.tars, _OneBlock(unit), lambda hr, latents, places: lr)
        whole = Piece(0, _OneBlock.unit(n), 0, n, {}, None)
        clock.start()
        tar, index = _packed(TarWork(0, (whole,), 0, len(job.tars.grid), ""), sources)
        clock.stop("tar")
        sizes |= {"tar": tar, "index": index}
    return Tried(n, unit.kind, clock.seconds, sizes, lr.values[0])


class _OneBlock(Store):
    """A store of patches in memory alone."""

    def __init__(self, patches: Patches) -> None:
        super().__init__(NOWHERE, StoreSettings(patches.hr.shape[1]))
        self._patches = patches

    @staticmethod
    def unit(count: int) -> Unit:
        return Unit(count, ("",), 0)

    def read_ahead(self) -> None:
        pass

    def block_hr(self, block: int, unit: Unit | None = None) -> np.ndarray:
        return self._patches.hr

    def patches(self, number: int) -> list[PatchRecord]:
        return list(self._patches.records)


class _Nowhere:
    """A file that is not there. size: of it. filled: the end of the last byte that is no zero."""

    def __init__(self) -> None:
        self.size = self.filled = 0

    def write(self, data: bytes, /) -> int:
        if found := len(data.rstrip(b"\0")):
            self.filled = self.size + found
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        pass


def _packed(work: TarWork, sources: Sources) -> tuple[int, int]:
    """Bytes of a tar's samples, without what ends it, and of its index."""
    tar, index = _Nowhere(), _Nowhere()
    with threads(1) as pool:
        write_samples(work, sources, pool, tar, index)
    return -(-tar.filled // BLOCK_OF_TAR) * BLOCK_OF_TAR, index.size


@dataclass(frozen=True)
class PackJob:
    """Packs blocks of a store whose levels are there: see `engines.job.Job`."""

    tars: TarJob

    @contextmanager
    def open(self) -> Iterator[Callable[[Piece], Tried]]:
        sources = Sources(
            replace(self.tars, at_once=1), Store.open(place_of(self.tars.store)), None
        )

        def pack(piece: Piece) -> Tried:
            clock = _Clock()
            tar, index = _packed(TarWork(0, (piece,), 0, len(self.tars.grid), ""), sources)
            clock.stop("tar")
            n = piece.end - piece.start
            return Tried(n, 0, clock.seconds, {"tar": tar, "index": index})

        yield pack


@dataclass(frozen=True)
class Rehearsed(Generic[AnyRecord]):
    """Records of a job, in order. wall: seconds until the last one came."""

    records: list[AnyRecord]
    wall: float
    workers: int
    engine: Engine

    def start(self, costs: Sequence[float]) -> float:
        """Seconds before the work begins, where workers start anew and load for themselves what
        they need. costs: seconds of each record's work.
        """
        if self.engine is run_in_threads:
            return 0.0
        return max(self.wall - makespan(costs, self.workers), 0.0)


def rehearse(
    engine: Engine,
    job: Job[AnyUnit, AnyRecord],
    units: Iterable[AnyUnit],
    workers: int,
    seconds: float,
    least: int,
    cost: Callable[[AnyUnit], int] | None = None,
) -> Rehearsed[AnyRecord]:
    """Run as many units as begin within so many seconds of the first record, and `least` whatever
    it takes.
    """
    begun = time.perf_counter()
    ends: list[float] = []

    def drawn() -> Iterator[AnyUnit]:
        for i, unit in enumerate(units):
            if i >= least and ends and time.perf_counter() > ends[0]:
                return
            yield unit

    records = []
    with closing(engine(job, drawn(), workers, cost)) as made:
        for record in made:
            if not ends:
                ends.append(time.perf_counter() + seconds)
            records.append(record)
    return Rehearsed(records, time.perf_counter() - begun, workers, engine)


def makespan(costs: Sequence[float], workers: int) -> float:
    """Seconds until the last of these units ends, each begun by the first worker that is free."""
    if len(costs) > MANY * workers:
        return sum(costs) / workers
    free = [0.0] * workers
    for cost in costs:
        heapq.heapreplace(free, free[0] + cost)
    return max(free)
