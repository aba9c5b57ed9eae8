"""generate: latents -> levels. Integrates every patch to every level and decodes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from degflow_pipe import defaults, files
from degflow_pipe.degflow import DegFlow, noisy
from degflow_pipe.engine import Engine, in_order
from degflow_pipe.errors import StoreError
from degflow_pipe.levels import NO_NOISE, Grid
from degflow_pipe.model.noise import NoiseModel
from degflow_pipe.pictures import to_tensor
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.stages.common import check_batch, checkpoint_id, compute_workers, one_thread_each
from degflow_pipe.store import Store


@dataclass
class GenerateSummary:
    """What a generate did. pairs: LR pictures made now; known: those that were there.

    noise: what the LR carries, see `levels.Grid`. evaluations: of v for a patch, None where nothing
    was left to make.
    """

    store: str
    grid: str
    t: list[float]
    noise: str
    evaluations: int | None
    patches: int = 0
    pairs: int = 0
    known: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def generate(
    store: Path,
    model: DegFlow,
    grid: Grid,
    *,
    noise: str = "auto",
    seed: int = 0,
    batch: int = defaults.BATCH,
    workers: int = 0,
    progress: Progress | None = None,
    engine: Engine = in_order,
) -> GenerateSummary:
    """Make the LR of every patch in the store at every level of the grid.

    Units that are complete are left as they are; the others are made. noise, seed: see
    `DegFlow.degrade`; LR with other noise is another grid. batch: patches computed at
    once on a GPU. workers: units computed at once on the CPU, 0 for one a core.

    Raises StoreError where the store is missing, empty, or of another checkpoint, UsageError for
    noise that the checkpoint does not have.
    """
    check_batch(batch)
    at_once = compute_workers(model, workers)
    source = Store.open(store)
    noise_model = model.noise_model(noise)
    grid = _with_scales_and_noise(grid, model, noise_model, seed)
    identity = checkpoint_id(model)
    if source.settings.checkpoint != identity:
        raise StoreError(
            f"{store} holds latents of the checkpoint {source.settings.checkpoint}, not of "
            f"{identity}: give that one with --checkpoint, or ingest into another --store"
        )
    if not source.units():
        raise StoreError(f"{store} holds no patches: run `degflow-pipe ingest PHOTOS` first")
    with files.one_writer(store), one_thread_each(model):
        source.make_grid(grid)
        counts = {unit: len(record.patches) for unit, record in source.records()}
        done = set(source.units_with_levels(grid.name))
        missing = [unit for unit in counts if unit not in done]
        total = sum(counts.values()) * len(grid)
        pairs = sum(counts[unit] for unit in missing) * len(grid)

        def work(unit: int) -> tuple[int, int]:
            evaluations = generate_unit(unit, source, model, grid, batch, noise_model, seed)
            return counts[unit] * len(grid), evaluations

        evaluations: int | None = None
        with (progress or Silent()).task("generate", total, done=total - pairs) as task:
            for made, needed in engine(work, missing, at_once):
                evaluations = needed
                task.advance(made)
    return GenerateSummary(
        store=str(store),
        grid=grid.name,
        t=grid.t,
        noise=grid.noise,
        evaluations=evaluations,
        patches=sum(counts.values()),
        pairs=pairs,
        known=total - pairs,
    )


def _with_scales_and_noise(grid: Grid, model: DegFlow, noise: NoiseModel | None, seed: int) -> Grid:
    assert model.info is not None
    scales = tuple(model.info.scale_of_t(t) for t in grid.t)
    tag = NO_NOISE if noise is None else f"calibrated-{seed}-{noise.digest}"
    return replace(grid, scales=scales, noise=tag)


def generate_unit(
    unit: int,
    store: Store,
    model: DegFlow,
    grid: Grid,
    batch: int,
    noise: NoiseModel | None = None,
    seed: int = 0,
) -> int:
    """Make one unit's levels and write them and, last, the unit's mark.

    On the CPU the patches go one by one, so that memory stays small: see `DegFlow` for why this
    gives the same bytes as any batch. Returns the evaluations of v.
    """
    hr, latents = store.hr(unit), store.latents(unit)
    lr = np.empty((len(hr), len(grid), *hr.shape[1:]), np.uint8)
    size = 1 if model.device.type == "cpu" else batch
    for i in range(0, len(hr), size):
        _, skips = model.encode(to_tensor(hr[i : i + size]))
        z = torch.from_numpy(latents[i : i + size])
        trajectory = model.trajectory(z, grid.t, skips)
        for level, expected in enumerate(model.decode_levels(trajectory, skips)):
            lr[i : i + size, level] = noisy(expected, hr[i : i + size], grid.t[level], noise, seed)
    store.write_levels(grid, unit, lr)
    return model.evaluations
