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

BALANCE, EVEN = 1, 2
"""What is drawn in an epoch, each with a generator of its own."""

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

    def share(self, ask: Ask, epoch: int, part: Part) -> tuple[list[tuple[int, Wanted]], int]:
        """What a worker reads in an epoch, by tar, and how many batches that makes.

        The pairs, in the order of the index, are counted off into groups of `batch` pairs of one
        kind. A worker gets whole groups that follow each other: so it makes as many batches as it
        has groups, however it shuffles them, and ranks that have as many groups make as many
        batches, whatever the number of their workers.
        """
        pairs, group, count = self._grouped(ask, epoch)
        dealt = np.arange(evened(count, ask, part.ranks))
        first, end = span_of(len(dealt), part)
        if len(dealt) != count:
            # Others in each epoch are left out or come twice.
            rng = np.random.default_rng([ask.seed, epoch, EVEN])
            drawn = rng.permutation(count) if ask.shuffle else np.arange(count)[::-1]
            if len(dealt) < count:
                dealt = np.sort(drawn[count - len(dealt) :])
            else:
                dealt[count:] = np.resize(drawn, len(dealt) - count)
        mine = [np.flatnonzero(np.isin(group, dealt[first : min(end, count)]))]
        for again in dealt[max(first, count) : end]:
            found = np.flatnonzero(group == again)
            kinds = self.kind[pairs[found]]
            whole = found[kinds == np.bincount(kinds).argmax()]
            mine.append(np.resize(whole, ask.batch or 1))
        found = pairs[np.concatenate(mine)]
        found = found[np.argsort(self.tar[found], kind="stable")]
        return list(self._by_tar(found)), end - first

    def _grouped(self, ask: Ask, epoch: int) -> tuple[np.ndarray, np.ndarray, int]:
        """The pairs of an epoch, the group of each, and how many groups there are.

        Groups are numbered in the order of their first pairs, those that are not full in between,
        evenly apart. Pairs that `drop_last` leaves over go with the last group of their kind, or
        with the last of all.
        """
        pairs = np.arange(len(self.kind))
        if ask.balance:
            # By the number of the pair, not by who reads it: every worker draws the same.
            drawn = np.random.default_rng([ask.seed, epoch, BALANCE]).random(len(pairs))
            pairs = pairs[drawn < self._shares()[self.kind]]
        kinds = self.kind[pairs]
        counts = np.bincount(kinds, minlength=len(self.scales))
        groups = _groups(counts, ask)
        count = int(groups.sum())
        if not count:
            return pairs[:0], pairs[:0], 0
        # The place of each pair among those of its kind.
        among = np.empty(len(pairs), np.int64)
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        among[np.argsort(kinds, kind="stable")] = np.arange(len(pairs)) - starts
        own = np.minimum(among // (ask.batch or 1), groups[kinds] - 1)
        firsts = np.cumsum(groups) - groups
        group = np.where(own < 0, -1, firsts[kinds] + own)
        place = np.empty(count)
        taken = np.flatnonzero(own >= 0)[::-1]
        place[group[taken]] = taken
        few = np.flatnonzero(np.bincount(group[taken], minlength=count) < (ask.batch or 1))
        place[few] = (np.arange(len(few)) + 0.5) / max(len(few), 1) * len(pairs)
        number = np.empty(count, np.int64)
        number[np.argsort(place)] = np.arange(count)
        return pairs, np.where(own < 0, count - 1, number[group]), count

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


def evened(count: int, ask: Ask, ranks: int) -> int:
    """How many of `count` batches all ranks read together, those that come twice among them.

    Raises UsageError where the ranks cannot have equal numbers.
    """
    if not ask.even or ranks == 1:
        return count
    if count < (ranks if ask.even == "cut" else 1):
        raise UsageError(
            f"even={ask.even!r}: an epoch has {count} batches for {ranks} ranks: ask for a smaller "
            f"batch, even='pad' or fewer ranks"
        )
    return (count + (ranks - 1 if ask.even == "pad" else 0)) // ranks * ranks


def span_of(count: int, part: Part) -> tuple[int, int]:
    """The first and the end of the batches, of `count` on all ranks, that a worker reads."""
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
