"""Pairs streamed tar by tar."""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import webdataset as wds
from torch.utils.data import IterableDataset

from degflow_pipe import files
from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.places import place_of
from degflow_pipe.reading.ask import Ask
from degflow_pipe.reading.coded import Faults, batches, decoded, shuffled
from degflow_pipe.reading.index import split_folder, whole_shards
from degflow_pipe.reading.parts import (
    Part,
    Ranks,
    Settled,
    checked_ranks,
    part_of,
    ranks_of,
    refuse_batches_above,
    settle,
)
from degflow_pipe.reading.plan import evened, span_of
from degflow_pipe.reading.samples import Cut, Sample
from degflow_pipe.reading.sources import Folder, Source, Urls, orders
from degflow_pipe.shards.summary import AGAIN

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
    split: str = "train",
    ranks: Ranks = "auto",
    even: str | None = None,
    on_error: str = "raise",
) -> PairStream:
    """Stream `(LR, HR, info)` for training; hand it to `DataLoader(..., batch_size=None)`.

    LR (3, h, w) and HR (3, H, W) are float32 RGB in [0, 1], info is the pair's JSON as a dict; with
    `batch`, LR is (n, 3, h, w), HR (n, 3, H, W) and info a list of n. A second iteration is the
    next epoch, with other crops in another order, through a DataLoader too. Every pair comes once
    an epoch. `iter(...)` has state_dict and load_state_dict, which torchdata's StatefulDataLoader
    uses: a training that is stopped within an epoch goes on with the next pair, wherever a copy of
    the shards lies.

    shards: a folder of finished shards, here or at a URL, or a tar URL, a brace pattern or a list
        of URLs as webdataset takes them; other URLs are opened by fsspec.
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
    shuffle: how many coded pairs wait to be drawn at random, fewer where they would take more than
        1 GiB; 0 keeps the order of the tars.
    seed: with the epoch, the rank and the worker it settles every random choice.
    split: `train`, or `validate` for the photos that `shard` set apart, of a folder that has some.
    ranks: `auto` shares the pairs out over the ranks of torch.distributed, or of RANK and
        WORLD_SIZE, but not where Accelerate's `prepare` does so itself. `none`: every rank reads
        all pairs, for validation. (rank, ranks): the share of that rank.
    even: as many batches (pairs, without `batch`) on every rank, as DDP needs: `cut` leaves out up
        to ranks - 1 batches, in each epoch others, `pad` repeats as many; for a folder of shards.
    on_error: `raise` ends the epoch with the first damaged sample; `skip` leaves damaged pairs out,
        warns of the first and counts them in `PairStream.skipped`. Batches get smaller by them;
        with `even`, a batch that is lost altogether is made up for by repeating the one before.

    Workers of a DataLoader share out what their rank reads. Of a folder all get as many pairs; of
    URLs they get whole tars, or where these are fewer than who reads, each reads a tar to its end
    and takes its part of the samples. len() counts batches (pairs, without `batch`) of this rank,
    whatever its workers; TypeError where that is not known, for URLs and with `balance`. (Batches
    that a DataLoader makes of pairs are more with several workers, as each leaves a small one.)

    Raises UsageError for a wrong argument or where no pair of the folder is wanted, ShardError
    for a folder that is missing, unfinished, damaged or too new. While reading: UsageError for a
    crop that does not fit a pair, ShardError for a damaged tar or picture.
    """
    chosen = None if levels is None else tuple(levels)
    cut = Cut(crop, lr_crop, queries, flips)
    folder = isinstance(shards, Path) or (isinstance(shards, str) and _is_folder(shards))
    if folder:
        shards = split_folder(place_of(cast("str | Path", shards)), split)
    elif split != "train":
        raise UsageError(f"split={split!r} is of a folder: give the URLs of those tars")
    ranks = checked_ranks(ranks)
    ask = Ask(
        *(cut, batch, drop_last, chosen, t, scales, balance, shuffle, seed, ranks, even, on_error)
    )
    if isinstance(shards, Path):
        return PairStream(Folder(whole_shards(shards), ask), ask)
    for label, value in (("balance", balance), ("even", even)):
        if value:
            raise UsageError(
                f"{label} counts pairs by the index: it needs a folder of finished shards"
            )
    urls = wds.shardlists.expand_source(shards if isinstance(shards, str) else list(shards))
    if not urls:
        raise UsageError(f"shards must name one tar at least, got {shards!r}")
    return PairStream(Urls(urls, ask), ask)


