"""generate: latents -> levels. Integrates every patch to every level and decodes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from degflow_pipe import defaults, folders
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.cameras.making import Making
from degflow_pipe.engines.engine import Engine, check_workers
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.engines.ticks import Amount, tick
from degflow_pipe.engines.timing import Clock, Took
from degflow_pipe.errors import StoreError
from degflow_pipe.levels import Grid, Told
from degflow_pipe.places import place_of, text_of
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.stages.meant import encoders_of, require_model
from degflow_pipe.stages.remove import finish_removal
from degflow_pipe.store import BLOCKS, Encoder, Made, Store, Unit
from degflow_pipe.store.reading import block_latents, block_places, known_latents
from degflow_pipe.store.records import check_title
from degflow_pipe.store.store import KIND
from degflow_pipe.watching import SlowUnit, StageWatch, Watch

if TYPE_CHECKING:
    from degflow_pipe.checkpoint.degflow import DegFlow


@dataclass
class GenerateSummary:
    """What a generate did. pairs: LR pictures made now; known: those that were there.

    levels: as they were asked for; t: of a level that each patch draws, the least. noise: what the
    LR carries, see `levels.Grid`. precision: of the decoder. evaluations: of v for a patch, None
    where nothing was left to make. batch: patches computed at once, the least where a GPU's memory
    did not do for what was asked. encoded: patches of blocks for which the store had no latents, or
    whose HR was reduced first. grids: how many the store has now.
    """

    store: str
    grid: str
    levels: list[str]
    t: list[float]
    noise: str
    checkpoint: str
    precision: str
    evaluations: int | None
    batch: int
    patches: int = 0
    pairs: int = 0
    known: int = 0
    encoded: int = 0
    grids: int = 1
    slowest: list[SlowUnit] = field(default_factory=list, compare=False)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class LevelWork:
    """A block as a unit of work, and what is known of its unit's HR and latents, these by the
    number of the camera.
    """

    block: int
    unit: Unit
    latents: dict[int, Made]


@dataclass(frozen=True)
class LevelDone:
    """made, told: a block's levels, as they lie in the store now. evaluations: of v for a patch."""

    block: int
    made: Made
    told: Told
    evaluations: int
    took: Took


@dataclass(frozen=True)
class LevelJob:
    """Makes the levels of blocks: see `engines.job.Job`. encoders: by the number of the camera."""

    store: str
    encoders: dict[int, Encoder]
    making: Making

    @property
    def device(self) -> str:
        """Where it computes."""
        return self.making.device

    @contextmanager
    def open(self) -> Iterator[Callable[[LevelWork], LevelDone]]:
        store = Store.open(place_of(self.store))
        store.read_ahead()  # else each thread would read the ledger for itself
        levels = store.levels(self.making.grid)
        with self.making.open() as make:

            def work(asked: LevelWork) -> LevelDone:
                clock, block, unit = Clock(), asked.block, asked.unit
                latents = block_latents(store, self.encoders, block, unit, asked.latents)
                hr, places = store.block_hr(block, unit), block_places(store, block)
                lr = make(hr, latents, places, lambda count: tick(count * len(self.making.grid)))
                made = levels.write(block, lr.values, unit, lr.computed)
                return LevelDone(block, made, lr.told, lr.evaluations, clock.took)

            yield work


def generate(
    store: Path,
    model: DegFlow | Bank,
    grid: Grid,
    *,
    noise: str = "auto",
    seed: int = 0,
    sr_scale: float = 0.0,
    draws: int = 1,
    name: str = "",
    batch: int = defaults.BATCH,
    workers: int = 0,
    progress: Progress | None = None,
    watch: Watch | None = None,
    engine: Engine = run_in_threads,
) -> GenerateSummary:
    """Make the LR of every patch in the store at every level of the grid.

    Blocks that are complete are left as they are; the others are made. Where the store has no
    latents of this checkpoint's encoder, the pass that gives the skips gives them too. noise, seed,
    sr_scale, draws: see `Making.of`. name: what people call the grid. LR that differ in anything
    their pixels or scales depend on (see `checkpoint.identity`) are another grid. batch: patches
    computed at once on a GPU. workers: blocks at once, 0 for one a core. watch: is told of each
    block.

    Raises StoreError where the store is missing or empty, UsageError for noise that the checkpoint
    does not have.
    """
    at_once = check_workers(workers, engine)
    Store.open(store)
    making = Making.of(model, grid, noise, seed, batch, sr_scale=sr_scale, draws=draws)
    if name:
        check_title(name)
    with folders.one_writer(store, KIND):
        source = Store.open(store)  # as the writer before left it
        source.require_ledgers()
        require_patches(source)
        with source.writing():
            finish_removal(source)
            every = list(source.blocks())
            grid = source.check_levels(replace(making.grid, title=name))
            levels = source.levels(grid)
            missing = [(block, unit) for block, unit in every if not levels.has(block, unit)]
            if missing:
                require_model(model, engine, progress)
            making = replace(making, grid=source.make_grid(grid))
            summary = GenerateSummary(
                store=str(store),
                grid=grid.name,
                levels=[level.label for level in grid.levels],
                t=grid.t,
                noise=grid.noise,
                checkpoint=grid.checkpoint,
                precision=grid.precision,
                evaluations=None,
                batch=making.size,
            )
            summary.patches, summary.pairs = _patches(every), _patches(missing) * len(grid)
            total = summary.patches * len(grid)
            summary.known = total - summary.pairs
            told, device = StageWatch(watch), making.device
            encoders = encoders_of(source, model, grid)
            works = _works(source, encoders, missing, summary)
            job, silent = LevelJob(text_of(store), encoders, making), Silent()
            with (
                (progress or silent).task("generate", total, summary.known, counts="pairs") as task,
                closing(
                    engine(job, works, at_once, hear=(so_far := Amount(task.advance)).hear)
                ) as records,
            ):
                for done in records:
                    levels.note(done.block, done.made, done.told)
                    summary.evaluations = max(summary.evaluations or 0, done.evaluations)
                    summary.batch = min(
                        summary.batch, done.made.computed.get("batch", summary.batch)
                    )
                    unit = source.units[done.block // BLOCKS]
                    n = unit.in_block(done.block % BLOCKS)
                    made = {"patches": n, "pairs": n * len(grid), "evaluations": done.evaluations}
                    told.unit("generate", f"block {done.block}", done.took, device, made)
                    so_far.whole(n * len(grid))
            summary.slowest, summary.grids = told.slowest, len(source.grids())
    return summary


def _works(
    store: Store,
    encoders: Mapping[int, Encoder],
    blocks: list[tuple[int, Unit]],
    summary: GenerateSummary,
) -> Iterator[LevelWork]:
    """The blocks with their latents, where the store has them; else they are counted as encoded."""
    for block, unit in blocks:
        latents = known_latents(store, encoders, block // BLOCKS, unit)
        if not latents:
            summary.encoded += unit.in_block(block % BLOCKS)
        yield LevelWork(block, unit, latents)


def require_patches(store: Store) -> None:
    """Raises StoreError for a store that holds no patches."""
    if not store.units:
        raise StoreError(f"{store.path} holds no patches: run `ingest(photos=...)` first")


def _patches(blocks: list[tuple[int, Unit]]) -> int:
    return sum(unit.in_block(block % BLOCKS) for block, unit in blocks)
