"""Repair: what is damaged is made again of what is whole; the rest is left, and told.

Nothing is lost by it: levels and latents are computed again in place of what cannot be read, tars
are made aside and take the place of damaged ones where their sums are the known ones, and of HR,
which only photos give, the blocks that are whole are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path

from degflow_pipe import defaults, files, folders
from degflow_pipe.cameras.asked import batch_size
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.cameras.making import Making
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.identity import encoder_id
from degflow_pipe.engines.engine import Engine, check_workers
from degflow_pipe.engines.threads import in_order, run_in_threads
from degflow_pipe.errors import DegflowError, StoreError, UsageError
from degflow_pipe.levels import Grid
from degflow_pipe.places import text_of
from degflow_pipe.progress import Progress, Silent
from degflow_pipe.shards.layout import VALIDATE, ShardSettings
from degflow_pipe.shards.summary import Summary, read_summary
from degflow_pipe.shards.tars import TarJob
from degflow_pipe.stages.crops import EncodeJob, EncodeWork
from degflow_pipe.stages.generate import LevelJob, LevelWork
from degflow_pipe.stages.inspection import Verified
from degflow_pipe.stages.meant import MeantLevels, encoders_of
from degflow_pipe.stages.remove import finish_removal
from degflow_pipe.stages.shard import KIND as SHARD_FOLDER
from degflow_pipe.stages.shard import Part, levels_to_pack, parts_of
from degflow_pipe.stages.verify import SHARDS, STORE, kind_of, read_sums, verify
from degflow_pipe.store import BLOCKS, Encoder, Store
from degflow_pipe.store.description import DESCRIPTION, write_again
from degflow_pipe.store.layers import Layer
from degflow_pipe.store.reading import known_latents
from degflow_pipe.store.store import KIND as STORE_FOLDER


def repair(
    path: Path,
    *,
    model: DegFlow | Bank | Callable[[], DegFlow | Bank] | None = None,
    store: Path | None = None,
    batch: int = defaults.BATCH,
    workers: int = 0,
    progress: Progress | None = None,
    engine: Engine = run_in_threads,
) -> Verified:
    """Mend what can be mended of a store or of shards, and verify it; a checkpoint is verified.

    model: makes latents and levels of a store again, those that are of it; the others are told, and
    stay. As a function it is asked for where some are damaged. store: that tars are made of again.
    Raises FileError where another process writes there, and as `verify`.
    """
    kind = kind_of(path)
    how = _How(check_workers(workers, engine), batch, engine, progress or Silent())
    mended: list[str] = []
    told: list[str] = []
    if kind == STORE:
        mended, told = _repair_store(path, model, how)
    elif kind == SHARDS and store is not None:
        mended, told = _repair_shards(path, store, how)
    found = verify(path, workers=check_workers(workers), progress=progress)
    damage = list(dict.fromkeys([*told, *found.damage]))  # what is to be done comes first
    return replace(found, damage=damage, whole=not damage, mended=mended)


@dataclass(frozen=True)
class _How:
    workers: int
    batch: int
    engine: Engine
    progress: Progress


# ---- stores


@dataclass
class _Damaged:
    """What cannot be read of a store: units whose HR cannot, and files of each layer."""

    hr: list[int] = field(default_factory=list)
    latents: dict[str, list[int]] = field(default_factory=dict)
    levels: dict[str, list[int]] = field(default_factory=dict)


def _repair_store(
    path: Path, model: DegFlow | Bank | Callable[[], DegFlow | Bank] | None, how: _How
) -> tuple[list[str], list[str]]:
    """What was mended, and what is to be done about the rest."""
    if folders.kind_of(path) != STORE_FOLDER:
        Store.open(path)  # says what it is
    with folders.one_writer(path, STORE_FOLDER):
        rewritten = [f"{path / DESCRIPTION}: written again"] if write_again(path) else []
        store = Store.open(path)
        try:
            store.require_ledgers()  # what they say of photos is not for us to forget
        except StoreError:
            return rewritten, []  # `verify` tells it, and that `ingest` mends it
        told = store.damaged_ledgers()  # whose damaged lines are dropped where it is written to
        with store.writing():
            finish_removal(store)
            damaged = _look(store, how)
            told += _salvaged(store, damaged.hr)
            mended = rewritten
            if model is not None and any([*damaged.latents.values(), *damaged.levels.values()]):
                try:
                    made_by = model() if callable(model) else model
                except (StoreError, UsageError) as error:  # which checkpoint, cannot be told
                    return mended, [*told, str(error)]
                mended += _encoded(store, Bank.of(made_by), damaged.latents, how)
                mended += _generated(store, made_by, damaged.levels, how)
    return mended, told


def _look(store: Store, how: _How) -> _Damaged:
    """Read every unit."""
    latents = {name: store.latents(one) for name, one in _encoders(store)}
    levels = {grid.name: store.levels(grid) for grid in store.readable_grids()}
    for layer in (*latents.values(), *levels.values()):
        _ = layer.made  # else each thread would read the ledger for itself
    found = _Damaged()

    def look(number: int) -> _Damaged:
        return _Damaged(
            [] if not store.has_hr(number) or _reads(lambda: store.hr(number)) else [number],
            {name: _unread(store, layer, number) for name, layer in latents.items()},
            {name: _unread(store, layer, number) for name, layer in levels.items()},
        )

    with how.progress.task("look", len(store.units), counts="units") as task:
        for one in in_order(look, list(store.units), how.workers):
            found.hr += one.hr
            for every, new in ((found.latents, one.latents), (found.levels, one.levels)):
                for name, numbers in new.items():
                    every.setdefault(name, []).extend(numbers)
            task.advance()
    return found


def _encoders(store: Store) -> Iterator[tuple[str, Encoder]]:
    """Those whose descriptions are not damaged."""
    for name in store.encoders():
        with suppress(StoreError):
            yield name, store.encoder(name)


def _reads(check: Callable[[], object]) -> bool:
    try:
        check()
    except StoreError:  # damage; what cannot be opened is raised
        return False
    return True


def _unread(store: Store, layer: Layer, number: int) -> list[int]:
    """The files of a layer and a unit that were made once, and are not there or cannot be read."""
    unit = store.units[number]
    return [
        n
        for n in layer.numbers(number)
        if n in layer.made and not (layer.has(n, unit) and _reads(partial(layer.read, n, unit)))
    ]


def _salvaged(store: Store, units: list[int]) -> list[str]:
    """What is lost of units whose HR are damaged, and which command brings it back."""
    told = []
    for number in units:
        patches = store.patches(number)
        if lost := store.salvage(number):
            names = sorted({patches[place].source for place in lost})
            more = f" and {len(names) - 5} others" if len(names) > 5 else ""
            told.append(
                f"unit {number} of {store.path}: {len(lost)} of its {len(patches)} patches are "
                f"lost: run `ingest` again with {', '.join(names[:5])}{more}, or `remove` them"
            )
    return told


def _encoded(store: Store, bank: Bank, damaged: dict[str, list[int]], how: _How) -> Iterator[str]:
    """Latents that were made again, of units whose HR are whole."""
    for one in bank.sites:
        name = encoder_id(one.info)
        numbers = [n for n in damaged.get(name, []) if _whole_hr(store, n)]
        if not numbers:
            continue
        encoder = store.encoder(name)
        job = EncodeJob(text_of(store.path), one, encoder, batch_size(one.device, how.batch))
        layer = store.latents(encoder)
        layer.make_room(max(store.units) + 1)
        works = [EncodeWork(number, store.units[number]) for number in numbers]
        with closing(how.engine(job, works, how.workers)) as records:
            for done in records:
                assert done.latents is not None
                layer.note(done.number, done.latents)
                yield f"latents of unit {done.number} by {encoder.checkpoint} were made again"


def _generated(
    store: Store, model: DegFlow | Bank, damaged: dict[str, list[int]], how: _How
) -> Iterator[str]:
    """Levels that were made again, of units whose HR are whole."""
    for name, blocks in damaged.items():
        whole = [block for block in blocks if _whole_hr(store, block // BLOCKS)]
        making = _making_of(store.grid(name), model, how.batch) if whole else None
        if making is None:
            continue
        encoders = encoders_of(store, model, making.grid)
        layer = store.levels(making.grid)
        layer.make_room(max(store.units) + 1)
        works = []
        for block in whole:
            unit = store.units[block // BLOCKS]
            latents = {
                i: made
                for i, made in known_latents(store, encoders, block // BLOCKS, unit).items()
                if _reads(partial(store.latents(encoders[i]).block, block, unit, made))
            }
            works.append(LevelWork(block, unit, latents))
        job = LevelJob(text_of(store.path), encoders, making)
        with closing(how.engine(job, works, how.workers)) as records:
            for done in records:
                layer.note(done.block, done.made, done.told)
                yield f"levels of block {done.block} of {name} were made again"


def _whole_hr(store: Store, number: int) -> bool:
    return store.has_hr(number) and _reads(lambda: store.hr(number))


def _making_of(grid: Grid, model: DegFlow | Bank, batch: int) -> Making | None:
    """How a grid's levels are made; None where it is not by this model."""
    meant = MeantLevels.of(grid)
    asked = model, meant.grid, meant.noise, meant.seed, batch
    try:
        making = Making.of(*asked, sr_scale=meant.sr_scale)
    except DegflowError:  # it has not those levels, or not that noise
        return None
    return replace(making, grid=grid) if making.grid.name == grid.name else None


