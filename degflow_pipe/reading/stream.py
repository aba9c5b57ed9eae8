"""Pairs streamed tar by tar, by webdataset."""

from __future__ import annotations

import hashlib
import json
import random
import re
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlparse

import fsspec
import numpy as np
import torch
import webdataset as wds
from torch.utils.data import IterableDataset
from webdataset.utils import pytorch_worker_info

from degflow_pipe import files
from degflow_pipe.errors import DegflowError, ShardError, UsageError
from degflow_pipe.reading.index import read_index, whole_shards
from degflow_pipe.reading.samples import (
    Cut,
    Info,
    Queries,
    Sample,
    member,
    pairs_of,
    picture,
)
from degflow_pipe.shards.summary import AGAIN, Summary

TOLERANCE = 1e-6
"""How far a level's t or scale may lie outside the range asked for."""
MAX_WORKERS = 4096


def sr_pairs(
    shards: str | Path | Sequence[str],
    *,
    crop: int | None = None,
    lr_crop: int | None = None,
    queries: int | None = None,
    batch: int | None = None,
    drop_last: bool = False,
    levels: Sequence[float] | None = None,
    t: tuple[float, float] | None = None,
    scales: tuple[float, float] | None = None,
    balance: bool = False,
    flips: bool = True,
    shuffle: int = 1000,
    seed: int = 0,
) -> PairStream:
    """Stream `(LR, HR, info)` for training; hand it to `DataLoader(..., batch_size=None)`.

    LR (3, h, w) and HR (3, H, W) are float32 RGB in [0, 1], info is the pair's JSON as a dict; with
    `batch`, LR is (n, 3, h, w), HR (n, 3, H, W) and info a list of n. A second iteration is the
    next epoch, with other crops in another order, through a DataLoader too. Every pair comes once
    an epoch. `iter(...)` has state_dict and load_state_dict, which torchdata's StatefulDataLoader
    uses: a training that is stopped within an epoch goes on with the next pair.

    shards: a folder of finished shards, or a tar URL, a brace pattern or a list of URLs as
        webdataset takes them; other URLs are opened by fsspec.
    crop: side of a random HR crop in pixels, a multiple of HR size / LR size; None: all of it.
    lr_crop: the same by the side of the LR crop, which is alike at all scales; where HR size / LR
        size is not whole, a multiple of its denominator (2 for 2.5).
    queries: in place of HR, give so many of its pixels as `Queries`, for local implicit functions.
    batch: pairs in a batch, all of one LR size and one scale; what is left over at the end of an
        epoch makes smaller batches unless `drop_last`.
    levels, t, scales: only pairs whose t is listed; whose t, or scale, is in (low, high), ends
        included. All that are given must hold.
    balance: leave out, in each epoch others, so many pairs at random that every scale is as
        frequent as the rarest one; for a folder of shards.
    flips: flip and turn LR and HR alike, at random; what is not square is turned by 180 degrees.
    shuffle: how many coded pairs wait to be drawn at random; 0 keeps the order of the tars.
    seed: with the epoch, the rank and the worker it settles every random choice.

    Ranks (RANK and WORLD_SIZE, or torch.distributed) and then DataLoader workers share the tars
    out: have one tar or more for each worker of each rank, as one without a tar yields nothing.

    Raises UsageError for a wrong argument or where no pair of the folder is wanted, ShardError
    for a folder that is missing, unfinished, damaged or too new. While reading: UsageError for a
    crop that does not fit a pair, ShardError for a damaged tar or picture.
    """
    chosen = None if levels is None else tuple(levels)
    cut = Cut(crop, lr_crop, queries, flips)
    ask = _Ask(cut, batch, drop_last, chosen, t, scales, shuffle, seed)
    if isinstance(shards, Path) or (isinstance(shards, str) and _is_folder(shards)):
        found = whole_shards(Path(shards))
        _require_some(found, ask)
        if balance:
            ask = replace(ask, shares=_shares(found, ask))
        return PairStream([str(found.folder.absolute() / tar) for tar in found.tars], True, ask)
    if balance:
        raise UsageError("balance counts pairs by the index: it needs a folder of finished shards")
    urls = wds.shardlists.expand_source(shards if isinstance(shards, str) else list(shards))
    if not urls:
        raise UsageError(f"shards must name one tar at least, got {shards!r}")
    return PairStream(urls, False, ask)


