"""What `ingest`, `generate`, `shard` and `run` would make, and what that would take: nothing is
written.

Photos are counted by their headers and the store by its ledgers; a seeded sample of both is worked
on as it would be (see `rehearsal`), and stands for the rest.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as dc_replace
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import defaults, files, folders
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.cameras.batches import Batches
from degflow_pipe.cameras.camera import LearnedCamera
from degflow_pipe.cameras.making import Making
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.identity import encoder_id
from degflow_pipe.checkpoint.site import Site
from degflow_pipe.engines.engine import Engine, check_workers, default_workers, engine_of
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.estimates import Estimate, Measured
from degflow_pipe.ledger import Ledger
from degflow_pipe.levels import Grid
from degflow_pipe.shards.card import contact_sheet
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.shards.plan import Piece
from degflow_pipe.shards.tars import TarJob
from degflow_pipe.stages.generate import require_patches
from degflow_pipe.stages.meant import encoders_of
from degflow_pipe.stages.photo_sample import Found, look_at_photos
from degflow_pipe.stages.recipe import IngestSettings, RunRecipe
from degflow_pipe.stages.rehearsal import (
    PackJob,
    Patches,
    Rehearsed,
    Tried,
    TryJob,
    evenly,
    makespan,
    rehearse,
)
from degflow_pipe.stages.run import WORK, asked_of, begun_before
from degflow_pipe.stages.shard import KIND as SHARDS
from degflow_pipe.stages.shard import (
    SHOWN,
    Part,
    Shown,
    Tars,
    check_data_set,
    check_validation,
    levels_to_pack,
    parts_of,
)
from degflow_pipe.store import BLOCK, BLOCKS, UNIT, Encoder, Made, Store, Unit
from degflow_pipe.store.arrays import index_bytes
from degflow_pipe.store.reading import block_latents, known_latents
from degflow_pipe.store.records import check_title
from degflow_pipe.store.store import KIND

TRY_SECONDS = 10.0
"""Seconds after which no more patches are tried."""
TRIED_BLOCKS = 64
"""Blocks of a store of which patches are tried, at most."""
TAR_END, TAR_RECORD = 1024, 10240
"""Bytes of zeros that end a tar, and what it is filled up to a multiple of (POSIX ustar)."""
UNIT_INDEX = index_bytes(UNIT)
SEED = 0
"""Of the sample: the same patches are tried again."""
NO_STORE = Path(os.devnull) / "none"
"""Where no store is, and none can be."""
LEDGER_LINE = 400
"""Bytes of a ledger's line, about: of a block, or of a photo."""
LEDGER_PATCH = 75
"""Bytes that a patch adds to its unit's."""
BESIDE_TAR, BESIDE_TARS = 300, 5000
"""Bytes of sums and figures that a tar adds, and of the card, about."""
DISK_BYTES = 2**24
"""Bytes that are written to see how fast the disk is."""


@dataclass
class _Sum:
    """An estimate while it is added up."""

    command: str
    workers: int
    engine: Engine
    device: str
    begun: float = field(default_factory=time.perf_counter)
    photos: int = 0
    known: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    patches: int = 0
    pairs: int = 0
    known_pairs: int = 0
    tars: int = 0
    files: int = 0
    bytes: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    goes: tuple[str, ...] = ()
    """Parts that do not stay."""
    looked: int = 0
    tried: int = 0
    disk: bool = False
    bytes_spread: float = 0.0
    seconds_spread: float = 0.0

    def add_bytes(self, **parts: float) -> None:
        for part, size in parts.items():
            self.bytes[part] = self.bytes.get(part, 0.0) + size

    def done(self) -> Estimate:
        sizes = {part: round(size) for part, size in self.bytes.items() if size}
        seconds = {stage: round(found, 1) for stage, found in self.seconds.items()}
        return Estimate(
            command=self.command,
            photos=self.photos,
            known=self.known,
            skipped=self.skipped,
            patches=self.patches,
            pairs=self.pairs,
            known_pairs=self.known_pairs,
            tars=self.tars,
            files=self.files,
            bytes=sizes,
            total_bytes=sum(size for part, size in sizes.items() if part not in self.goes),
            peak_bytes=sum(sizes.values()),
            seconds=seconds,
            total_seconds=round(sum(self.seconds.values()), 1),
            bytes_spread=round(self.bytes_spread, 3),
            seconds_spread=round(self.seconds_spread, 3),
            measured=Measured(
                photos=self.looked,
                patches=self.tried,
                seconds=round(time.perf_counter() - self.begun, 1),
                workers=self.workers,
                engine="threads" if self.engine is run_in_threads else "processes",
                device=self.device,
                disk=self.disk,
            ),
        )


