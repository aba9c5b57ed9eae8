"""Our job, photos to shards, timed as it ships and without noise, in turns."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from degflow_pipe import files
from degflow_pipe.bench.results import BenchSettings
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.choices import Noise
from degflow_pipe.levels import Grid
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.progress import Progress
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.recipe import IngestSettings, LevelSettings, RunRecipe
from degflow_pipe.stages.run import run

A_PHOTO = 16
"""Patches in each of the photos that the job is fed with."""
A_TAR = 5
"""Patches in each tar: few, so that all who read the tars have as many."""
SHORT = 20.0
"""Seconds of both jobs together below which they are done once more, the other way round."""
MEGABYTE = 1e6


class Timed(NamedTuple):
    """Seconds a patch of our job as asked and without noise; the shards of the former, and the most
    memory in 10^6 bytes that it held beyond what was held before.
    """

    ours: float
    without_noise: float
    shards: Path
    peak_mb: float


class Jobs:
    """Jobs on the same patches, each with a store and shards of its own below `folder`, which is
    empty. patches: (N, P, P, 3) uint8; batch, workers: see `run`.
    """

    def __init__(
        self,
        patches: np.ndarray,
        folder: Path,
        model: DegFlow,
        grid: Grid,
        asked: BenchSettings,
        *,
        batch: int,
        workers: int,
        progress: Progress,
    ) -> None:
        self._patches, self._folder, self._model = patches, folder, model
        self._grid, self._asked, self._progress = grid, asked, progress
        self._batch, self._workers = batch, workers

    def timed(self) -> Timed:
        """Both, one after the other; where they are short, once more the other way round.

        A small job goes first that is not timed, so that neither has what the other loaded. Where
        no noise is drawn, both are one.
        """
        noise = self._asked.noise
        few = 1 if self._model.device.type == "cpu" else self._batch
        self._photos("few", self._patches[:few])
        self._photos("photos", self._patches)
        self._seconds("few", "warm", noise)
        before = _held_mb(self._model)
        ours = [self._seconds("photos", "ours", noise)]
        peak = _peak_mb(self._model) - before
        without = ours
        if self._model.noise_model(noise) is not None:
            without = [self._seconds("photos", "without", "none")]
            if ours[0] + without[0] < SHORT:
                without.append(self._seconds("photos", "without-again", "none"))
                ours.append(self._seconds("photos", "ours-again", noise))
        mean, mean_without = (sum(s) / len(s) / len(self._patches) for s in (ours, without))
        return Timed(mean, mean_without, self._folder / "ours" / "shards", peak)

    def _photos(self, name: str, patches: np.ndarray) -> None:
        """Writes the patches as photos of A_PHOTO patches each."""
        encoding = parse_format("png")
        for i in range(0, len(patches), A_PHOTO):
            strip = np.concatenate(list(patches[i : i + A_PHOTO]))
            files.write_bytes(self._folder / name / f"{i:08d}.png", encoding.encode(strip))

    def _seconds(self, photos: str, name: str, noise: Noise) -> float:
        asked = self._asked
        levels = ",".join(str(v.exact) for v in self._grid.levels)
        size = A_TAR * len(self._grid)
        recipe = RunRecipe(
            photos=[str(self._folder / photos)],
            store=str(self._folder / name / "degflow.zarr"),
            out=str(self._folder / name / "shards"),
            ingest=IngestSettings(patch=asked.patch, min_detail=0.0),
            generate=LevelSettings(levels, noise),
            shard=ShardSettings(picture_format=asked.picture_format, shard_size=size),
            keep=asked.keep,
            engine=asked.engine,
        )
        began = time.perf_counter()
        run(
            *(recipe, self._model),
            batch=self._batch,
            workers=self._workers,
            progress=self._progress,
        )
        return time.perf_counter() - began


def _held_mb(model: DegFlow) -> float:
    """What a GPU holds now, its peak being counted anew; else what this process ever held."""
    if model.device.type != "cuda":
        return _peak_mb(model)
    torch.cuda.reset_peak_memory_stats(model.device)
    return torch.cuda.memory_allocated(model.device) / MEGABYTE


def _peak_mb(model: DegFlow) -> float:
    """Most memory that this process, or its GPU, has held so far."""
    if model.device.type == "cuda":
        return torch.cuda.max_memory_allocated(model.device) / MEGABYTE
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MEGABYTE
