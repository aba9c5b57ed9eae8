"""Pairs as they lie in tars, on their way to be decoded: checked, shuffled, put into batches."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from webdataset.filters import pick

from degflow_pipe import json_files
from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.pictures.arrays import scaled
from degflow_pipe.reading.ask import Ask, kind_of
from degflow_pipe.reading.samples import Info, Queries, Sample, hr_of, member, pairs_of, picture
from degflow_pipe.shards.summary import AGAIN

JSON_LIMIT = 1024**2
"""Bytes of a sample's JSON."""
WAITING = 1024**3
"""Bytes of the coded pairs that wait to be drawn, or for others of their batch."""
FIRST = 100
"""Pairs that wait before the first is drawn, as in webdataset."""

Named = tuple[str, str, Info]
"""A pair's key, its LR's name without the ending, and its info."""


class Coded(NamedTuple):
    """A pair as it lies in a tar. where: the tar and the key."""

    key: str
    where: str
    lr: bytes
    hr: bytes
    info: Info

    @property
    def bytes(self) -> int:
        return len(self.lr) + len(self.hr)


class Faults:
    """What is done about damaged samples: the first ends the epoch, or each is counted.

    count: (1,) int64 that the pairs which are left out are added to, where others see it too; None
    where they were counted before.
    """

    def __init__(self, skip: bool, count: Tensor | None = None) -> None:
        self.skip, self._count = skip, count
        self._told = count is None

    def meet(self, error: ShardError, pairs: int = 1) -> None:
        if not self.skip:
            raise error
        if self._count is not None:
            self._count += pairs
        if not self._told:
            warnings.warn(f"left out, as on_error='skip': {error}", stacklevel=2)
            self._told = True


def coded_pairs(
    samples: Iterable[dict[str, Any]],
    chosen: Callable[[dict[str, Any], str], list[Named]],
    faults: Faults,
) -> Iterator[Coded]:
    """The pairs that are chosen of each sample, given it and where it is."""
    for sample in samples:
        where = f"{sample['__url__']}: {sample['__key__']}"
        try:
            pairs = chosen(sample, where)
        except ShardError as error:
            faults.meet(error)
            continue
        for key, lr_name, info in pairs:
            where = f"{sample['__url__']}: {key}"
            try:
                lr, hr = (member(sample, name, where) for name in (lr_name, "hr"))
            except ShardError as error:
                faults.meet(error)
                continue
            yield Coded(key, where, lr, hr, info)


def named_pairs(sample: dict[str, Any], where: str) -> list[Named]:
    """All pairs of a sample by its JSON; raises ShardError."""
    try:
        if len(sample["json"]) > JSON_LIMIT:
            raise ValueError("too large")
        return pairs_of(sample["__key__"], json_files.parse(sample["json"]))
    except (ValueError, TypeError, KeyError) as error:
        raise ShardError(f"{where} has no JSON of a training pair; {AGAIN}") from error


def shuffled(pairs: Iterable[Coded], most: int, rng: random.Random) -> Iterator[Coded]:
    """Draw from `most` pairs that wait, or from as many as take WAITING bytes.

    In the order of webdataset's `shuffle`, which has no limit of bytes.
    """
    waiting: list[Coded] = []
    held = 0
    source = iter(pairs)
    for pair in source:
        waiting.append(pair)
        held += pair.bytes
        if len(waiting) < most and held <= WAITING and (second := next(source, None)):
            waiting.append(second)
            held += second.bytes
        while waiting and (len(waiting) >= min(FIRST, most) or held > WAITING):
            drawn = pick(waiting, rng)
            held -= drawn.bytes
            yield drawn
            if held <= WAITING:
                break
    while waiting:
        yield pick(waiting, rng)


def batches(pairs: Iterable[Coded], ask: Ask) -> Iterator[list[Coded]]:
    """Batches of one LR size, one HR size and one scale; the incomplete ones come last."""
    size = ask.batch or 1
    waiting: dict[tuple[str, ...], list[Coded]] = {}
    held = 0
    for pair in pairs:
        kind = kind_of(pair.info)
        waiting.setdefault(kind, []).append(pair)
        held += pair.bytes
        if len(waiting[kind]) == size:
            batch = waiting.pop(kind)
            held -= sum(one.bytes for one in batch)
            yield batch
        elif held > WAITING:
            raise UsageError(
                f"batch={size}: pairs of {len(waiting)} sizes and scales wait for others of their "
                f"kind, in {held} bytes: ask for a smaller batch or fewer scales"
            )
    if not ask.drop_last:
        yield from waiting.values()


def decoded(batch: list[Coded], ask: Ask, epoch: int, faults: Faults) -> Sample | None:
    """The pairs of a batch, stacked where batches are asked for; None where all are damaged."""
    samples: list[Sample] = []
    for pair in batch:
        try:
            lr = picture(pair.lr, pair.where)
            hr = hr_of(picture(pair.hr, pair.where), pair.info, pair.where)
            sample = *ask.cut.apply(lr, hr, pair.where, ask.rng(pair.key, epoch)), pair.info
            if ask.batch and samples and _shapes(sample) != _shapes(samples[0]):
                raise ShardError(f"{pair.where}: its sizes are not those it states; {AGAIN}")
        except ShardError as error:
            faults.meet(error)
        else:
            samples.append(sample)
    if not samples:
        return None
    found = _stacked(samples) if ask.batch else samples[0]
    return _in_floats(*found)


def _in_floats(lr: Tensor, hr: Any, info: Any) -> Sample:
    """At once for a batch, in a copy of its own."""
    return scaled(lr), hr if isinstance(hr, Queries) else scaled(hr), info


def _shapes(sample: Sample) -> list[torch.Size]:
    lr, hr, _ = sample
    return [part.shape for part in (lr, *(hr if isinstance(hr, Queries) else (hr,)))]


def _stacked(samples: list[Sample]) -> Sample:
    lrs, hrs, infos = zip(*samples, strict=True)
    if isinstance(hrs[0], Queries):
        return torch.stack(lrs), Queries(*map(torch.stack, zip(*hrs, strict=True))), list(infos)
    return torch.stack(lrs), torch.stack(hrs), list(infos)
