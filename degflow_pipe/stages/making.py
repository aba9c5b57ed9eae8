"""How the LR of a grid are made, as data: a checkpoint, levels, noise and its seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from degflow_pipe import defaults, files, shipped
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import find_checkpoint, read_info
from degflow_pipe.checkpoint.identity import encoder_id, grid_of_checkpoint, noise_id
from degflow_pipe.checkpoint.site import Site
from degflow_pipe.errors import StoreError
from degflow_pipe.levels import NO_NOISE, Grid
from degflow_pipe.model.devices import one_thread_each
from degflow_pipe.stages.batches import LR, Batches, lr_of
from degflow_pipe.store import Encoder, Store
from degflow_pipe.store.description import DESCRIPTION

Make = Callable[[np.ndarray, np.ndarray | None], LR]
"""HR (n, P, P, 3) uint8, and latents (n, C, h, w) float32 where the store has them, to LR."""


@dataclass(frozen=True)
class Making:
    """grid: what is made, see `checkpoint.identity`. seed: of the noise. size: patches at once."""

    site: Site
    grid: Grid
    seed: int
    size: int

    @classmethod
    def of(
        cls,
        model: DegFlow,
        grid: Grid,
        noise: str = "auto",
        seed: int = 0,
        batch: int = defaults.BATCH,
    ) -> Making:
        """noise, seed: see `DegFlow.degrade`. Raises UsageError for noise that it does not have."""
        carried = noise_id(model.noise_model(noise), seed)
        made = grid_of_checkpoint(grid, model.info, model.precision, carried)
        return cls(Site.of(model), made, seed, Batches.of(model, batch).size)

    @contextmanager
    def open(self) -> Iterator[Callable[[np.ndarray, np.ndarray | None], np.ndarray]]:
        """As `opened`, for who wants the pictures alone."""
        with self.opened() as make:
            yield lambda hr, latents: make(hr, latents).values

    @contextmanager
    def opened(self) -> Iterator[Make]:
        """Load the checkpoint, and torch's settings; within, the function makes LR of HR."""
        model = self.site.load()
        noise = None if self.grid.noise == NO_NOISE else model.noise_model("calibrated")
        batches = Batches(model, self.size)
        with one_thread_each(model.device):
            yield lambda hr, latents: lr_of(batches, hr, latents, self.grid.t, noise, self.seed)


def encoder_of(store: Store, model: DegFlow) -> Encoder | None:
    """The model's encoder, where the store may have latents of it; else None."""
    name = encoder_id(model.info)
    return store.encoder(name) if name in store.encoders() else None


def levels_of(store: Path) -> str | None:
    """The levels that are meant where none are asked for: the store's, as `t_grid`; None for a
    store that has none. Raises StoreError where it has several.
    """
    if not files.exists(store / DESCRIPTION):
        return None
    source = Store.open(store)
    every = {
        ",".join(str(level.exact) for level in source.grid(name).levels) for name in source.grids()
    }
    if len(every) > 1:
        raise StoreError(
            f"{store} holds grids of {len(every)} kinds of levels: name one as `t_grid`"
        )
    return next(iter(every), None)


def checkpoint_of(store: Path) -> str:
    """The checkpoint that is meant where none is named: the store's, or the default of a new one.

    A shipped one by its name: no path from inside a store is followed. Raises StoreError where the
    store has several, or one that is not shipped.
    """
    if not files.exists(store / DESCRIPTION):
        return defaults.CHECKPOINT
    source = Store.open(store)
    every = {name: read_info(find_checkpoint(name)) for name in shipped.names("checkpoints")}
    of_encoder = {encoder_id(info): name for name, info in every.items()}
    of_id = {info.id: name for name, info in every.items()}
    encoders = [source.encoder(name) for name in source.encoders()]
    made = [source.grid(name).checkpoint for name in source.grids()]
    # Latents decide where there are some: a solver that was tuned makes other grids of them.
    known = [of_encoder.get(encoder.id, encoder.checkpoint) for encoder in encoders]
    known = list(dict.fromkeys(known or [of_id.get(one, one) for one in made]))
    if not known:
        return defaults.CHECKPOINT
    if len(known) > 1:
        raise StoreError(
            f"{store} holds what several checkpoints made, {', '.join(known)}: name one as "
            f"`checkpoint`"
        )
    if known[0] in every:
        return known[0]
    raise StoreError(f"{store} was made with {known[0]}: name its folder as `checkpoint`")
