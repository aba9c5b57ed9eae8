"""How fast a trainer reads: shards by `sr_pairs`, and the same pictures as a folder of files."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
import webdataset as wds
from torch.utils.data import DataLoader, Dataset

from degflow_pipe import files
from degflow_pipe.bench.results import Reading
from degflow_pipe.reading.index import whole_shards
from degflow_pipe.reading.stream import sr_pairs

BATCH = 16
EPOCHS = 5
"""Of each way."""


class FolderPairs(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Pairs as a trainer reads them from files: decoded whole, then cropped, flipped and turned.

    pairs: files of (LR, HR); crop: side in pixels. An item is (LR, HR), (3, crop, crop) float32 in
    [0, 1], cut at one random place and turned alike.
    """

    def __init__(self, pairs: list[tuple[Path, Path]], crop: int) -> None:
        self._pairs, self._crop = pairs, crop

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        y, x, flip, turns = torch.randint(1 << 30, (4,)).tolist()
        found = []
        for path in self._pairs[i]:
            read = cv2.imread(str(path))
            assert read is not None  # written from the tars just now
            picture = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
            top, left = (
                place % (side - self._crop + 1)
                for place, side in zip((y, x), picture.shape, strict=False)
            )
            picture = picture[top : top + self._crop, left : left + self._crop]
            picture = np.rot90(picture[:, :: 1 - 2 * (flip % 2)], turns % 4).copy()
            found.append(torch.from_numpy(picture).permute(2, 0, 1).float().div(255))
        return found[0], found[1]


def reading_speed(shards: Path, folder: Path, crop: int, workers: int) -> Reading:
    """Medians of EPOCHS shuffled epochs of each, in turns, in batches of BATCH; files lie in the
    page cache.

    shards: finished ones of layout `pairs`; folder: an empty one for the same pictures as files;
    crop: side of the crops in pixels; workers: processes that read.
    """
    pairs = unpacked(shards, folder)
    stream = sr_pairs(shards, crop=crop, batch=BATCH)
    plain = FolderPairs(pairs, crop)
    # Workers live on, so that starting them counts in the first epoch only.
    how: dict[str, Any] = {"num_workers": workers, "persistent_workers": True}
    loaders: dict[str, DataLoader[Any]] = {
        "shards": DataLoader(stream, batch_size=None, **how),
        "folder": DataLoader(plain, batch_size=BATCH, shuffle=True, **how),
    }
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    for epoch in range(EPOCHS):
        for name in list(loaders)[:: 1 - 2 * (epoch % 2)]:
            began, count = time.perf_counter(), sum(len(batch[0]) for batch in loaders[name])
            assert count == len(pairs), "both ways read every pair once"
            rates[name].append(count / (time.perf_counter() - began))
    return Reading(len(pairs), **{name: median(found) for name, found in rates.items()})


def unpacked(shards: Path, folder: Path) -> list[tuple[Path, Path]]:
    """The (LR, HR) files of all pairs, bytes as they are in the tars."""
    found = whole_shards(shards)
    tars = [str(found.folder / name) for name in found.tars]
    pairs: list[tuple[Path, Path]] = []
    for sample in wds.WebDataset(tars, shardshuffle=False, empty_check=False):
        names = {name[:2]: name for name in sample if name.startswith(("hr.", "lr."))}
        paths = {side: folder / f"{len(pairs):08d}.{name}" for side, name in names.items()}
        for side, path in paths.items():
            files.write_bytes(path, sample[names[side]])
        pairs.append((paths["lr"], paths["hr"]))
    return pairs