# ---- shards


def _repair_shards(path: Path, store: Path, how: _How) -> tuple[list[str], list[str]]:
    """Tars and indexes that were made again, and why others were not."""
    mended: list[str] = []
    told: list[str] = []
    with folders.one_writer(path, SHARD_FOLDER):
        broken = [
            (out, shards, numbers)
            for out in (path, path / VALIDATE)
            if files.is_folder(out)
            for shards in [read_summary(out)]
            if (numbers := _broken(shards, how))
        ]
        for out, shards, numbers in broken:
            try:
                part, job = _part_of(out, path, store, shards)
            except DegflowError as error:
                told.append(f"{out}: its tars cannot be made again of {store}: {error}")
                continue
            if beyond := [shards.tars[n] for n in numbers if n >= part.plan.tars]:
                told.append(f"{out}: {store} has no patches for {', '.join(beyond[:5])}")
            for name, same in _remade(part, job, shards, numbers, how):
                if same:
                    mended.append(f"{out / name} was made again")
                else:
                    told.append(
                        f"{out / name} comes out otherwise from {store}, which was changed since, "
                        f"or on this device: run `shard(overwrite=True)` to take it so"
                    )
    return mended, told


def _broken(shards: Summary, how: _How) -> list[int]:
    """Numbers of the tars that are damaged, or whose indexes are, by their sums."""
    sums = read_sums(shards.folder / f"{shards.name}.sha256")

    def is_broken(number: int) -> bool:
        tar = shards.tars[number]
        names = (tar, shards.index_of(tar).name)
        return any(_sum(shards.folder / name) != sums.get(name) for name in names)

    with how.progress.task("look", len(shards.tars), counts="tars") as task:
        found = []
        for number, broken in enumerate(in_order(is_broken, range(len(shards.tars)), how.workers)):
            found += [number] * broken
            task.advance()
    return found


