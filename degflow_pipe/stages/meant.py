"""Which checkpoint, latents and levels a store means where nothing is said."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from degflow_pipe import defaults, files, shipped
from degflow_pipe.cameras.bank import SIMULATED, Bank, parse_bank
from degflow_pipe.checkpoint.folder import find_checkpoint, read_info
from degflow_pipe.checkpoint.identity import encoder_id
from degflow_pipe.engines.engine import Engine
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.errors import StoreError, UsageError
from degflow_pipe.levels import Grid, Level
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.store import Encoder, Store
from degflow_pipe.store.description import DESCRIPTION

if TYPE_CHECKING:
    from degflow_pipe.checkpoint.degflow import DegFlow


def encoders_of(store: Store, cameras: DegFlow | Bank, grid: Grid) -> dict[int, Encoder]:
    """Encoders of the cameras whose latents the store may have, by the cameras' numbers.

    None for LR at an SR scale of their own, whose cameras are shown HR that was reduced.
    """
    names = [encoder_id(site.info) for site in Bank.of(cameras).sites]
    known = set() if grid.sr_scale else set(store.encoders())
    return {i: store.encoder(name) for i, name in enumerate(names) if name in known}


@dataclass(frozen=True)
class MeantLevels:
    """What `generate` was asked for to make a grid: its levels, draws among them, and the rest."""

    levels: tuple[Level, ...]
    sr_scale: float
    noise: str
    seed: int

    @classmethod
    def of(cls, grid: Grid) -> MeantLevels:
        kind, _, rest = grid.noise.partition("-")
        seed = rest.partition("-")[0]
        return cls(grid.levels, grid.sr_scale, kind, int(seed) if seed.isdecimal() else 0)

    @property
    def grid(self) -> Grid:
        """As `generate` takes it."""
        return Grid(self.levels)

    @property
    def options(self) -> dict[str, object]:
        """The same by the names of the command's options, where they can say it."""
        parts = dict.fromkeys(level.asked or str(level.exact) for level in self.levels)
        asked: dict[str, object] = {"t_grid": ",".join(parts)}
        if self.sr_scale:
            asked["sr_scale"] = f"{self.sr_scale:g}"
        if draws := max(level.draw for level in self.levels):
            asked["draws"] = draws
        asked["noise"] = self.noise
        if self.seed:
            asked["seed"] = self.seed
        return asked


def levels_of(store: Path) -> MeantLevels | None:
    """The levels that are meant where none are asked for: the store's; None for a store that has
    none. Raises StoreError where it has several.
    """
    if not files.exists(store / DESCRIPTION):
        return None
    source = Store.open(store)
    every = {MeantLevels.of(source.grid(name)) for name in source.grids()}
    if len(every) > 1:
        grids = [source.grid(name) for name in source.grids()]
        called = ", ".join(one.title or one.name for one in grids)
        raise StoreError(f"{store} holds {len(grids)} grids, {called}: say the levels as `t_grid`")
    return next(iter(every), None)


def patch_of(store: Path) -> int:
    """The side of a patch that is meant where none is said: the store's, or the default of a new
    one.
    """
    held = Store.open(store) if files.exists(store / DESCRIPTION) else None
    return defaults.PATCH if held is None or not held.units else held.settings.patch


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
    if len(set(made)) == 1 and "," in made[0]:
        return _bank_of(store, made[0], of_id)
    # Latents decide where there are some: a solver that was tuned makes other grids of them.
    known = [of_encoder.get(encoder.id, encoder.checkpoint) for encoder in encoders]
    known = list(dict.fromkeys(known or [of_id.get(one, one) for one in made]))
    if not known:
        return defaults.CHECKPOINT
    if len(known) > 1:
        raise StoreError(
            f"{store} holds what several checkpoints made, {', '.join(known)}: name one, or a bank "
            f"of them, as `checkpoint`"
        )
    if known[0] in every:
        return known[0]
    raise StoreError(f"{store} was made with {known[0]}: name its folder as `checkpoint`")


def _bank_of(store: Path, text: str, of_id: dict[str, str]) -> str:
    """A bank that made the levels of a store, of shipped checkpoints by their names."""
    try:
        members = parse_bank(text)
    except UsageError as error:
        raise StoreError(f"{store} was made with {text[:100]!r}, which is no bank") from error
    parts = []
    for member in members:
        if member.name != SIMULATED and member.name not in of_id:
            raise StoreError(
                f"{store} was made with {member.name} among others: name their folders as "
                f"`checkpoint`, with shares as in {text}"
            )
        name = of_id.get(member.name, f"{SIMULATED}:{member.count}")
        parts.append(f"{name}:{member.share:g}")
    return ",".join(parts)


def require_model(model: DegFlow | Bank, engine: Engine, progress: Progress | None) -> None:
    """See `Bank.require`; loading takes seconds, so it is told."""
    bank = Bank.of(model)
    if all(site.held for site in bank.sites):
        return
    with (progress or Silent()).task("load checkpoint", None):
        bank.require(loads=engine is run_in_threads)
