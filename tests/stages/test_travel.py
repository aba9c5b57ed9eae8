"""Units of every kind of work, sent as pickles to a process that knows nothing else."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from degflow_pipe.cameras.making import Making
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.levels import parse_scales
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.meant import encoders_of
from degflow_pipe.stages.shard import shard
from degflow_pipe.store import Store

PATCH = 64
SMALL = 64 * 1024
"""Bytes of a pickle."""
WORKER = """
import pickle, sys
given, told = sys.stdin.buffer, sys.stdout.buffer
while (job := pickle.load(given)) is not None:
    with job.open() as work:
        while (unit := pickle.load(given)) is not None:
            pickle.dump(work(unit), told)
            told.flush()
"""


class Far:
    """An engine of processes that are started in an empty folder and given pickles, one a job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._idle: list[subprocess.Popen[bytes]] = []
        self.sizes: dict[str, list[int]] = {}
        """Bytes of the pickles of each kind of job, and of its units."""

    def __call__(
        self,
        job: Any,
        units: Iterable[Any],
        workers: int,
        cost: Callable[[Any], int] | None = None,
        hear: Callable[[int], None] | None = None,
    ) -> Iterator[Any]:
        process = self._idle.pop() if self._idle else self._start()
        sizes = self.sizes.setdefault(type(job).__name__, [])
        sizes.append(self._send(process, job))
        for unit in units:
            sizes.append(self._send(process, unit))
            yield pickle.load(process.stdout)
        self._send(process, None)
        self._idle.append(process)

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _send(self, process: subprocess.Popen[bytes], value: Any) -> int:
        data = pickle.dumps(value)
        process.stdin.write(data)
        process.stdin.flush()
        return len(data)

    def end(self) -> None:
        for process in self._idle:
            self._send(process, None)
            process.communicate()


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Far]:
    (tmp_path / "empty").mkdir()
    found = Far(tmp_path / "empty")
    yield found
    found.end()


def test_work_that_travels_leaves_the_same_bytes(
    far: Far,
    tmp_path: Path,
    tiny_model: DegFlow,
    other_checkpoint: DegFlow,
    photo_folder: Path,
    tree: Callable[[Path], dict[str, bytes]],
) -> None:
    """Each kind of it: measured, cropped, encoded, made levels of, and packed, with the levels of
    the store and with those that are made for it.
    """
    photos, settings = [str(photo_folder)], ShardSettings(shard_size=20)
    levels = parse_scales("2,4", 4.0)
    trees = []
    for name, engine in (("here", run_in_threads), ("far", far)):
        at, options = tmp_path / name, {"workers": 2, "engine": engine}
        store = at / "store"
        for model in (tiny_model, other_checkpoint):
            ingest(photos, store, model, patch=PATCH, **options)
        generate(store, tiny_model, levels, seed=3, **options)
        shard(store, at / "stored", settings, **options)
        maker = Making.of(other_checkpoint, levels, "auto", 3)
        encoders = encoders_of(Store.open(store), other_checkpoint, maker.grid)
        shard(store, at / "made", settings, maker=maker, encoders=encoders, **options)
        trees.append(tree(at))
    assert trees[0] == trees[1]
    assert any(name.endswith(".tar") for name in trees[0])
    assert set(far.sizes) == {"MeasureJob", "CropJob", "EncodeJob", "LevelJob", "TarJob"}
    assert all(len(sizes) >= 2 for sizes in far.sizes.values())
    assert max(max(sizes) for sizes in far.sizes.values()) < SMALL
