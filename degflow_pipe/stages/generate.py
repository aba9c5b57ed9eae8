"""generate: latents -> levels. Integrates every patch to every level and decodes it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from degflow_pipe import defaults, folders
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.engines.threads import Engine, check_workers, in_order
from degflow_pipe.errors import StoreError
from degflow_pipe.levels import NO_NOISE, Grid
from degflow_pipe.model.devices import one_thread_each
from degflow_pipe.noise.drawing import noisy
from degflow_pipe.noise.model import NoiseModel
from degflow_pipe.pictures.arrays import to_tensor
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.stages.batches import Batches
from degflow_pipe.stages.remove import finish_removal
from degflow_pipe.store import Store
from degflow_pipe.store.store import KIND


@dataclass
class GenerateSummary:
    """What a generate did. pairs: LR pictures made now; known: those that were there.

    noise: what the LR carries, see `levels.Grid`. precision: of the decoder. evaluations: of v for
    a patch, None where nothing was left to make. batch: patches computed at once, the least where a
    GPU's memory did not do for what was asked.
    """

    store: str
    grid: str
    t: list[float]
    noise: str
    precision: str
    evaluations: int | None
    batch: int
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
    once on a GPU. workers: units of work at once, 0 for one a core.

    Raises StoreError where the store is missing, empty, or of another checkpoint, UsageError for
    noise that the checkpoint does not have.
    """
    at_once = check_workers(workers)
    source = Store.open(store)
    maker = LevelMaker(source, model, grid, noise, seed, batch)
    grid = maker.grid
    with folders.one_writer(store, KIND), one_thread_each(model.device):
        finish_removal(source)
        source.mend()
        source.make_grid(grid)
        counts = {unit: len(record.patches) for unit, record in source.records()}
        done = set(source.units_with_levels(grid.name))
        missing = [unit for unit in counts if unit not in done]
        total = sum(counts.values()) * len(grid)
        pairs = sum(counts[unit] for unit in missing) * len(grid)

        def work(unit: int) -> tuple[int, int]:
            return counts[unit] * len(grid), generate_unit(unit, source, maker)

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
        precision=model.precision,
        evaluations=evaluations,
        batch=maker.batches.least,
        patches=sum(counts.values()),
        pairs=pairs,
        known=total - pairs,
    )


def check_store(store: Store, model: DegFlow) -> None:
    """Raises StoreError for a store that is empty or holds latents of another checkpoint."""
    identity = model.info.id
    if store.settings.checkpoint != identity:
        raise StoreError(
            f"{store.path} holds latents of the checkpoint {store.settings.checkpoint}, not of "
            f"{identity}: give that one with --checkpoint, or ingest into another --store"
        )
    if not store.units():
        raise StoreError(f"{store.path} holds no patches: run `degflow-pipe ingest PHOTOS` first")


def made_levels(
    batches: Batches,
    hr: np.ndarray,
    latents: np.ndarray,
    t: list[float],
    noise: NoiseModel | None,
    seed: int,
) -> tuple[np.ndarray, int]:
    """LR of up to `batches.size` patches at T levels, and the evaluations of v for a patch.

    hr: (B, P, P, 3) uint8; latents: (B, C, h, w) float32. The LR are (B, T, P, P, 3) uint8.
    """
    model = batches.model
    evaluations = [0]

    def expected(hr: np.ndarray, latents: np.ndarray) -> Tensor:
        """(B, T, 3, P, P) float32 in [0, 1]."""
        x = to_tensor(hr)
        lr = torch.empty((len(hr), len(t), *x.shape[1:]), device=model.device)
        levels = model.levels(torch.from_numpy(latents), t, model.skips(x))
        evaluations.append(levels.evaluations)
        for i, level in enumerate(levels.pictures):
            lr[:, i] = level
        return lr

    pictures = batches.compute(expected, hr, latents)
    # Drawn when the GPU's turn is another's.
    levels = [noisy(pictures[:, i], hr, t_i, noise, seed) for i, t_i in enumerate(t)]
    return np.stack(levels, axis=1), max(evaluations)


class LevelMaker:
    """Makes the levels of a store's patches; `grid` has the scales and the noise beside the levels.

    Its arguments, and what it raises, are those of `generate`.
    """

    def __init__(
        self,
        store: Store,
        model: DegFlow,
        grid: Grid,
        noise: str = "auto",
        seed: int = 0,
        batch: int = defaults.BATCH,
    ) -> None:
        check_store(store, model)
        self.batches, self.seed = Batches(model, batch), seed
        self.batch = self.batches.size
        self.noise = model.noise_model(noise)
        self.grid = replace(
            grid,
            scales=tuple(model.info.scale_of_t(t) for t in grid.t),
            noise=NO_NOISE if self.noise is None else f"calibrated-{seed}-{self.noise.digest}",
        )

    def levels(self, hr: np.ndarray, latents: np.ndarray) -> np.ndarray:
        """LR of patches at the levels of the grid: see `made_levels`."""
        return self.counted(hr, latents)[0]

    def counted(self, hr: np.ndarray, latents: np.ndarray) -> tuple[np.ndarray, int]:
        """LR of patches at the levels of the grid, and the evaluations: see `made_levels`."""
        return made_levels(self.batches, hr, latents, self.grid.t, self.noise, self.seed)


def generate_unit(unit: int, store: Store, maker: LevelMaker) -> int:
    """Make one unit's levels and write them and, last, the unit's mark.

    Returns the evaluations of v.
    """
    hr, latents, size, evaluations = store.hr(unit), store.latents(unit), maker.batch, 0
    lr = np.empty((len(hr), len(maker.grid), *hr.shape[1:]), np.uint8)
    for i in range(0, len(hr), size):
        made, needed = maker.counted(hr[i : i + size], latents[i : i + size])
        lr[i : i + size], evaluations = made, max(evaluations, needed)
    used = {**maker.batches.used, "precision": maker.batches.model.precision}
    store.write_levels(maker.grid, unit, lr, used)
    return evaluations
