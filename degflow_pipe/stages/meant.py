"""Which checkpoint, latents and levels a store means where nothing is said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from degflow_pipe import defaults, files, shipped
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import find_checkpoint, read_info
from degflow_pipe.checkpoint.identity import encoder_id
from degflow_pipe.errors import StoreError
from degflow_pipe.levels import Grid
from degflow_pipe.store import Encoder, Store
from degflow_pipe.store.description import DESCRIPTION


def encoders_of(store: Store, cameras: DegFlow | Bank, grid: Grid) -> dict[int, Encoder]:
    """Encoders of the cameras whose latents the store may have, by the cameras' numbers.

    None for LR at an SR scale of their own, whose cameras are shown HR that was reduced.
    """
    names = [encoder_id(model.info) for model in Bank.of(cameras).models]
    known = set() if grid.sr_scale else set(store.encoders())
    return {i: store.encoder(name) for i, name in enumerate(names) if name in known}


@dataclass(frozen=True)
class MeantLevels:
    """Levels as `generate` is asked for them."""

    t_grid: str
    sr_scale: float
    draws: int

    @classmethod
    def of(cls, grid: Grid) -> MeantLevels:
        parts = dict.fromkeys(level.asked or str(level.exact) for level in grid.levels)
        return cls(",".join(parts), grid.sr_scale, max(level.draw for level in grid.levels) or 1)


def levels_of(store: Path) -> MeantLevels | None:
    """The levels that are meant where none are asked for: the store's; None for a store that has
    none. Raises StoreError where it has several.
    """
    if not files.exists(store / DESCRIPTION):
        return None
    source = Store.open(store)
    every = {MeantLevels.of(source.grid(name)) for name in source.grids()}
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
    if len(set(made)) == 1 and "," in made[0]:  # a bank
        return made[0]
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
