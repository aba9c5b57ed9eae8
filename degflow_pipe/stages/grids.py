"""Grids of a store: taken out, and joined where they are alike but for their levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import folders
from degflow_pipe.errors import StoreError, UsageError
from degflow_pipe.levels import Grid, Level, grid_of
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.store import BLOCKS, Store
from degflow_pipe.store.store import KIND


@dataclass(frozen=True)
class GridSummary:
    """A grid that was deleted or made; patches: that had, or have, all its levels."""

    store: str
    grid: str
    title: str
    levels: list[str]
    patches: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def delete_grid(name: str, store: Path) -> GridSummary:
    """Take a grid and its levels out of a store. name: the grid's, or what it is called.

    Raises StoreError where there is none.
    """
    Store.open(store)
    with folders.one_writer(store, KIND):
        target = Store.open(store)
        if name in target.grids() or not target.has_left(name):
            summary = _deleted(target, name)
        else:  # what a stop has left
            summary = GridSummary(str(store), name, "", [], 0)
        target.drop_grid(summary.grid)
    return summary


def _deleted(store: Store, name: str) -> GridSummary:
    """What goes; one whose description is damaged can go too."""
    try:
        return _summary(store, store.find_grid(name))
    except StoreError:
        if name not in store.grids():
            raise
        return GridSummary(str(store.path), name, "", [], 0)


def merge_grids(
    names: Sequence[str], store: Path, *, title: str = "", progress: Progress | None = None
) -> GridSummary:
    """One grid with the levels of several, for those patches that have all; they stay beside it.

    title: what it is called. What is there already is left as it is. Raises StoreError where a
    grid is missing, UsageError where they differ in more than their levels.
    """
    Store.open(store)
    with folders.one_writer(store, KIND):
        target = Store.open(store)
        grids = [target.find_grid(name) for name in dict.fromkeys(names)]
        merged = _merged(grids, title)
        with target.writing():
            merged = target.make_grid(merged)
            layers = [target.levels(grid) for grid in grids]
            layer = target.levels(merged)
            blocks = list(target.blocks())
            with (progress or Silent()).task("merge", len(blocks), counts="blocks") as task:
                for block, unit in blocks:
                    ready = all(one.has(block, unit) for one in layers)
                    if ready and not layer.has(block, unit):
                        parts = [one.read(block, unit) for one in layers]
                        order = _places(grids, merged)
                        lr = np.stack([parts[i][:, k] for i, k in order], axis=1)
                        rows = [one.told(block) for one in layers] if merged.told else []
                        told = (
                            [[rows[i][patch][k] for i, k in order] for patch in range(len(lr))]
                            if merged.told
                            else ()
                        )
                        computed = layers[0].made[block].computed
                        layer.note(block, layer.write(block, lr, unit, computed), told)
                    task.advance()
        return _summary(target, merged)


def _merged(grids: Sequence[Grid], title: str) -> Grid:
    if len(grids) < 2:
        raise UsageError("name two grids to merge, or more")
    first = grids[0]
    for grid in grids[1:]:
        bare = replace(grid, levels=first.levels, scales=first.scales)
        if bare != first:
            raise UsageError(
                f"the grids {first.name} and {grid.name} differ in more than their levels "
                f"({', '.join(_differences(first, bare))}): pack each by its name with `shard`"
            )
    levels = grid_of(level for grid in grids for level in grid.levels).levels
    scale_of = {
        level: scale
        for grid in grids
        for level, scale in zip(grid.levels, grid.scales, strict=True)
    }
    return replace(
        first, levels=levels, scales=tuple(scale_of[level] for level in levels), title=title
    )


def _differences(one: Grid, other: Grid) -> list[str]:
    fields = ("checkpoint", "noise", "precision", "sr_scale")
    found = [name for name in fields if getattr(one, name) != getattr(other, name)]
    return found or ["what their pixels depend on"]


def _places(grids: Sequence[Grid], merged: Grid) -> list[tuple[int, int]]:
    """For each level of the merged grid, which grid has it, and where."""
    found: dict[Level, tuple[int, int]] = {}
    for i, grid in enumerate(grids):
        for k, level in enumerate(grid.levels):
            found.setdefault(level, (i, k))
    return [found[level] for level in merged.levels]


def _summary(store: Store, grid: Grid) -> GridSummary:
    levels = store.levels(grid)
    made = (unit.in_block(n % BLOCKS) for n, unit in store.blocks() if levels.has(n, unit))
    labels = [level.label for level in grid.levels]
    return GridSummary(str(store.path), grid.name, grid.title, labels, sum(made))
