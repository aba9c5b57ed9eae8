"""An estimate while it is added up, stage by stage."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from degflow_pipe import files
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.cameras.making import Making
from degflow_pipe.engines.engine import Engine, check_workers, default_workers, name_of
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.estimates import DISK_BYTES, Estimate, Measured
from degflow_pipe.ledger import Ledger
from degflow_pipe.levels import Grid
from degflow_pipe.shards.card import contact_sheet
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.photo_sample import Found
from degflow_pipe.stages.rehearsal import makespan
from degflow_pipe.stages.shard import Part
from degflow_pipe.stages.tars import Tars
from degflow_pipe.stages.trial import Rates
from degflow_pipe.store import BLOCK, UNIT, Store
from degflow_pipe.store.arrays import index_bytes

if TYPE_CHECKING:
    from degflow_pipe.checkpoint.degflow import DegFlow

TAR_END, TAR_RECORD = 1024, 10240
"""Bytes of zeros that end a tar, and what it is filled up to a multiple of (POSIX ustar)."""
UNIT_INDEX = index_bytes(UNIT)
LEDGER_LINE = 400
"""Bytes of a ledger's line, about: of a block, or of a photo."""
LEDGER_PATCH = 75
"""Bytes that a patch adds to its unit's."""
BESIDE_TAR, BESIDE_TARS = 300, 5000
"""Bytes of sums and figures that a tar adds, and of the card, about."""


@dataclass
class Total:
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

    def tried_out(self, rates: Rates) -> None:
        self.tried += rates.patches
        self.seconds_spread = rates.seconds_spread()

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
                engine=name_of(self.engine),
                device=self.device,
                disk=self.disk,
            ),
        )


def begin(command: str, model: DegFlow | Bank | None, workers: int, engine: Engine) -> Total:
    device = "cpu" if model is None else Bank.of(model).first.device
    return Total(command, check_workers(workers, engine), engine, device)


def mean_hr(store: Store) -> float:
    """Bytes of a patch of a store, without the indexes of its files."""
    units = store.units.values()
    count = sum(unit.count for unit in units)
    size = sum(unit.bytes for unit in units) - len(units) * UNIT_INDEX
    return max(size, 0) / count if count else 0.0


def cut_up(count: int, size: int) -> list[int]:
    """`count` cut into parts of `size`."""
    return [size] * (count // size) + ([count % size] if count % size else [])


def add_ingest(
    total: Total, found: Found, rates: Rates, encoders: Sequence[tuple[str, int]]
) -> None:
    """encoders: ids of those whose latents are written, and patches of the store that lack them."""
    total.photos, total.known, total.skipped = found.photos, found.known, found.skipped
    total.looked, total.bytes_spread = found.looked, found.spread
    n, units = found.patches, cut_up(found.patches, UNIT)
    total.add_bytes(hr=n * found.hr + len(units) * UNIT_INDEX)
    total.files += len(units)
    latent = rates.bytes("latents", found.hr) / max(len(encoders), 1)
    spent = rates.seconds("latents") / max(len(encoders), 1)
    lacking = 0
    for _, bare in encoders:
        parts = cut_up(bare, UNIT)
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
    encoding = makespan([k * spent for k in cut_up(others, UNIT)], workers)
    start = max(found.start, rates.start)
    total.seconds["ingest"] = start + max(looking, cropping, (looking + cropping) / both) + encoding


def add_levels(
    total: Total, blocks: Sequence[int], rates: Rates, hr: float, making: Making
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
class TarCount:
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
        every = cut_up(self.patches * self.per_patch, self.samples)
        return [count for number, count in enumerate(every) if number not in self.stay]

    @property
    def patches_missing(self) -> int:
        return -(-sum(self.missing) // self.per_patch)


@dataclass(frozen=True)
class Packed:
    """Of a patch: bytes in a tar and in an index, and seconds. at_once: patches that a worker packs
    together. sheet: bytes of the contact sheet. start: see `Rehearsed.start`.
    """

    tar: float
    index: float
    seconds: float
    at_once: int
    sheet: int
    start: float


def add_tars(total: Total, tars: TarCount, each: Packed, out: Path, levels: int) -> None:
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
        packing = makespan([k * each.seconds for k in cut_up(n, each.at_once)], total.workers)
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


def sheet_bytes(shown: Sequence[tuple[np.ndarray, np.ndarray]], grid: Grid) -> int:
    return len(contact_sheet(shown, grid)) if shown else 0


def tars_of(part: Part, settings: ShardSettings, more: int) -> TarCount:
    """more: patches that will follow those of the plan, so that a tar that is not full is made
    again.
    """
    plan, ledger = part.plan, part.out / settings.ledger
    stay: frozenset[int] = frozenset()
    if files.is_folder(ledger):
        missing = set(Tars(plan, settings, part.out, Ledger(ledger), by_sum=False).missing())
        full = plan.samples // settings.shard_size if more else plan.tars
        stay = frozenset(set(range(full)) - missing)
    return TarCount(plan.patches + more, settings.shard_size, plan.per_patch, stay)