class PairStream(IterableDataset[Sample]):
    """What `sr_pairs` returns: iterate over it, or have the workers of a DataLoader do so."""

    def __init__(self, source: Source, ask: Ask) -> None:
        self._source, self._ask = source, ask
        self._settled: Settled | None = None
        # Workers may live for one epoch only, so the counts are kept where all of them see them.
        # Each counts in a slot of its own: no lock is needed.
        self._epochs, self._skipped, self._told = (
            torch.zeros(slots, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call, unused-ignore]
            for slots in (MAX_WORKERS, MAX_WORKERS, 1)
        )

    def __getstate__(self) -> dict[str, Any]:
        """What a worker needs, with the rank, which only the process that starts it may know."""
        return self.__dict__ | {"_settled": settle(self._ask.ranks)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._settled and self._settled.pid == os.getpid():
            self._settled = None  # a copy, which will know as much as the original

    def __len__(self) -> int:
        """Batches of this rank in an epoch, or pairs where no batch was asked for."""
        count = self._source.batches()
        if count is None:
            raise TypeError("the length is known for a folder of finished shards without balance")
        rank, ranks = ranks_of(self._ask.ranks)
        first, end = span_of(evened(count, self._ask, ranks), Part(rank, ranks, 0, 1))
        return end - first

    @property
    def skipped(self) -> int:
        """Pairs that this rank and its workers left out as damaged, in all epochs up to now.

        A sample counts as one where what is damaged is the JSON that tells its pairs.
        """
        return int(self._skipped.sum())

    def set_epoch(self, epoch: int) -> None:
        """Make the next iteration this epoch, counted from 0; for a training that goes on."""
        if epoch < 0:
            raise UsageError(f"`epoch` must be 0 or more, got {epoch}")
        refuse_batches_above()  # which calls this first, on all ranks
        self._epochs.fill_(epoch)

    def __iter__(self) -> PairIterator:
        part = part_of(self._ask.ranks, self._settled)
        epoch = int(self._epochs[part.worker])
        self._epochs[part.worker] += 1
        self._warn_of_uneven(part)
        return PairIterator(self, part, epoch)

    def _warn_of_uneven(self, part: Part) -> None:
        """Once, on one rank."""
        count = self._source.batches()
        even = self._ask.even or (count is not None and count % part.ranks == 0)
        if part.ranks > 1 and (part.rank, part.worker) == (0, 0) and not (even or self._told):
            self._told.fill_(1)
            warnings.warn(
                f"the {part.ranks} ranks may read unequal numbers of "
                f"{'batches' if self._ask.batch else 'pairs'}, and DDP waits for ever for the one "
                f"with fewer: read a folder of shards with even='cut' or even='pad', or stop all "
                f"ranks after equal numbers of steps",
                stacklevel=3,
            )

    def goes_on(self, part: Part, epoch: int) -> None:
        """Make the next iteration of a worker the epoch after this one."""
        self._epochs[part.worker] = epoch + 1

    def read(self, part: Part, epoch: int, start: Place) -> Iterator[tuple[Place, Sample]]:
        """What a worker yields in an epoch after a place; what was before is not decoded."""
        ask, place, kept = self._ask, start, None
        faults = Faults(ask.on_error == "skip", self._skipped[part.worker : part.worker + 1])
        coded, due = self._source.coded(epoch, part, faults)
        if ask.shuffle:
            coded = shuffled(coded, ask.shuffle, orders(ask, epoch, part)[1])
        number = 0
        for number, batch in enumerate(batches(coded, ask), start=1):
            if number < start.taken:
                continue
            if number == start.taken:
                _require_same(batch[-1].key == start.last)
                kept = batch
            elif (sample := decoded(batch, ask, epoch, faults)) is not None:
                kept, place = batch, Place(number, place.yielded + 1, batch[-1].key)
                yield place, sample
        _require_same(number >= start.taken)
        if due is not None and number != due and not faults.skip:
            raise ShardError(f"{number} batches in the tars, the index has {due}; {AGAIN}")
        # Other ranks wait for as many as the index has.
        while due is not None and ask.even and place.yielded < due:
            again = None if kept is None else decoded(kept, ask, epoch, Faults(True))
            if again is None:
                raise ShardError(f"all of the {due} batches of this worker are damaged; {AGAIN}")
            place = place._replace(yielded=place.yielded + 1)
            yield place, again

    @property
    def identity(self) -> str:
        """Changes whenever the same epoch would yield something else."""
        # A training that a damaged sample has ended may go on without it.
        ask = replace(self._ask, on_error="raise")
        return hashlib.sha256(repr((self._source.identity, ask)).encode()).hexdigest()[:16]


class Place(NamedTuple):
    """How far a worker is in an epoch.

    taken: batches from the tars up to the last that was given; yielded: batches that were given,
    fewer where some were damaged; last: key of the last pair of them.
    """

    taken: int = 0
    yielded: int = 0
    last: str = ""


def _require_same(same: bool) -> None:
    if not same:
        raise UsageError(
            "this state is of other shards, or of sr_pairs with other arguments: go on with the "
            "same ones, or begin the epoch again"
        )


class PairIterator(Iterator[Sample]):
    """One worker's epoch, which can be left and gone on with."""

    def __init__(self, stream: PairStream, part: Part, epoch: int) -> None:
        self._stream, self._part, self._epoch = stream, part, epoch
        self._place = Place()
        self._samples = stream.read(part, epoch, self._place)

    def __next__(self) -> Sample:
        self._place, sample = next(self._samples)
        return sample

    def state_dict(self) -> dict[str, Any]:
        """Where it is; plain numbers and strings."""
        return {
            "stream": self._stream.identity,
            "part": list(self._part),
            "epoch": self._epoch,
            "place": list(self._place),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state: what was yielded before is read over, not decoded.

        Raises UsageError for a state of other shards or arguments, or of another number of ranks
        or workers. Shards are told apart by the names of the tars and by the index, or where there
        is none, once they are read, by the last pair.
        """
        _require_same(state.get("stream") == self._stream.identity)
        if state["part"] != list(self._part):
            rank, ranks, worker, workers = state["part"]
            raise UsageError(
                f"this state is of worker {worker} of {workers}, rank {rank} of {ranks}: go on "
                f"with as many, or begin the epoch again"
            )
        self._epoch, self._place = state["epoch"], Place(*state["place"])
        self._samples = self._stream.read(self._part, self._epoch, self._place)
        self._stream.goes_on(self._part, self._epoch)


def _is_folder(shards: str) -> bool:
    """Whether a folder is meant, there or not, rather than a tar, a pattern or a URL of tars."""
    if re.match(r"[\w+.-]{2,}://", shards):
        return not re.search(r"\.(tar|tgz)|::|[{}]", shards)
    return files.is_folder(Path(shards)) or not re.search(r"\.(tar|tgz)|:", shards)
