"""Which worker of which rank reads which pairs of a folder of shards, known from the index."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.reading.ask import Ask, key_number, kind_of
from degflow_pipe.reading.index import read_index
from degflow_pipe.reading.parts import Part
from degflow_pipe.shards.summary import AGAIN, Summary

Wanted = dict[int, list[int]]
"""By the number of a sample's key, the places of its levels that are read."""


@dataclass(frozen=True)
class Plan:
    """The n wanted pairs of a folder as numbers, in the order of the index.

    tar: (n,) int32, the tar of each; key: (n,) uint64, what stands for its sample's key; level:
    (n,) int32, its place in the sample; kind: (n,) int32, alike for those that may share a batch;
    scales: (kinds,) float64, SR scale of each kind; tars: how many the folder has.
    """

    tar: np.ndarray
    key: np.ndarray
    level: np.ndarray
    kind: np.ndarray
    scales: np.ndarray
    tars: int

    def batches(self, ask: Ask) -> int:
        """Batches of an epoch, on all ranks together; pairs where no batch is asked for."""
        return int(_groups(np.bincount(self.kind), ask).sum())

    def share(
        self, ask: Ask, epoch: int, tars: list[int], part: Part
    ) -> tuple[list[tuple[int, Wanted]], int]:
        """What a worker reads in an epoch, tar by tar, and how many batches that makes.

        tars: all of them in the order of the epoch. The pairs, ordered so, are counted off into
        groups of `batch` pairs of one kind. A worker gets whole groups that follow each other: so
        it makes as many batches as it has groups, however it shuffles them, and ranks that have as
        many groups have as many batches, whatever the number of their workers.
        """
        order, group, count = self._grouped(ask, epoch, tars)
        if not count:
            return [], 0
        place = np.full(count, len(order))
        np.minimum.at(place, group, np.arange(len(order)))
        number = np.empty(count, np.int64)
        number[np.argsort(place)] = np.arange(count)
        # Groups are numbered as their first pairs come; what drop_last leaves over goes with one.
        numbers = number[group]
        first, end = span_of(count, ask, part)
        mine = np.flatnonzero((numbers >= first) & (numbers < end))
        again = []
        for extra in range(max(first, count), end):
            found = np.flatnonzero(numbers == extra % count)
            kinds = self.kind[order[found]]
            whole = found[kinds == np.bincount(kinds).argmax()]
            again.append(np.resize(whole, ask.batch or 1))
        return list(self._by_tar(order[np.sort(np.concatenate([mine, *again]))])), end - first

    def _grouped(self, ask: Ask, epoch: int, tars: list[int]) -> tuple[np.ndarray, np.ndarray, int]:
        """The pairs of an epoch in order, the group of each, and how many groups there are."""
        turn = np.empty(self.tars, np.int64)
        turn[tars] = np.arange(self.tars)
        order = np.argsort(turn[self.tar], kind="stable")
        if ask.balance:
            # By the number of the pair, not by who reads it: every worker draws the same.
            drawn = np.random.default_rng([ask.seed, epoch]).random(len(self.kind))
            order = order[(drawn < self._shares()[self.kind])[order]]
        kinds = self.kind[order]
        counts = np.bincount(kinds, minlength=len(self.scales))
        groups = _groups(counts, ask)
        # The place of each pair among those of its kind.
        among = np.empty(len(order), np.int64)
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        among[np.argsort(kinds, kind="stable")] = np.arange(len(order)) - starts
        own = np.minimum(among // (ask.batch or 1), groups[kinds] - 1)
        count = int(groups.sum())
        firsts = np.cumsum(groups) - groups
        return order, np.where(own < 0, count - 1, firsts[kinds] + own), count

    def _shares(self) -> np.ndarray:
        """By kind, the share of its pairs that makes every scale as frequent as the rarest."""
        _, scale = np.unique(self.scales, return_inverse=True)
        counts = np.bincount(scale[self.kind])
        shares: np.ndarray = (counts.min() / counts)[scale]
        return shares

    def _by_tar(self, pairs: np.ndarray) -> Iterator[tuple[int, Wanted]]:
        cuts = np.flatnonzero(np.diff(self.tar[pairs])) + 1
        for run in np.split(pairs, cuts):
            wanted: Wanted = {}
            for pair in run.tolist():
                wanted.setdefault(int(self.key[pair]), []).append(int(self.level[pair]))
            if wanted:
                yield int(self.tar[run[0]]), wanted


def _groups(counts: np.ndarray, ask: Ask) -> np.ndarray:
    """Batches that so many pairs of each kind make."""
    size = ask.batch or 1
    groups: np.ndarray = counts // size if ask.drop_last else -(-counts // size)
    return groups


def span_of(count: int, ask: Ask, part: Part) -> tuple[int, int]:
    """The first and the end of the groups that a worker reads; from `count` on, the first again.

    Raises UsageError where the ranks cannot have equal numbers.
    """
    if ask.even and part.ranks > 1:
        least = part.ranks if ask.even == "cut" else 1
        if count < least:
            raise UsageError(
                f"even={ask.even!r}: an epoch has {count} batches for {part.ranks} ranks: ask for "
                f"a smaller batch, even='pad' or fewer ranks"
            )
        up = part.ranks - 1 if ask.even == "pad" else 0
        count = (count + up) // part.ranks * part.ranks
    start, end = (count * rank // part.ranks for rank in (part.rank, part.rank + 1))
    first, last = (
        start + (end - start) * worker // part.workers for worker in (part.worker, part.worker + 1)
    )
    return first, last


def plan_of(shards: Summary, ask: Ask) -> Plan:
    """Read the index through. Raises UsageError where no pair is wanted, ShardError for damage."""
    places = {tar: n for n, tar in enumerate(shards.tars)}
    tars, keys, levels, kinds = array("i"), array("Q"), array("i"), array("i")
    known: dict[tuple[str, ...], int] = {}
    scales: list[float] = []
    seen: set[tuple[float, float]] = set()
    lines = 0
    for tar, _, pairs in read_index(shards):
        lines += 1
        number = None
        for level, (key, lr_name, info) in enumerate(pairs):
            if not ask.wants(info):
                seen = seen if known else _ends(seen | {(info["t"], info["scale"])})
                continue
            if number is None:
                level_name = lr_name.removeprefix("lr")  # _t0100 in a sample of many levels
                number = key_number(key[: len(key) - len(level_name)])
            kind = known.setdefault(kind_of(info), len(known))
            if kind == len(scales):
                scales.append(info["scale"])
            for column, value in ((tars, places[tar]), (levels, level), (kinds, kind)):
                column.append(value)
            keys.append(number)
    if not lines:
        raise ShardError(f"{shards.index}: empty; {AGAIN}")
    if lines != shards.samples:
        raise ShardError(f"{shards.index}: {lines} lines for {shards.samples} samples; {AGAIN}")
    if not known:
        raise UsageError(
            f"no pair has levels={ask.levels}, t={ask.t}, scales={ask.scales}: {shards.folder} has "
            f"(t, scale) from {min(seen)} to {max(seen)}"
        )
    return Plan(
        *(np.array(tars), np.array(keys), np.array(levels), np.array(kinds)),
        scales=np.array(scales, np.float64),
        tars=len(shards.tars),
    )


def _ends(seen: set[tuple[float, float]]) -> set[tuple[float, float]]:
    return {min(seen), max(seen)}
