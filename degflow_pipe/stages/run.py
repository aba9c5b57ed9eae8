"""run: the three stages one after the other."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from degflow_pipe import defaults, files, folders, json_files
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.cameras.making import Making
from degflow_pipe.engines.engine import Engine, engine_of
from degflow_pipe.errors import ShardError, UsageError, masked
from degflow_pipe.levels import Grid
from degflow_pipe.pictures.photos import find_photos
from degflow_pipe.places import place_of
from degflow_pipe.progress import Progress
from degflow_pipe.stages.generate import GenerateSummary, generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.meant import encoders_of, require_model
from degflow_pipe.stages.numbering import IngestSummary
from degflow_pipe.stages.recipe import RunRecipe
from degflow_pipe.stages.shard import KIND as SHARDS
from degflow_pipe.stages.shard import ShardSummary, check_data_set, check_split, shard
from degflow_pipe.store import Store
from degflow_pipe.store.description import DESCRIPTION
from degflow_pipe.watching import Watch

if TYPE_CHECKING:
    from degflow_pipe.checkpoint.degflow import DegFlow

WORK = ".degflow.zarr"
"""The store in the output of a run that keeps none; WORK.json says what it was begun with."""


@dataclass(frozen=True)
class RunSummary:
    """What each stage of a run did; generate: None where `shard` made levels that are not kept."""

    ingest: IngestSummary
    generate: GenerateSummary | None
    shard: ShardSummary

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def run(
    recipe: RunRecipe,
    model: DegFlow | Bank,
    *,
    batch: int = defaults.BATCH,
    workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
    watch: Watch | None = None,
    engine: Engine | None = None,
) -> RunSummary:
    """Ingest, generate and shard as a recipe says. With `keep: none` the store
    lies within the output until the shards are whole, and the recipe's own is not touched. engine:
    another than the recipe names. watch: is told of each unit.
    """
    engine = engine or engine_of(recipe.engine, recipe.num_gpus)
    levels, out = recipe.generate, place_of(recipe.out)
    grid, making = asked_of(recipe, model, batch, overwrite)
    asked: dict[str, Any] = {"sr_scale": levels.sr_scale, "draws": levels.draws, "batch": batch}
    if recipe.keep == "none" or not files.exists(place_of(recipe.store) / DESCRIPTION):
        require_model(model, engine, progress)
    if recipe.keep == "none":
        folders.claim(out, SHARDS)  # the store lies in it
    store = _work_store(recipe, overwrite) if recipe.keep == "none" else place_of(recipe.store)
    how: dict[str, Any] = {
        "workers": workers,
        "progress": progress,
        "watch": watch,
        "engine": engine,
    }
    first = ingest(
        recipe.photos,
        store,
        model,
        **asdict(recipe.ingest),
        # Else the pass that gives the skips gives the latents too.
        encode=recipe.keep == "latents" and not levels.sr_scale,
        batch=batch,
        **how,
    )
    if recipe.shard.validate:
        check_split(Store.open(store), recipe.shard)
    if recipe.keep == "levels":
        second = generate(store, model, grid, noise=levels.noise, seed=levels.seed, **asked, **how)
        third = shard(store, out, recipe.shard, grid=second.grid, overwrite=overwrite, **how)
        return RunSummary(first, second, third)
    encoders = encoders_of(Store.open(store), model, making.grid)
    third = shard(
        store, out, recipe.shard, maker=making, encoders=encoders, overwrite=overwrite, **how
    )
    if recipe.keep == "none":
        _remove(store)
    return RunSummary(first, None, third)


def asked_of(
    recipe: RunRecipe, model: DegFlow | Bank, batch: int, overwrite: bool
) -> tuple[Grid, Making]:
    """The levels that are asked for, and how they are made. Raises what `run` would before it
    writes.
    """
    if not recipe.photos:
        raise UsageError("no photos: name them on the command line or under `photos` in the recipe")
    levels, out = recipe.generate, place_of(recipe.out)
    grid = levels.grid(Bank.of(model).first.info, Bank.of(model).s_max)
    asked: dict[str, Any] = {"sr_scale": levels.sr_scale, "draws": levels.draws, "batch": batch}
    making = Making.of(model, grid, levels.noise, levels.seed, **asked)
    folders.check_ours(out, SHARDS)
    check_data_set(out, recipe.shard, recipe.ingest.patch, making.grid, overwrite)
    return grid, making


def _work_store(recipe: RunRecipe, overwrite: bool) -> Path:
    """Where the store of a run that keeps none lies, empty unless this run was begun before.

    Raises as `begun_before`.
    """
    out = place_of(recipe.out)
    store, mark = out / WORK, out / f"{WORK}.json"
    files.remove(_leaving(store))
    begun, is_begun = begun_before(recipe, overwrite)
    if is_begun:
        return store
    _remove(store)
    json_files.write(mark, begun)
    return store


def begun_before(recipe: RunRecipe, overwrite: bool) -> tuple[dict[str, Any], bool]:
    """What a run that keeps no store is begun with, and whether it was.

    Raises ShardError where the folder's data set is finished and was made of other photos.
    """
    out = place_of(recipe.out)
    mark = out / f"{WORK}.json"
    begun = {
        "photos": [masked(photo) for photo in recipe.photos],
        "files": _digest_of(recipe.photos),
        "ingest": asdict(recipe.ingest),
    }
    if files.exists(mark) and json_files.read(mark) == begun:
        return begun, True
    if files.exists(out / f"{recipe.shard.name}.json") and not overwrite:
        raise ShardError(
            f"{out} holds {recipe.shard.name} already, not made by this run with `keep=none`: give "
            f"another folder as `out`, or `overwrite`"
        )
    return begun, False


def _digest_of(photos: list[str]) -> str:
    """Which files the photos are: another one of the same name is another run."""
    digest = hashlib.sha256()
    stamps: dict[Path, tuple[int, int, int]] = {}
    for file in find_photos(photos):
        if file.path not in stamps:
            stamps[file.path] = files.stamp(file.path)
        _, size, written = stamps[file.path]
        digest.update(f"{file.name}\0{size}\0{written}\0".encode())
    return digest.hexdigest()


def _remove(store: Path) -> None:
    """Drop a store; one that is cut off in it does not look like a damaged one."""
    if files.exists(store):
        with folders.locked(store):  # another process may be at it
            leaving = files.taken_away(store, _leaving(store).name)
        files.remove(leaving)


def _leaving(store: Path) -> Path:
    return files.aside(store)
