"""Patches that are tried for an estimate: which, and what they cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from degflow_pipe.cameras.camera import LearnedCamera
from degflow_pipe.cameras.making import Making
from degflow_pipe.engines.engine import Engine
from degflow_pipe.stages.rehearsal import Patches, Rehearsed, Tried, TryJob, evenly, rehearse
from degflow_pipe.stages.tars import SHOWN
from degflow_pipe.store import BLOCK, BLOCKS, Encoder, Store, Unit
from degflow_pipe.store.reading import block_latents, known_latents

TRY_SECONDS = 10.0
"""Seconds after which no more patches are tried."""
TRIED_BLOCKS = 64
"""Blocks of a store of which patches are tried, at most."""
SEED = 0
"""Of the sample: the same patches are tried again."""


class Rates:
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


def try_out(
    job: TryJob, sample: Iterator[Patches] | Sequence[Patches], engine: Engine, workers: int
) -> tuple[Rates, list[tuple[np.ndarray, np.ndarray]]]:
    """What the sample's patches cost, and the first of them as a contact sheet shows it."""
    units: list[Patches] = []
    shares, making = {0: 1.0}, job.making
    if making is not None and len(making.cameras) > 1 and job.size == 1:
        sample, shares = _by_kind(list(sample), making)

    def noted() -> Iterator[Patches]:
        for unit in _batched(sample, job.size):
            units.append(unit)
            yield unit

    tried = rehearse(engine, job, noted(), workers, TRY_SECONDS, workers)
    pairs = zip(units, tried.records, strict=False)
    shown = [(unit.hr[0], one.lr) for unit, one in pairs if one.lr is not None]
    return Rates(tried, shares), shown[:SHOWN]


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
        kinds[kind].append(replace(one, kind=kind))
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


def spread_out(blocks: Sequence[tuple[int, Unit]]) -> list[tuple[int, Unit]]:
    """Up to TRIED_BLOCKS of them, evenly over all, in an order that may be cut off anywhere."""
    chosen = evenly(blocks, TRIED_BLOCKS)
    return [chosen[i] for i in np.random.default_rng(SEED).permutation(len(chosen))]


def store_sample(
    store: Store,
    blocks: Sequence[tuple[int, Unit]],
    encoders: Mapping[int, Encoder],
    size: int,
) -> Iterator[Patches]:
    """Patches of blocks of a store, `size` at once as they are computed: of each block some, then
    of each block others, where there are few.
    """
    chosen = spread_out(blocks)
    rng = np.random.default_rng(SEED)
    batches = {
        block: rng.permutation(-(-patches_of((block, unit)) // size)) for block, unit in chosen
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


def patches_of(block: tuple[int, Unit]) -> int:
    number, unit = block
    return unit.in_block(number % BLOCKS)