class PairStream(IterableDataset[Sample]):
    """What `sr_pairs` returns: iterate over it, or have the workers of a DataLoader do so."""

    def __init__(self, urls: list[str], local: bool, ask: _Ask) -> None:
        self._urls, self._local, self._ask = urls, local, ask
        # Workers may live for one epoch only, so the count is kept where all of them see it.
        # Each counts in a slot of its own: no lock is needed.
        self._epochs = torch.zeros(MAX_WORKERS, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call, unused-ignore]

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration this epoch, counted from 0; for a training that goes on."""
        if epoch < 0:
            raise UsageError(f"epoch must be 0 or more, got {epoch}")
        self._epochs.fill_(epoch)

    def __iter__(self) -> PairIterator:
        part = Part(*pytorch_worker_info())
        epoch = int(self._epochs[part.worker])
        self._epochs[part.worker] += 1
        return PairIterator(self, part, epoch)

    def goes_on(self, part: Part, epoch: int) -> None:
        """Make the next iteration of a worker the epoch after this one."""
        self._epochs[part.worker] = epoch + 1

    def read(self, part: Part, epoch: int, skip: int) -> Iterator[Sample]:
        """What a worker yields in an epoch, without the first `skip`, which are not decoded."""
        ask, count = self._ask, len(self._urls)
        seeds = np.random.SeedSequence([ask.seed, epoch, part.rank, part.worker])
        for_tars, for_pairs = seeds.spawn(2)
        coded: Iterable[list[_Coded]] = wds.DataPipeline(
            wds.SimpleShardList(self._urls),
            wds.split_by_node,
            wds.split_by_worker,
            wds.shuffle(count, initial=count, rng=_order(for_tars)) if ask.shuffle else None,
            partial(_tar_samples, local=self._local),
            partial(_coded_pairs, ask=ask, epoch=epoch),
            wds.shuffle(ask.shuffle, rng=_order(for_pairs)) if ask.shuffle else None,
            partial(_batches, size=ask.batch or 1, drop_last=ask.drop_last),
        )
        for batch in islice(coded, skip, None):
            samples = [_decoded(pair, ask, epoch) for pair in batch]
            yield _stacked(samples) if ask.batch else samples[0]

    @property
    def identity(self) -> str:
        """Changes whenever the same epoch would yield something else."""
        return hashlib.sha256(repr((self._urls, self._ask)).encode()).hexdigest()[:16]


class Part(NamedTuple):
    """Which worker of which rank reads."""

    rank: int
    ranks: int
    worker: int
    workers: int


class PairIterator(Iterator[Sample]):
    """One worker's epoch, which can be left and gone on with."""

    def __init__(self, stream: PairStream, part: Part, epoch: int) -> None:
        self._stream, self._part, self._epoch = stream, part, epoch
        self._yielded = 0
        self._samples = stream.read(part, epoch, 0)

    def __next__(self) -> Sample:
        sample = next(self._samples)
        self._yielded += 1
        return sample

    def state_dict(self) -> dict[str, Any]:
        """Where it is; plain numbers and strings."""
        return {
            "stream": self._stream.identity,
            "part": list(self._part),
            "epoch": self._epoch,
            "yielded": self._yielded,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state: what was yielded before is read over, not decoded.

        Raises UsageError for a state of other shards or arguments, or of another number of ranks
        or workers.
        """
        if state["stream"] != self._stream.identity:
            raise UsageError(
                "this state is of other shards, or of sr_pairs with other arguments: go on with "
                "the same ones, or begin the epoch again"
            )
        if state["part"] != list(self._part):
            rank, ranks, worker, workers = state["part"]
            raise UsageError(
                f"this state is of worker {worker} of {workers}, rank {rank} of {ranks}: go on "
                f"with as many, or begin the epoch again"
            )
        self._epoch, self._yielded = state["epoch"], state["yielded"]
        self._samples = self._stream.read(self._part, self._epoch, self._yielded)
        self._stream.goes_on(self._part, self._epoch)


@dataclass(frozen=True)
class _Ask:
    """The arguments of `sr_pairs`, checked.

    shares: by scale, the share of its pairs that is kept; all of those that are not named.
    """

    cut: Cut
    batch: int | None
    drop_last: bool
    levels: tuple[float, ...] | None
    t: tuple[float, float] | None
    scales: tuple[float, float] | None
    shuffle: int
    seed: int
    shares: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        for label, least in (("batch", 1), ("shuffle", 0), ("seed", 0)):
            value = getattr(self, label)
            if value is not None and value < least:
                raise UsageError(f"{label} must be {least} or more, got {value}")
        for label, span in (("t", self.t), ("scales", self.scales)):
            if span is not None and not (len(span) == 2 and span[0] <= span[1]):
                raise UsageError(f"{label} must be (low, high) with low <= high, got {span!r}")

    def rng(self, key: str, epoch: int) -> np.random.Generator:
        """What is drawn for a pair in an epoch, whoever reads it."""
        digest = hashlib.sha256(key.encode()).digest()
        return np.random.default_rng([self.seed, epoch, int.from_bytes(digest[:8], "big")])

    def keeps(self, key: str, info: Info, epoch: int) -> bool:
        """Whether a wanted pair is drawn in this epoch."""
        if not self.shares:
            return True
        return self.rng(key, epoch).random() < dict(self.shares)[info["scale"]]

    def wants(self, info: Info) -> bool:
        """Whether the pair is one of those asked for."""
        spans = [(info["t"], self.t), (info["scale"], self.scales)]
        listed = self.levels is None or any(
            abs(info["t"] - level) <= TOLERANCE for level in self.levels
        )
        return listed and all(
            span is None or span[0] - TOLERANCE <= value <= span[1] + TOLERANCE
            for value, span in spans
        )


def _is_folder(shards: str) -> bool:
    """Whether a folder is meant, there or not, rather than a tar, a pattern or a URL."""
    return files.is_folder(Path(shards)) or not re.search(r"\.(tar|tgz)|:", shards)


def _require_some(shards: Summary, ask: _Ask) -> None:
    """Raises UsageError where no pair of the index is wanted; reads up to the first that is."""
    seen: set[tuple[float, float]] = set()
    for _, _, pairs in read_index(shards):
        infos = [info for _, _, info in pairs]
        if any(map(ask.wants, infos)):
            return
        seen |= {(info["t"], info["scale"]) for info in infos}
        seen = {min(seen), max(seen)}
    if not seen:
        raise ShardError(f"{shards.index}: empty; {AGAIN}")
    raise UsageError(
        f"no pair has levels={ask.levels}, t={ask.t}, scales={ask.scales}: {shards.folder} has "
        f"(t, scale) from {min(seen)} to {max(seen)}"
    )


def _shares(shards: Summary, ask: _Ask) -> tuple[tuple[float, float], ...]:
    """The share of each wanted scale's pairs that makes all as frequent as the rarest."""
    counts: Counter[float] = Counter()
    for _, _, pairs in read_index(shards):
        counts.update(info["scale"] for _, _, info in pairs if ask.wants(info))
    rarest = min(counts.values())
    return tuple((scale, rarest / count) for scale, count in sorted(counts.items()))


def _order(seeds: np.random.SeedSequence) -> random.Random:
    return random.Random(int(seeds.generate_state(1, np.uint64)[0]))


def _open(url: str, local: bool) -> AbstractContextManager[IO[bytes]]:
    if local:
        return files.reading(Path(url))
    if urlparse(url).scheme in ("", "file", *wds.gopen_schemes):
        return wds.gopen(url)
    found: AbstractContextManager[IO[bytes]] = fsspec.open(url, "rb")
    return found


def _tar_samples(sources: Iterable[dict[str, str]], local: bool) -> Iterator[dict[str, Any]]:
    """The samples of each tar as webdataset groups them; an error names the tar."""
    for source in sources:
        url = source["url"]
        try:
            with _open(url, local) as stream:
                members = wds.tariterators.tar_file_expander([{"url": url, "stream": stream}])
                yield from wds.tariterators.group_by_keys(members, lcase=False)
        except DegflowError:
            raise
        except (OSError, ValueError, EOFError, ImportError, tarfile.TarError, zlib.error) as error:
            why = next((text for text in error.args if isinstance(text, str)), repr(error))
            raise ShardError(f"{url}: cannot be read as a tar: {why}; {AGAIN}") from error


class _Coded(NamedTuple):
    """A pair as it lies in a tar. where: the tar and the key."""

    key: str
    where: str
    lr: bytes
    hr: bytes
    info: Info


def _coded_pairs(samples: Iterable[dict[str, Any]], ask: _Ask, epoch: int) -> Iterator[_Coded]:
    """The pairs of each sample that are wanted, and drawn in this epoch."""
    for sample in samples:
        where = f"{sample['__url__']}: {sample['__key__']}"
        try:
            pairs = pairs_of(sample["__key__"], json.loads(sample["json"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ShardError(f"{where} has no JSON of a training pair; {AGAIN}") from error
        for key, lr_name, info in pairs:
            if ask.wants(info) and ask.keeps(key, info, epoch):
                where = f"{sample['__url__']}: {key}"
                lr, hr = (member(sample, name, where) for name in (lr_name, "hr"))
                yield _Coded(key, where, lr, hr, info)


def _decoded(pair: _Coded, ask: _Ask, epoch: int) -> Sample:
    lr, hr = picture(pair.lr, pair.where), picture(pair.hr, pair.where)
    return *ask.cut.apply(lr, hr, pair.where, ask.rng(pair.key, epoch)), pair.info


def _batches(pairs: Iterable[_Coded], size: int, drop_last: bool) -> Iterator[list[_Coded]]:
    """Batches of one LR size, one HR size and one scale; the incomplete ones come last."""
    waiting: dict[tuple[Any, ...], list[_Coded]] = {}
    for pair in pairs:
        kind = tuple(str(pair.info.get(field)) for field in ("lr_size", "hr_size", "scale"))
        waiting.setdefault(kind, []).append(pair)
        if len(waiting[kind]) == size:
            yield waiting.pop(kind)
    if not drop_last:
        yield from waiting.values()


def _stacked(samples: list[Sample]) -> Sample:
    lrs, hrs, infos = zip(*samples, strict=True)
    if len({lr.shape for lr in lrs}) > 1:
        raise ShardError(f"pairs of {infos[0].get('source')} lie about their sizes; {AGAIN}")
    if isinstance(hrs[0], Queries):
        return torch.stack(lrs), Queries(*map(torch.stack, zip(*hrs, strict=True))), list(infos)
    return torch.stack(lrs), torch.stack(hrs), list(infos)
