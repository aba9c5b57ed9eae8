"""What an export would write, and how long that would take: nothing is written."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from degflow_pipe import files, folders
from degflow_pipe.engines.engine import check_workers
from degflow_pipe.engines.threads import in_order
from degflow_pipe.estimates import DISK_BYTES, Estimate, Measured
from degflow_pipe.exports import owned
from degflow_pipe.exports.export import (
    as_it_is,
    in_the_way,
    json_line,
    made_of,
    row_of,
    side_of,
    smaller,
    stored_side,
)
from degflow_pipe.exports.lmdbs import LmdbTrainer
from degflow_pipe.exports.source import ShardPair, Source, chosen_levels
from degflow_pipe.exports.trainer import Plan, Trainer
from degflow_pipe.exports.trainers import find_trainer
from degflow_pipe.shards.layout import VALIDATE

TRIED = 256
"""Pictures that are tried, at most."""
TRY_SECONDS = 6.0
"""Seconds after which no more of them are begun."""
BESIDE = 4000
"""Bytes of the option file and of figures, about."""


class _Picture(NamedTuple):
    """An HR or LR that is to be written."""

    pair: ShardPair
    plan: Plan
    is_hr: bool

    @property
    def bytes(self) -> int:
        """In the shards."""
        return int((self.pair.hr if self.is_hr else self.pair.lr).place[1])

    @property
    def is_kept(self) -> bool:
        """Whether it is written byte for byte."""
        span = self.pair.hr if self.is_hr else self.pair.lr
        stored = stored_side(self.pair, self.plan, self.is_hr)
        return span.is_png and stored == side_of(self.plan, self.is_hr)


@dataclass
class _Count:
    """Pictures of one side, HR or LR. bytes: in the shards; kept: those of them that are written
    byte for byte. sample: every `step`-th of them.
    """

    pictures: int = 0
    bytes: int = 0
    kept: int = 0
    sample: list[_Picture] = field(default_factory=list)
    step: int = 1

    def add(self, picture: _Picture) -> None:
        if self.pictures % self.step == 0:
            self.sample.append(picture)
            if len(self.sample) > TRIED:
                self.sample, self.step = self.sample[::2], self.step * 2
        self.pictures += 1
        self.bytes += picture.bytes
        self.kept += picture.bytes if picture.is_kept else 0


def estimate_export(
    shards: Path,
    to: str,
    out: Path,
    *,
    scale: int | None = None,
    t: Sequence[float] | None = None,
    scales: Sequence[float] | None = None,
    workers: int = 0,
    relative: bool = False,
    overwrite: bool = False,
) -> Estimate:
    """What `export` would do with these options, of photos that were set apart too; raises as it
    does.
    """
    how: dict[str, Any] = {"scale": scale, "t": t, "scales": scales, "workers": workers}
    how |= {"relative": relative, "overwrite": overwrite}
    found = _estimate(shards, to, out, **how)
    if not files.is_folder(shards / VALIDATE):
        return found
    return found.with_validation(_estimate(shards / VALIDATE, to, out / VALIDATE, **how))


def _estimate(
    shards: Path,
    to: str,
    out: Path,
    scale: int | None,
    t: Sequence[float] | None,
    scales: Sequence[float] | None,
    workers: int,
    relative: bool,
    overwrite: bool,
) -> Estimate:
    """Of the photos of one folder."""
    begun = time.perf_counter()
    trainer = find_trainer(to)
    at_once = check_workers(workers)
    if not relative:
        owned.root_text(out)
    trainer.check_out(out, relative)
    source = Source(shards)
    plans = trainer.plans(chosen_levels(source.levels, t, scales), scale)
    made = made_of(trainer, source, plans)
    folders.check_ours(out, folders.EXPORT)
    way = in_the_way(out, trainer, made, overwrite)
    counts = {"hr": _Count(), "lr": _Count()}
    total = _Total(trainer, out, {plan.level.name: plan for plan in plans}, way.other)
    for unit in source.units(1):
        total.add(unit, counts)
    surveyed = time.perf_counter() - begun
    tried = {side: _tried(count, trainer, out, at_once) for side, count in counts.items()}
    sizes = {
        side: count.kept + round((count.bytes - count.kept) * tried[side].ratio)
        for side, count in counts.items()
    }
    sizes["lists"] = total.listed + BESIDE
    spent = sum(tried[side].seconds * count.pictures for side, count in counts.items())
    rate = files.seconds_to_write(out, DISK_BYTES)
    if isinstance(trainer, LmdbTrainer) and rate is not None:
        spent += (sizes["hr"] + sizes["lr"]) * rate / DISK_BYTES
    pictures = sum(count.pictures for count in counts.values())
    return Estimate(
        command="export",
        photos=0,
        known=0,
        skipped={},
        patches=source.patches,
        pairs=source.patches * len(plans) - total.there,
        known_pairs=total.there,
        tars=0,
        files=pictures + total.links,
        bytes=sizes,
        total_bytes=sum(sizes.values()),
        peak_bytes=sum(sizes.values()),
        seconds={"survey": round(surveyed, 1), "pictures": round(spent, 1)},
        total_seconds=round(surveyed + spent, 1),
        bytes_spread=0.0,
        seconds_spread=0.0,
        measured=Measured(
            photos=0,
            patches=sum(one.pictures for one in tried.values()),
            seconds=round(time.perf_counter() - begun, 1),
            workers=at_once,
            engine="threads",
            device="cpu",
            disk=rate is not None,
        ),
    )


@dataclass
class _Total:
    """Goes through all pairs as the export would. listed: bytes of the lists; links: HR that are
    further names of files; there: LR that are there already.
    """

    trainer: Trainer
    out: Path
    chosen: dict[str, Plan]
    anew: bool
    listed: int = 0
    links: int = 0
    there: int = 0

    def add(self, unit: list[ShardPair], counts: dict[str, _Count]) -> None:
        """unit: the pairs of a patch."""
        seen: set[str] = set()
        sides: set[int] = set()
        for pair in unit:
            plan = self.chosen.get(pair.level)
            if plan is None:
                continue
            paths = self.trainer.where(pair, plan)
            row = row_of(pair, plan, paths)
            lists = [json_line, *self.trainer.lists.values()]
            self.listed += sum(len(line(row).encode()) + 1 for line in lists)
            for path, is_hr in zip(paths, (True, False), strict=True):
                if path in seen:
                    continue
                seen.add(path)
                self.listed += len(path) + 4  # in the ledger
                picture = _Picture(pair, plan, is_hr)
                side = side_of(plan, is_hr)
                if self._is_there(path, picture):
                    self.there += not is_hr
                elif is_hr and side in sides and not isinstance(self.trainer, LmdbTrainer):
                    self.links += 1
                else:
                    counts["hr" if is_hr else "lr"].add(picture)
                if is_hr:
                    sides.add(side)

    def _is_there(self, path: str, picture: _Picture) -> bool:
        """By its name and, where that is known, its length; the export looks at its bytes."""
        there = self.out / path
        if self.anew or isinstance(self.trainer, LmdbTrainer) or not files.is_file(there):
            return False
        return not picture.is_kept or files.size(there) == picture.bytes


class _Tried(NamedTuple):
    """ratio: bytes of what is coded anew to those in the shards. seconds: of a picture, with all
    workers.
    """

    pictures: int
    ratio: float
    seconds: float


def _tried(count: _Count, trainer: Trainer, out: Path, workers: int) -> _Tried:
    """Make some of the pictures, and write as many bytes where nobody sees them."""
    begun = time.perf_counter()
    writes = not isinstance(trainer, LmdbTrainer)

    def drawn() -> Iterator[_Picture]:
        for i, picture in enumerate(count.sample):
            if i >= workers and time.perf_counter() - begun > TRY_SECONDS:
                return
            yield picture

    def work(picture: _Picture) -> tuple[int, int]:
        data = as_it_is(*picture) or smaller(*picture)
        if writes:
            files.seconds_to_write(out, len(data))
        return (0, 0) if picture.is_kept else (len(data), picture.bytes)

    sizes = list(in_order(work, drawn(), workers))
    stored = sum(before for _, before in sizes)
    return _Tried(
        pictures=len(sizes),
        ratio=sum(after for after, _ in sizes) / stored if stored else 1.0,
        seconds=(time.perf_counter() - begun) / max(len(sizes), 1),
    )
