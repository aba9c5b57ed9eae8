"""Where a stream reads its pairs: a folder of finished shards, or tars at URLs."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from typing import Any, Protocol, TypeVar
from urllib.parse import urlparse

import numpy as np
import webdataset as wds

from degflow_pipe import files
from degflow_pipe.errors import ShardError
from degflow_pipe.reading.ask import Ask, key_number
from degflow_pipe.reading.coded import Coded, Faults, Named, coded_pairs, named_pairs
from degflow_pipe.reading.parts import Part
from degflow_pipe.reading.plan import Wanted, plan_of
from degflow_pipe.reading.tars import local_samples, streamed_samples
from degflow_pipe.shards.summary import AGAIN, Summary

Item = TypeVar("Item")


class Source(Protocol):
    """What a stream reads."""

    identity: str
    """Changes whenever the pairs do, but not with the place where they lie."""

    def batches(self) -> int | None:
        """Batches of an epoch on all ranks together, where that is known and always the same."""

    def coded(self, epoch: int, part: Part, faults: Faults) -> tuple[Iterator[Coded], int | None]:
        """What a worker reads in an epoch, not shuffled, and how many batches it makes if known."""


class Folder:
    """A folder of finished shards: the index tells beforehand who reads what."""

    def __init__(self, shards: Summary, ask: Ask) -> None:
        self._ask, self._plan = ask, plan_of(shards, ask)
        # Absolute, as a worker may be elsewhere.
        self._paths = [shards.folder.absolute() / tar for tar in shards.tars]
        sums = [*map(files.sha256, shards.indexes), *shards.tars]
        self.identity = hashlib.sha256(repr(sums).encode()).hexdigest()

    def batches(self) -> int | None:
        return None if self._ask.balance else self._plan.batches(self._ask)

    def coded(self, epoch: int, part: Part, faults: Faults) -> tuple[Iterator[Coded], int | None]:
        share, due = self._plan.share(self._ask, epoch, part)
        tars = list(range(len(self._paths)))
        turns = tar_order(tars, self._ask, orders(self._ask, epoch, part)[0])
        turn = {tar: n for n, tar in enumerate(turns)}
        share.sort(key=lambda one: turn[one[0]])
        return self._read(share, faults), due

    def _read(self, share: list[tuple[int, Wanted]], faults: Faults) -> Iterator[Coded]:
        for tar, wanted in share:
            path, left = self._paths[tar], dict(wanted)

            def chosen(sample: dict[str, Any], where: str, left: Wanted = left) -> list[Named]:
                levels = left.pop(key_number(sample["__key__"]))
                pairs = named_pairs(sample, where)
                if max(levels) >= len(pairs):
                    raise ShardError(f"{where} has {len(pairs)} levels, the index more; {AGAIN}")
                return [pairs[level] for level in levels]

            try:
                samples = local_samples(path, left)
                yield from coded_pairs(samples, chosen, faults)
                if left:
                    raise ShardError(f"{path} lacks {len(left)} samples of the index; {AGAIN}")
            except ShardError as error:
                faults.meet(error, sum(map(len, left.values())))


class Urls:
    """Tars of which nothing is known before they are read."""

    def __init__(self, urls: list[str], ask: Ask) -> None:
        self._urls, self._ask = urls, ask
        self.identity = repr([urlparse(url).path.rpartition("/")[2] for url in urls])

    def batches(self) -> int | None:
        return None

    def coded(self, epoch: int, part: Part, faults: Faults) -> tuple[Iterator[Coded], int | None]:
        mine = [(url, 1, 0) for url in self._urls]
        for number, among in ((part.rank, part.ranks), (part.worker, part.workers)):
            mine = _shared_out(mine, number, among)
        mine = tar_order(mine, self._ask, orders(self._ask, epoch, part)[0])
        return self._read(mine, faults), None

    def _read(self, mine: list[tuple[str, int, int]], faults: Faults) -> Iterator[Coded]:
        def chosen(sample: dict[str, Any], where: str) -> list[Named]:
            return [pair for pair in named_pairs(sample, where) if self._ask.wants(pair[2])]

        for url, step, start in mine:
            yield from coded_pairs(streamed_samples(url, step, start), chosen, faults)


def _shared_out(
    mine: list[tuple[str, int, int]], number: int, among: int
) -> list[tuple[str, int, int]]:
    """One reader's part of tars, of each of which every `step`-th sample is read from `start` on.

    Whole ones where there are enough; else those who share one take turns by its samples.
    """
    if len(mine) >= among:
        return mine[number::among]
    turn, place = divmod(number, len(mine))
    url, step, start = mine[place]
    sharers = len(range(place, among, len(mine)))
    return [(url, step * sharers, start + step * turn)]


def orders(ask: Ask, epoch: int, part: Part) -> tuple[random.Random, random.Random]:
    """What a worker draws the order of its tars and that of its pairs from."""
    seeds = np.random.SeedSequence([ask.seed, epoch, part.rank, part.worker]).spawn(2)
    one, two = (random.Random(int(seed.generate_state(1, np.uint64)[0])) for seed in seeds)
    return one, two


def tar_order(tars: list[Item], ask: Ask, rng: random.Random) -> list[Item]:
    if not ask.shuffle:
        return tars
    return list(wds.shuffle(len(tars), initial=len(tars), rng=rng)(iter(tars)))