class _Rates:
    """What patches cost, by those that were tried.

    shares: of each kind of camera in all patches; a kind that was not tried is not counted.
    """

    def __init__(self, tried: Rehearsed[Tried], shares: Mapping[int, float]) -> None:
        self._tried = tried.records
        counts: Counter[int] = Counter()
        for one in self._tried:
            counts[one.kind] += one.n
        whole = sum(shares[kind] for kind in counts)
        self._weights = [shares[one.kind] / whole / counts[one.kind] for one in self._tried]
        # The first of each worker compiles and allocates.
        warm = tried.workers if len(self._tried) >= 3 * tried.workers else 0
        self._timed = list(zip(self._tried, self._weights, strict=True))[warm:]
        self.start = tried.start([sum(one.seconds.values()) for one in self._tried])

    @property
    def patches(self) -> int:
        return sum(one.n for one in self._tried)

    def seconds(self, *parts: str) -> float:
        """Of a patch, in one worker among all."""
        weight = sum(w * one.n for one, w in self._timed)
        spent = sum(w * one.seconds.get(part, 0.0) for one, w in self._timed for part in parts)
        return spent / weight if weight else 0.0

    def bytes(self, part: str, basis: float, of: str = "hr") -> float:
        """Of a patch that takes `basis` bytes of the part `of`."""
        every = list(zip(self._tried, self._weights, strict=True))
        sizes = sum(w * one.bytes.get(part, 0) for one, w in every)
        bases = sum(w * one.bytes.get(of, 0) for one, w in every)
        return basis * sizes / bases if bases else sizes

    def bytes_spread(self, part: str, of: str = "hr") -> float:
        """Relative standard error of `bytes`."""
        sizes = np.array([one.bytes.get(part, 0) for one in self._tried], float)
        bases = np.array([one.bytes.get(of, 0) for one in self._tried], float)
        if len(sizes) < 2 or not sizes.sum() or not bases.sum():
            return 0.0
        off = sizes - bases * sizes.sum() / bases.sum()
        return float(np.sqrt(len(sizes) / (len(sizes) - 1) * np.sum(off**2)) / sizes.sum())

    def seconds_spread(self) -> float:
        each = np.array([sum(one.seconds.values()) / one.n for one, _ in self._timed])
        if len(each) < 2 or not each.mean():
            return 0.0
        return float(each.std(ddof=1) / np.sqrt(len(each)) / each.mean())


def _try(
    total: _Sum, job: TryJob, sample: Iterator[Patches] | Sequence[Patches], making: Making | None
) -> tuple[_Rates, list[tuple[np.ndarray, np.ndarray]]]:
    """What the sample's patches cost, and the first of them as a contact sheet shows it."""
    units: list[Patches] = []
    shares = {0: 1.0}
    if making is not None and job.size == 1:
        sample, shares = _by_kind(list(sample), making)

    def noted() -> Iterator[Patches]:
        for unit in _batched(sample, job.size):
            units.append(unit)
            yield unit

    tried = rehearse(total.engine, job, noted(), total.workers, TRY_SECONDS, total.workers)
    rates = _Rates(tried, shares)
    total.tried += rates.patches
    total.seconds_spread = rates.seconds_spread()
    pairs = zip(units, tried.records, strict=False)
    shown = [(unit.hr[0], one.lr) for unit, one in pairs if one.lr is not None]
    return rates, shown[:SHOWN]


def _by_kind(sample: list[Patches], making: Making) -> tuple[list[Patches], dict[int, float]]:
    """The sample in an order in which the kinds of cameras take turns, and their shares of all: one
    for each checkpoint, and one for all simulated cameras, as they cost the same.
    """
    learned = sum(isinstance(camera, LearnedCamera) for camera in making.cameras)
    shares: dict[int, float] = {}
    for i, share in enumerate(making.shares):
        kind = min(i, learned)
        shares[kind] = shares.get(kind, 0.0) + share / sum(making.shares)
    kinds: dict[int, list[Patches]] = {kind: [] for kind in shares}
    for one in sample:
        kind = min(making.camera_of(one.places[0]), learned)
        kinds[kind].append(dc_replace(one, kind=kind))
    turns = range(max(map(len, kinds.values()), default=0))
    return [every[i] for i in turns for every in kinds.values() if i < len(every)], shares


