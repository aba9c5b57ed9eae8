"""One rank of three, which torchrun starts for test_ranks.py: reads shards in every way.

usage: ranks.py SHARDS OUT; rank 0 writes to OUT, by way, what each rank got: a list of batches.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from accelerate import Accelerator, DataLoaderConfiguration
from torch.utils.data import DataLoader

from degflow_pipe import UsageError, sr_pairs

LEVELS = (0.1, 1.0)
METHODS = ("fork", "spawn", "forkserver")
HOW = {None: (None, "fork", "spawn"), True: (None, "fork"), False: (None, "fork", "forkserver")}
"""By what Accelerate is told of `dispatch_batches`, how workers start; each way once."""


def names(infos: list[dict[str, Any]]) -> list[int]:
    return [info["x"] * 10 + round(info["t"] * 9) for info in infos]


def ids(batch: list[Any]) -> dict[str, torch.Tensor]:
    """What Accelerate can send: tensors."""
    return {"id": torch.tensor(names([info for *_, info in batch]))}


def plain(shards: str, how: str) -> list[list[int]]:
    """Every pair, by workers that know of no rank but by what they were given."""
    stream = sr_pairs(shards, levels=LEVELS)
    loader = DataLoader(stream, batch_size=None, num_workers=1, multiprocessing_context=how)
    return [names([info]) for *_, info in loader]


def trained(shards: str, even: str) -> list[list[int]]:
    """Two epochs of a network under DDP, which waits for ever for a rank that has fewer batches."""
    net = torch.nn.parallel.DistributedDataParallel(torch.nn.Conv2d(3, 3, 1))
    stream = sr_pairs(shards, batch=4, even=even, levels=LEVELS)
    loader = DataLoader(stream, batch_size=None, num_workers=2, persistent_workers=True)
    seen = []
    for _ in range(2):
        for lr, hr, infos in loader:
            (net(lr) - hr).abs().mean().backward()
            seen.append(names(infos))
    assert len(seen) == 2 * len(loader)
    return seen


def prepared(shards: str, how: str | None, dispatch: bool | None) -> list[list[int]]:
    config = DataLoaderConfiguration(dispatch_batches=dispatch)
    accelerator = Accelerator(cpu=True, dataloader_config=config)
    settings: dict[str, Any] = {"num_workers": 1, "multiprocessing_context": how} if how else {}
    loader = DataLoader(sr_pairs(shards), batch_size=2, collate_fn=ids, **settings)
    return [batch["id"].tolist() for batch in accelerator.prepare(loader)]


def refused(shards: str, dispatch: bool | None) -> str:
    """What is said of batches, which Accelerate cannot share out."""
    config = DataLoaderConfiguration(dispatch_batches=dispatch)
    accelerator = Accelerator(cpu=True, dataloader_config=config)
    loader = DataLoader(sr_pairs(shards, batch=2), batch_size=None)
    try:
        return f"{len(list(accelerator.prepare(loader)))} batches"
    except UsageError as error:
        return str(error)


def main(shards: str, out: str) -> None:
    torch.set_num_threads(1)
    multiprocessing.set_forkserver_preload(["accelerate", "degflow_pipe.reading"])
    Accelerator(cpu=True)  # begins the process group
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        del os.environ[name]
    ways: dict[str, Any] = {f"plain {how}": lambda how=how: plain(shards, how) for how in METHODS}
    ways |= {f"trained {even}": lambda even=even: trained(shards, even) for even in ("pad", "cut")}
    for dispatch in (None, True, False):
        for how in HOW[dispatch]:
            ways[f"prepared {dispatch} {how}"] = lambda how=how, dispatch=dispatch: prepared(
                shards, how, dispatch
            )
    ways["every rank"] = lambda: [names([info]) for *_, info in sr_pairs(shards, ranks="none")]
    for dispatch in (None, False):
        ways[f"refused {dispatch}"] = lambda dispatch=dispatch: refused(shards, dispatch)
    found: dict[str, list[Any]] = {}
    for way, read in ways.items():
        found[way] = [None] * dist.get_world_size()
        dist.all_gather_object(found[way], read())
    if dist.get_rank() == 0:
        Path(out).write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