def _sum(path: Path) -> str:
    return files.sha256(path) if files.exists(path) else ""


def _part_of(out: Path, path: Path, store: Path, shards: Summary) -> tuple[Part, TarJob]:
    """What a folder's tars are made of. Raises DegflowError where the store does not give it."""
    said = shards.figures.get("settings")
    if not isinstance(said, dict) or shards.figures["version"] == 1:
        raise StoreError("it does not say how they were made: run `shard(overwrite=True)`")
    names = {one.name for one in fields(ShardSettings)}
    settings = ShardSettings(**{key: value for key, value in said.items() if key in names})
    source = Store.open(store)
    grid, made = levels_to_pack(source, str(said.get("grid")), None)
    parts = parts_of(source, path, settings, grid, {}, made)
    (part,) = (part for part in parts if part.out == out)
    job = TarJob(text_of(store), text_of(out), settings, grid, {}, None, at_once=1, shown=())
    return part, job


def _remade(
    part: Part, job: TarJob, shards: Summary, numbers: list[int], how: _How
) -> Iterator[tuple[str, bool]]:
    """Make tars aside; each takes the place of the damaged one where its sum is the known one."""
    sums = read_sums(part.out / f"{shards.name}.sha256")
    numbers = [number for number in numbers if number < part.plan.tars]
    with _aside(part.out) as folder:
        job = replace(job, out=text_of(folder))
        works = map(part.plan.work, numbers)
        with (
            how.progress.task("shard", len(numbers), counts="tars") as task,
            closing(how.engine(job, works, how.workers)) as records,
        ):
            for number, done in zip(numbers, records, strict=True):
                tar, index = job.settings.tar(number), job.settings.index(number)
                made = {tar: done.record.sha256, index: done.record.index_sha256}
                same = all(sums.get(name) == digest for name, digest in made.items())
                for name in made:
                    if same and _sum(part.out / name) != sums[name]:
                        files.move(folder / name, part.out / name)
                        yield name, True
                    files.remove(folder / name)
                if not same:
                    yield tar, False
                task.advance()


@contextmanager
def _aside(out: Path) -> Iterator[Path]:
    """A folder for what may take a place in `out`."""
    folder = files.aside(out / "repair")
    files.remove(folder)
    try:
        folders.claim(folder, SHARD_FOLDER)
        yield folder
    finally:
        files.remove(folder)