def _batched(sample: Iterator[Patches] | Sequence[Patches], size: int) -> Iterator[Patches]:
    """Patches together as they are computed together; those of a store are so already."""
    held: list[Patches] = []

    def together() -> Patches:
        hr = np.concatenate([one.hr for one in held])
        return Patches(hr, tuple(record for one in held for record in one.records))

    for one in sample:
        if len(one.hr) == size or one.latents:
            yield one
            continue
        held.append(one)
        if sum(len(part.hr) for part in held) >= size:
            yield together()
            held = []
    if held:
        yield together()


def _spread_out(blocks: Sequence[tuple[int, Unit]]) -> list[tuple[int, Unit]]:
    """Up to TRIED_BLOCKS of them, evenly over all, in an order that may be cut off anywhere."""
    chosen = evenly(blocks, TRIED_BLOCKS)
    return [chosen[i] for i in np.random.default_rng(SEED).permutation(len(chosen))]


def _store_sample(
    store: Store,
    blocks: Sequence[tuple[int, Unit]],
    encoders: Mapping[int, Encoder],
    size: int,
) -> Iterator[Patches]:
    """Patches of blocks of a store, `size` at once as they are computed: of each block some, then
    of each block others, where there are few.
    """
    chosen = _spread_out(blocks)
    rng = np.random.default_rng(SEED)
    batches = {
        block: rng.permutation(-(-_patches((block, unit)) // size)) for block, unit in chosen
    }
    turns = -(-TRIED_BLOCKS // len(chosen)) if chosen else 0
    for turn in range(turns):
        for block, unit in chosen:
            if turn >= len(batches[block]):
                continue
            hr = store.block_hr(block, unit)
            number, place = divmod(block, BLOCKS)
            records = store.patches(number)[place * BLOCK : place * BLOCK + len(hr)]
            known = known_latents(store, encoders, number, unit)
            latents = block_latents(store, encoders, block, unit, known)
            first = int(batches[block][turn]) * size
            part = slice(first, first + size)
            cut = {camera: values[part] for camera, values in latents.items()}
            yield Patches(hr[part], tuple(records[part]), cut)


def _mean_hr(store: Store) -> float:
    """Bytes of a patch of a store, without the indexes of its files."""
    units = store.units.values()
    count = sum(unit.count for unit in units)
    size = sum(unit.bytes for unit in units) - len(units) * UNIT_INDEX
    return max(size, 0) / count if count else 0.0


def _parts(count: int, size: int) -> list[int]:
    """`count` cut into parts of `size`."""
    return [size] * (count // size) + ([count % size] if count % size else [])


def _add_ingest(
    total: _Sum, found: Found, rates: _Rates, encoders: Sequence[tuple[str, int]]
) -> None:
    """encoders: ids of those whose latents are written, and patches of the store that lack them."""
    total.photos, total.known, total.skipped = found.photos, found.known, found.skipped
    total.looked, total.bytes_spread = found.looked, found.spread
    n, units = found.patches, _parts(found.patches, UNIT)
    total.add_bytes(hr=n * found.hr + len(units) * UNIT_INDEX)
    total.files += len(units)
    latent = rates.bytes("latents", found.hr) / max(len(encoders), 1)
    spent = rates.seconds("latents") / max(len(encoders), 1)
    lacking = 0
    for _, bare in encoders:
        parts = _parts(bare, UNIT)
        total.add_bytes(latents=(n + bare) * latent + (len(units) + len(parts)) * UNIT_INDEX)
        total.files += len(units) + len(parts)
        lacking += bare
    ledgers = found.photos * LEDGER_LINE + n * LEDGER_PATCH
    total.add_bytes(ledgers=ledgers + len(units) * (1 + len(encoders)) * LEDGER_LINE)
    workers, cores = total.workers, default_workers()
    looking = makespan(found.seconds, workers)
    cropping = makespan([k * (found.coding + spent * bool(encoders)) for k in units], workers)
    if total.engine is not run_in_threads:
        cropping += looking  # other processes: photos are decoded again
    # Photos are measured while others are cropped, by as many workers again.
    cuda = total.device != "cpu"
    both = 2.0 if cuda else max(min(2 * workers, cores), workers) / workers
    others = n * max(len(encoders) - 1, 0) + lacking
    encoding = makespan([k * spent for k in _parts(others, UNIT)], workers)
    start = max(found.start, rates.start)
    total.seconds["ingest"] = start + max(looking, cropping, (looking + cropping) / both) + encoding


def _add_levels(
    total: _Sum, blocks: Sequence[int], rates: _Rates, hr: float, making: Making
) -> None:
    """blocks: how many patches each has whose levels are made. hr: bytes of a patch's HR."""
    n, levels = sum(blocks), len(making.grid)
    size = rates.bytes("levels", hr)
    total.add_bytes(
        levels=n * size + len(blocks) * index_bytes(BLOCK * levels),
        ledgers=len(blocks) * LEDGER_LINE + n * rates.bytes("told", hr),
    )
    total.files += len(blocks)
    each = rates.seconds("read", "make", "keep")
    total.seconds["generate"] = rates.start + makespan([k * each for k in blocks], total.workers)
    total.bytes_spread = rates.bytes_spread("levels")


@dataclass(frozen=True)
class _Tars:
    """The tars of a data set of so many patches. samples: a tar, at most; per_patch: samples a
    patch; stay: numbers of the tars that are whole already.
    """

    patches: int
    samples: int
    per_patch: int
    stay: frozenset[int]

    @property
    def count(self) -> int:
        return -(-self.patches * self.per_patch // self.samples)

    @property
    def missing(self) -> list[int]:
        """Samples of each tar that is to be made."""
        every = _parts(self.patches * self.per_patch, self.samples)
        return [count for number, count in enumerate(every) if number not in self.stay]

    @property
    def patches_missing(self) -> int:
        return -(-sum(self.missing) // self.per_patch)


@dataclass(frozen=True)
class _Packed:
    """Of a patch: bytes in a tar and in an index, and seconds. at_once: patches that a worker packs
    together. sheet: bytes of the contact sheet. start: see `Rehearsed.start`.
    """

    tar: float
    index: float
    seconds: float
    at_once: int
    sheet: int
    start: float


def _add_tars(total: _Sum, tars: _Tars, each: _Packed, out: Path, levels: int) -> None:
    n, made = tars.patches_missing, tars.missing
    pairs = sum(made) * (levels // tars.per_patch)
    total.patches += n
    total.tars += len(made)
    total.pairs += pairs
    total.known_pairs += tars.patches * levels - pairs
    if made:
        total.files += 2 * len(made) + 4
        total.add_bytes(beside=each.sheet + tars.count * BESIDE_TAR + BESIDE_TARS)
    of_tars = [_tar_bytes(count * each.tar / tars.per_patch) for count in made]
    total.add_bytes(tars=sum(of_tars), indexes=n * each.index)
    if total.engine is run_in_threads:
        packing = makespan([k * each.seconds for k in _parts(n, each.at_once)], total.workers)
    else:  # a process makes a tar
        packing = makespan([k * each.seconds / tars.per_patch for k in made], total.workers)
    wrote = files.seconds_to_write(out, DISK_BYTES) if made else None
    if wrote is not None:
        total.disk = True
        disk = sum(of_tars) * wrote / DISK_BYTES
        packing = max(packing, disk) + disk / len(made)  # the last one is waited for
    spent = (each.start if made else 0.0) + packing
    total.seconds["shard"] = total.seconds.get("shard", 0.0) + spent


def _tar_bytes(samples: float) -> int:
    """Of a tar whose samples take so many."""
    return -(-(math.ceil(samples) + TAR_END) // TAR_RECORD) * TAR_RECORD


def _sheet(shown: Sequence[tuple[np.ndarray, np.ndarray]], grid: Grid) -> int:
    return len(contact_sheet(shown, grid)) if shown else 0


def _tars_of(part: Part, settings: ShardSettings, more: int) -> _Tars:
    """more: patches that will follow those of the plan, so that a tar that is not full is made
    again.
    """
    plan, ledger = part.plan, part.out / settings.ledger
    stay: frozenset[int] = frozenset()
    if files.is_folder(ledger):
        missing = set(Tars(plan, settings, part.out, Ledger(ledger), by_sum=False).missing())
        full = plan.samples // settings.shard_size if more else plan.tars
        stay = frozenset(set(range(full)) - missing)
    return _Tars(plan.patches + more, settings.shard_size, plan.per_patch, stay)


def _begin(command: str, model: DegFlow | Bank | None, workers: int, engine: Engine) -> _Sum:
    device = "cpu" if model is None else str(Bank.of(model).first.device)
    return _Sum(command, check_workers(workers), engine, device)


def _bare(store: Store, model: DegFlow | Bank) -> list[tuple[str, int]]:
    """Ids of the encoders whose latents an ingest writes, and patches that lack them."""
    found = []
    for one in Bank.of(model).models:
        name, bare = encoder_id(one.info), sum(unit.count for unit in store.units.values())
        if name in store.encoders():
            layer = store.latents(store.encoder(name))
            bare = sum(u.count for number, u in store.units.items() if not layer.has(number, u))
        found.append((name, bare))
    return found


def estimate_ingest(
    photos: Sequence[str],
    store: Path,
    model: DegFlow | Bank,
    *,
    replace: bool = False,
    batch: int = defaults.BATCH,
    workers: int = 0,
    engine: Engine = run_in_threads,
    **settings: Any,
) -> Estimate:
    """What `ingest` would do with these options; settings: those of `IngestSettings`. Raises as it
    does, of photos that are looked at; which of the others are damaged is not known.
    """
    total = _begin("ingest", model, workers, engine)
    size = Batches.of(Bank.of(model).first, batch).size
    asked = IngestSettings(**settings)
    how: dict[str, Any] = {"workers": total.workers, "engine": engine}
    found = look_at_photos(photos, store, model, asked, replaces=replace, **how)
    encoders = _bare(found.store, model)
    sites = tuple(Site.of(one) for one in Bank.of(model).models)
    sample: Iterator[Patches] | list[Patches] = found.sample
    if not found.patches and any(bare for _, bare in encoders):
        blocks = list(found.store.blocks())
        sample = _store_sample(found.store, blocks, {}, size)
    rates, _ = _try(total, TryJob(sites, size, None, False, None), sample, None)
    _add_ingest(total, found, rates, encoders)
    total.patches = found.patches
    return total.done()


def estimate_generate(
    store: Path,
    model: DegFlow | Bank,
    grid: Grid,
    *,
    noise: str = "auto",
    seed: int = 0,
    sr_scale: float = 0.0,
    draws: int = 1,
    name: str = "",
    batch: int = defaults.BATCH,
    workers: int = 0,
    engine: Engine = run_in_threads,
) -> Estimate:
    """What `generate` would do with these options; raises as it does."""
    total = _begin("generate", model, workers, engine)
    source = Store.open(store)
    require_patches(source)
    making = Making.of(model, grid, noise, seed, batch, sr_scale=sr_scale, draws=draws)
    folders.check_ours(store, KIND)
    if name:
        check_title(name)
    source.require_ledgers()
    source.check_levels(dc_replace(making.grid, title=name))
    missing = _without_levels(source, making.grid)
    encoders = encoders_of(source, model, making.grid)
    sample = _store_sample(source, missing, encoders, making.size)
    rates, _ = _try(total, TryJob((), making.size, making, True, None), sample, making)
    _add_levels(total, [_patches(one) for one in missing], rates, _mean_hr(source), making)
    total.patches = sum(map(_patches, missing))
    total.pairs = total.patches * len(making.grid)
    every = sum(map(_patches, source.blocks()))
    total.known_pairs = every * len(making.grid) - total.pairs
    return total.done()


def _patches(block: tuple[int, Unit]) -> int:
    number, unit = block
    return unit.in_block(number % BLOCKS)


def _without_levels(store: Store, grid: Grid) -> list[tuple[int, Unit]]:
    """The blocks whose levels are to be made."""
    levels = store.levels(grid)
    return [(block, unit) for block, unit in store.blocks() if not levels.has(block, unit)]


def estimate_shard(
    store: Path,
    out: Path,
    settings: ShardSettings | None = None,
    *,
    grid: str | None = None,
    workers: int = 0,
    overwrite: bool = False,
    engine: Engine = run_in_threads,
) -> Estimate:
    """What `shard` would do with these options; raises as it does."""
    settings = settings or ShardSettings()
    total = _begin("shard", None, workers, engine)
    source = Store.open(store)
    chosen, made = levels_to_pack(source, grid, None)
    parts = parts_of(source, out, settings, chosen, {}, made)
    if not settings.validate:
        check_validation(out, overwrite)
    for part in parts:
        folders.check_ours(part.out, SHARDS)
        check_data_set(part.out, settings, source.settings.patch, chosen, overwrite)
    every = [_tars_of(part, settings, 0) for part in parts]
    missing = any(tars.missing for tars in every)
    levels = source.levels(chosen)
    blocks = list(source.blocks())
    pieces = [
        Piece(block, unit, 0, _patches((block, unit)), {}, levels.made[block])
        for block, unit in _spread_out(blocks if missing else [])
    ]
    job = PackJob(TarJob(str(store), str(out), settings, chosen, {}, None, 1, ()))
    tried = rehearse(engine, job, pieces, total.workers, TRY_SECONDS, total.workers)
    for piece, one in zip(pieces, tried.records, strict=False):
        one.bytes["store"] = _stored(source, chosen, piece.block, piece.unit)
    rates = _Rates(tried, {0: 1.0})
    total.tried, total.seconds_spread = rates.patches, rates.seconds_spread()
    mean = sum(_stored(source, chosen, *one) for one in blocks) / sum(map(_patches, blocks))
    for tars, part in zip(every, parts, strict=True):
        pictures = Shown(source, part.plan, chosen, None).pictures() if tars.missing else ()
        each = _Packed(
            tar=rates.bytes("tar", mean, "store"),
            index=rates.bytes("index", mean, "store"),
            seconds=rates.seconds("tar"),
            at_once=BLOCK,
            sheet=_sheet(list(pictures), chosen),
            start=rates.start,
        )
        _add_tars(total, tars, each, out, len(chosen))
    total.bytes_spread = rates.bytes_spread("tar", "store")
    return total.done()


def _stored(store: Store, grid: Grid, block: int, unit: Unit) -> int:
    """Bytes of a block's HR, by its unit's, and of its levels."""
    share = _patches((block, unit)) / unit.count
    return round(unit.bytes * share) + store.levels(grid).made[block].bytes


def estimate_run(
    recipe: RunRecipe,
    model: DegFlow | Bank,
    *,
    batch: int = defaults.BATCH,
    workers: int = 0,
    overwrite: bool = False,
    engine: Engine | None = None,
) -> Estimate:
    """What `run` would do with these options; raises as it does, see `estimate_ingest`."""
    engine = engine or engine_of(recipe.engine)
    total = _begin("run", model, workers, engine)
    _, making = asked_of(recipe, model, batch, overwrite)
    out, path = Path(recipe.out), Path(recipe.store)
    if recipe.keep == "none":
        total.goes = ("hr", "latents", "ledgers")
        _, is_begun = begun_before(recipe, overwrite)
        path = out / WORK if is_begun else NO_STORE
    how: dict[str, Any] = {"workers": total.workers, "engine": engine}
    found = look_at_photos(recipe.photos, path, model, recipe.ingest, replaces=False, **how)
    store, grid, kept = found.store, making.grid, recipe.keep == "levels"
    if kept:
        store.check_levels(grid)
    encoded = recipe.keep == "latents" and not making.grid.sr_scale
    blocks = list(store.blocks())
    missing = _without_levels(store, grid) if kept else blocks
    sample: Iterator[Patches] | list[Patches] = found.sample
    if not found.patches:
        encoders = encoders_of(store, model, grid)
        sample = _store_sample(store, missing or blocks, encoders, making.size)
    sites = tuple(Site.of(one) for one in Bank.of(model).models) if encoded else ()
    tar_job = TarJob(str(path), str(out), recipe.shard, grid, {}, None, 1, ())
    rates, shown = _try(total, TryJob(sites, making.size, making, kept, tar_job), sample, making)
    _add_ingest(total, found, rates, _bare(store, model) if encoded else [])
    hr = found.hr or _mean_hr(store)
    if kept:
        sizes = [*map(_patches, missing), *_parts(found.patches, BLOCK)]
        _add_levels(total, sizes, rates, hr, making)
    made = store.levels(grid).made if kept else None
    tars = [
        _tars_of(part, recipe.shard, found.patches if i == 0 else 0)
        for i, part in enumerate(_parts_so_far(store, out, recipe.shard, grid, made))
    ]
    parts = ("read", "reread", "tar") if kept else ("read", "make", "tar")
    each = _Packed(
        tar=rates.bytes("tar", hr),
        index=rates.bytes("index", hr),
        seconds=rates.seconds(*parts),
        at_once=BLOCK if kept else making.size,
        sheet=_sheet(shown, grid),
        start=rates.start,
    )
    for one in tars:
        _add_tars(total, one, each, out, len(grid))
    total.bytes_spread = float(np.hypot(found.spread, rates.bytes_spread("tar")))
    return total.done()


def _parts_so_far(
    store: Store, out: Path, settings: ShardSettings, grid: Grid, made: dict[int, Made] | None
) -> list[Part]:
    """The tars of the patches that are there. Which photos that are to come are set apart is not
    known before they are read: they count as if none were, and that changes no size.
    """
    if not store.units:
        settings = dc_replace(settings, validate="")  # whose names no photo has yet
    return parts_of(store, out, settings, grid, {}, made)
