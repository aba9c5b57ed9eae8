"""Pairs streamed tar by tar, by webdataset."""

from __future__ import annotations

import json
import random
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
import webdataset as wds
from torch.utils.data import IterableDataset
from webdataset.utils import pytorch_worker_info

from degflow_pipe import files
from degflow_pipe.errors import DegflowError, ShardError, UsageError
from degflow_pipe.pictures import to_tensor
from degflow_pipe.reading.index import read_line, whole_shards
from degflow_pipe.reading.samples import (
    Info,
    Sample,
    cropped,
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
    batch: int | None = None,
    drop_last: bool = False,
    levels: Sequence[float] | None = None,
    t: tuple[float, float] | None = None,
    scales: tuple[float, float] | None = None,
    flips: bool = True,
    shuffle: int = 1000,
    seed: int = 0,
) -> PairStream:
    """Stream `(LR, HR, info)` for training; hand it to `DataLoader(..., batch_size=None)`.

    LR (3, h, w) and HR (3, H, W) are float32 RGB in [0, 1], info is the pair's JSON as a dict; with
    `batch`, LR is (n, 3, h, w), HR (n, 3, H, W) and info a list of n. A second iteration is the
    next epoch, with other crops in another order, through a DataLoader too.

    shards: a folder of finished shards, or a tar URL, a brace pattern or a list of URLs as
        webdataset takes them.
    crop: side of a random HR crop in pixels, a multiple of HR size / LR size; None: all of it.
    batch: pairs in a batch, all of one LR size and one scale; what is left over at the end of an
        epoch makes smaller batches unless `drop_last`.
    levels, t, scales: only pairs whose t is listed; whose t, or scale, is in (low, high), ends
        included. All that are given must hold.
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
    ask = _Ask(crop, batch, drop_last, chosen, t, scales, flips, shuffle, seed)
    if isinstance(shards, Path) or (isinstance(shards, str) and _is_folder(shards)):
        found = whole_shards(Path(shards))
        _require_some(found, ask)
        return PairStream([str(found.folder.absolute() / tar) for tar in found.tars], True, ask)
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

    def __iter__(self) -> Iterator[Sample]:
        rank, _, worker, _ = pytorch_worker_info()
        epoch = int(self._epochs[worker])
        self._epochs[worker] += 1
        return iter(self._pipeline([self._ask.seed, epoch, rank, worker]))

    def _pipeline(self, seeds: list[int]) -> Iterable[Sample]:
        ask, count = self._ask, len(self._urls)
        for_tars, for_pairs, for_crops = np.random.SeedSequence(seeds).spawn(3)
        crops = np.random.default_rng(for_crops)
        pipeline: Iterable[Sample] = wds.DataPipeline(
            wds.SimpleShardList(self._urls),
            wds.split_by_node,
            wds.split_by_worker,
            wds.shuffle(count, initial=count, rng=_order(for_tars)) if ask.shuffle else None,
            partial(_tar_samples, local=self._local),
            partial(_coded_pairs, ask=ask),
            wds.shuffle(ask.shuffle, rng=_order(for_pairs)) if ask.shuffle else None,
            wds.map(partial(_decoded, ask=ask, rng=crops)),
            partial(_batches, size=ask.batch, drop_last=ask.drop_last) if ask.batch else None,
        )
        return pipeline


@dataclass(frozen=True)
class _Ask:
    """The arguments of `sr_pairs`, checked."""

    crop: int | None
    batch: int | None
    drop_last: bool
    levels: tuple[float, ...] | None
    t: tuple[float, float] | None
    scales: tuple[float, float] | None
    flips: bool
    shuffle: int
    seed: int

    def __post_init__(self) -> None:
        for label, least in (("crop", 1), ("batch", 1), ("shuffle", 0), ("seed", 0)):
            value = getattr(self, label)
            if value is not None and value < least:
                raise UsageError(f"{label} must be {least} or more, got {value}")
        for label, span in (("t", self.t), ("scales", self.scales)):
            if span is not None and not (len(span) == 2 and span[0] <= span[1]):
                raise UsageError(f"{label} must be (low, high) with low <= high, got {span!r}")

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
    with files.reading(shards.index) as file:
        for line in file:
            infos = [info for _, _, info in read_line(shards, line)[2]]
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


def _order(seeds: np.random.SeedSequence) -> random.Random:
    return random.Random(int(seeds.generate_state(1, np.uint64)[0]))


def _open(url: str, local: bool) -> AbstractContextManager[IO[bytes]]:
    return files.reading(Path(url)) if local else wds.gopen(url)


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
        except (OSError, ValueError, EOFError, tarfile.TarError, zlib.error) as error:
            why = next((text for text in error.args if isinstance(text, str)), repr(error))
            raise ShardError(f"{url}: cannot be read as a tar: {why}; {AGAIN}") from error


def _coded_pairs(
    samples: Iterable[dict[str, Any]], ask: _Ask
) -> Iterator[tuple[str, bytes, bytes, Info]]:
    """The wanted pairs of each sample: tar and key, LR and HR still coded, info."""
    for sample in samples:
        where = f"{sample['__url__']}: {sample['__key__']}"
        try:
            pairs = pairs_of(where, json.loads(sample["json"]))
        except (ValueError, TypeError, KeyError) as error:
            raise ShardError(f"{where} has no JSON of a training pair; {AGAIN}") from error
        for key, lr_name, info in pairs:
            if ask.wants(info):
                yield key, member(sample, lr_name, key), member(sample, "hr", key), info


def _decoded(pair: tuple[str, bytes, bytes, Info], ask: _Ask, rng: np.random.Generator) -> Sample:
    """The two pictures of a pair, cropped, flipped and turned alike."""
    where, coded_lr, coded_hr, info = pair
    lr, hr = picture(coded_lr, where), picture(coded_hr, where)
    if ask.crop is not None:
        lr, hr = cropped(lr, hr, ask.crop, where, rng)
    if ask.flips:
        square = lr.shape[0] == lr.shape[1] and hr.shape[0] == hr.shape[1]
        turns = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
        step = 1 - 2 * int(rng.integers(2))
        lr, hr = np.rot90(lr[:, ::step], turns), np.rot90(hr[:, ::step], turns)
    return to_tensor(lr)[0], to_tensor(hr)[0], info


def _batches(samples: Iterable[Sample], size: int, drop_last: bool) -> Iterator[Sample]:
    """Batches of one LR size, one HR size and one scale; the incomplete ones come last."""
    waiting: dict[tuple[Any, ...], list[Sample]] = {}
    for sample in samples:
        kind = (sample[0].shape, sample[1].shape, sample[2]["scale"])
        waiting.setdefault(kind, []).append(sample)
        if len(waiting[kind]) == size:
            yield _stacked(waiting.pop(kind))
    if not drop_last:
        yield from map(_stacked, waiting.values())


def _stacked(samples: list[Sample]) -> Sample:
    lrs, hrs, infos = zip(*samples, strict=True)
    return torch.stack(lrs), torch.stack(hrs), list(infos)
