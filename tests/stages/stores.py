"""What tests of stages read from stores, and engines that stop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.levels import Grid
from degflow_pipe.store import Store


def grid_in(store: Path, levels: Grid) -> Grid:
    """The one grid of a store that has these levels."""
    source = Store.open(store)
    (found,) = (grid for grid in map(source.grid, source.grids()) if grid.t == levels.t)
    return found


def levels_of(store: Path, levels: Grid) -> np.ndarray:
    """LR of all patches at these levels, (N, T, P, P, 3)."""
    source = Store.open(store)
    layer = source.levels(grid_in(store, levels))
    return np.concatenate([layer.read(block, unit) for block, unit in source.blocks()])


class PowerCut(RuntimeError):
    """What `stopping` raises."""


def stopping(kind: type, units: int) -> Callable[..., Iterator[Any]]:
    """An engine that stops when so many units of jobs of that kind are done and noted."""

    def run(
        job: Any, works: Any, workers: int, cost: Any = None, hear: Any = None
    ) -> Iterator[Any]:
        for number, record in enumerate(run_in_threads(job, works, workers, cost)):
            if isinstance(job, kind) and number == units:
                raise PowerCut
            yield record

    return run
