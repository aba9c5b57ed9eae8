"""Who reads: the ranks of a training, the workers of each, and who else may share out."""

from __future__ import annotations

import multiprocessing
import os
import sys
from typing import Any, NamedTuple

import torch
from webdataset.utils import pytorch_worker_info

from degflow_pipe.errors import UsageError

Ranks = str | tuple[int, int]
"""`auto`, `none`, or a rank and the number of ranks: see `sr_pairs`."""


class Part(NamedTuple):
    """Which worker of which rank reads."""

    rank: int
    ranks: int
    worker: int
    workers: int


class Settled(NamedTuple):
    """The rank that a process had when it handed a stream to another one."""

    pid: int
    rank: int
    ranks: int


def checked_ranks(asked: Ranks) -> Ranks:
    """Raises UsageError for what is no `ranks` of `sr_pairs`."""
    if asked in ("auto", "none"):
        return asked
    try:
        rank, ranks = (int(number) for number in asked)
    except (TypeError, ValueError):
        rank, ranks = 0, 0
    if isinstance(asked, str) or not 0 <= rank < ranks:
        raise UsageError(
            f"ranks must be 'auto', 'none' or (rank, ranks) with 0 <= rank < ranks, got {asked!r}"
        )
    return rank, ranks


def settle(ranks: Ranks) -> Settled:
    """What this process knows; a worker that it starts may know less."""
    return Settled(os.getpid(), *ranks_of(ranks))


def part_of(ranks: Ranks, settled: Settled | None) -> Part:
    """Who reads in this process. settled: what came along with the stream, if anything did."""
    *_, worker, workers = pytorch_worker_info()
    # A worker that was not forked does not know torch.distributed's rank; who started it did. What
    # came from another process, such as the one that started all ranks, is out of date.
    parent = multiprocessing.parent_process()
    started = torch.utils.data.get_worker_info() is not None and parent is not None
    if started and settled and parent and settled.pid == parent.pid and not shared_out_above():
        return Part(settled.rank, settled.ranks, worker, workers)
    return Part(*ranks_of(ranks), worker, workers)


def ranks_of(asked: Ranks) -> tuple[int, int]:
    """The rank of this process and how many ranks share the pairs."""
    if not isinstance(asked, str):
        return asked
    if asked == "none" or shared_out_above():
        return 0, 1
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    rank, ranks = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    if rank is None or ranks is None:
        return 0, 1
    if not (rank.isdecimal() and ranks.isdecimal() and int(rank) < int(ranks)):
        raise UsageError(f"RANK={rank} and WORLD_SIZE={ranks} in the environment are no rank")
    return int(rank), int(ranks)


def shared_out_above() -> bool:
    """Whether Accelerate's `prepare` shares out what is read here, so that ranks must not."""
    return _sharer() is not None


def refuse_batches_above() -> None:
    """Raises UsageError where Accelerate is to share out whole batches, on which it would fail."""
    convert = torch.utils.data.default_convert
    sharer = _sharer()
    if sharer is None or sharer.batch_size is not None:
        return
    if getattr(sharer, "collate_fn", convert) is convert:
        raise UsageError(
            "accelerator.prepare cannot share out a DataLoader with batch_size=None: leave this "
            "one out of it, as sr_pairs shares the pairs out over the ranks itself"
        )


def _sharer() -> Any:
    """What of Accelerate's shares out what is read here.

    It is of one of two classes, and then among the callers: one gives each rank its part of what
    all of them read, the other reads on one rank and sends. Both want every pair. There is no other
    sign of the second one, which hands a loader's workers the stream as it is. (Accelerate 1.15,
    data_loader.py.)
    """
    module = sys.modules.get("accelerate.data_loader")
    frame = sys._getframe()
    while module is not None and frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals is module.__dict__:
            caller = frame.f_locals.get("self")
            if isinstance(caller, module.IterableDatasetShard | module.DataLoaderDispatcher):
                return caller
    return None
