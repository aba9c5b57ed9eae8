"""What `ingest`, `generate`, `shard` and `run` would make, and what that would take: nothing is
written.

Photos are counted by their headers and the store by its ledgers; a seeded sample of both is worked
on as it would be (see `rehearsal`), and stands for the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace as dc_replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from degflow_pipe import defaults, folders
from degflow_pipe.cameras.asked import batch_size
from degflow_pipe.cameras.bank import Bank
from degflow_pipe.cameras.making import Making
from degflow_pipe.checkpoint.identity import encoder_id
from degflow_pipe.engines.engine import Engine, engine_of
from degflow_pipe.engines.threads import run_in_threads
from degflow_pipe.estimates import Estimate
from degflow_pipe.levels import Grid
from degflow_pipe.places import place_of, text_of
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.shards.plan import Piece
from degflow_pipe.shards.tars import TarJob
from degflow_pipe.stages.costs import (
    Packed,
    add_ingest,
    add_levels,
    add_tars,
    begin,
    cut_up,
    mean_hr,
    sheet_bytes,
    tars_of,
)
from degflow_pipe.stages.generate import require_patches
from degflow_pipe.stages.meant import encoders_of
from degflow_pipe.stages.photo_sample import look_at_photos
from degflow_pipe.stages.recipe import IngestSettings, RunRecipe
from degflow_pipe.stages.rehearsal import (
    PackJob,
    Patches,
    TryJob,
    rehearse,
)
from degflow_pipe.stages.run import WORK, asked_of, begun_before
from degflow_pipe.stages.shard import KIND as SHARDS
from degflow_pipe.stages.shard import (
    Part,
    check_data_set,
    check_validation,
    levels_to_pack,
    parts_of,
)
from degflow_pipe.stages.tars import Shown
from degflow_pipe.stages.trial import (
    TRY_SECONDS,
    Rates,
    patches_of,
    spread_out,
    store_sample,
    try_out,
)
from degflow_pipe.store import BLOCK, Made, Store, Unit
from degflow_pipe.store.records import check_title
from degflow_pipe.store.store import KIND

if TYPE_CHECKING:
    from degflow_pipe.checkpoint.degflow import DegFlow

NO_STORE = Path(os.devnull) / "none"
"""Where no store is, and none can be."""


def _bare(store: Store, model: DegFlow | Bank) -> list[tuple[str, int]]:
    """Ids of the encoders whose latents an ingest writes, and patches that lack them."""
    found = []
    for one in Bank.of(model).sites:
        name, bare = encoder_id(one.info), sum(unit.count for unit in store.units.values())
        if name in store.encoders():
            layer = store.latents(store.encoder(name))
            bare = sum(u.count for number, u in store.units.items() if not layer.has(number, u))
        found.append((name, bare))
    return found


def estimate_ingest(
    photos: Sequence[str],
    store: Path,
    model: DegFlow | Bank,
    *,
    replace: bool = False,
    batch: int = defaults.BATCH,
    workers: int = 0,
    engine: Engine = run_in_threads,
    **settings: Any,
) -> Estimate:
    """What `ingest` would do with these options; settings: those of `IngestSettings`. Raises as it
    does, of photos that are looked at; which of the others are damaged is not known.
    """
    total = begin("ingest", model, workers, engine)
    size = batch_size(Bank.of(model).first.device, batch)
    asked = IngestSettings(**settings)
    how: dict[str, Any] = {"workers": total.workers, "engine": engine}
    found = look_at_photos(photos, store, model, asked, replaces=replace, **how)
    encoders = _bare(found.store, model)
    sites = Bank.of(model).sites
    sample: Iterator[Patches] | list[Patches] = found.sample
    if not found.patches and any(bare for _, bare in encoders):
        blocks = list(found.store.blocks())
        sample = store_sample(found.store, blocks, {}, size)
    rates, _ = try_out(TryJob(sites, size, None, False, None), sample, engine, total.workers)
    total.tried_out(rates)
    add_ingest(total, found, rates, encoders)
    total.patches = found.patches
    return total.done()


def estimate_generate(
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
    engine: Engine = run_in_threads,
) -> Estimate:
    """What `generate` would do with these options; raises as it does."""
    total = begin("generate", model, workers, engine)
    source = Store.open(store)
    require_patches(source)
    making = Making.of(model, grid, noise, seed, batch, sr_scale=sr_scale, draws=draws)
    folders.check_ours(store, KIND)
    if name:
        check_title(name)
    source.require_ledgers()
    source.check_levels(dc_replace(making.grid, title=name))
    missing = _without_levels(source, making.grid)
    encoders = encoders_of(source, model, making.grid)
    sample = store_sample(source, missing, encoders, making.size)
    rates, _ = try_out(TryJob((), making.size, making, True, None), sample, engine, total.workers)
    total.tried_out(rates)
    add_levels(total, [patches_of(one) for one in missing], rates, mean_hr(source), making)
    total.patches = sum(map(patches_of, missing))
    total.pairs = total.patches * len(making.grid)
    every = sum(map(patches_of, source.blocks()))
    total.known_pairs = every * len(making.grid) - total.pairs
    return total.done()


def _without_levels(store: Store, grid: Grid) -> list[tuple[int, Unit]]:
    """The blocks whose levels are to be made."""
    levels = store.levels(grid)
    return [(block, unit) for block, unit in store.blocks() if not levels.has(block, unit)]


def estimate_shard(
    store: Path,
    out: Path,
    settings: ShardSettings | None = None,
    *,
    grid: str | None = None,
    workers: int = 0,
    overwrite: bool = False,
    engine: Engine = run_in_threads,
) -> Estimate:
    """What `shard` would do with these options; raises as it does."""
    settings = settings or ShardSettings()
    total = begin("shard", None, workers, engine)
    source = Store.open(store)
    chosen, made = levels_to_pack(source, grid, None)
    parts = parts_of(source, out, settings, chosen, {}, made)
    if not settings.validate:
        check_validation(out, overwrite)
    for part in parts:
        folders.check_ours(part.out, SHARDS)
        check_data_set(part.out, settings, source.settings.patch, chosen, overwrite)
    every = [tars_of(part, settings, 0) for part in parts]
    missing = any(tars.missing for tars in every)
    assert made is not None, "the store's own levels are packed"
    blocks = list(source.blocks())
    pieces = [
        Piece(block, unit, 0, patches_of((block, unit)), {}, made[block])
        for block, unit in spread_out(blocks if missing else [])
    ]
    job = PackJob(TarJob(text_of(store), text_of(out), settings, chosen, {}, None, 1, ()))
    tried = rehearse(engine, job, pieces, total.workers, TRY_SECONDS, total.workers)
    for piece, one in zip(pieces, tried.records, strict=False):
        one.bytes["store"] = _stored(made, piece.block, piece.unit)
    rates = Rates(tried, {0: 1.0})
    total.tried_out(rates)
    mean = sum(_stored(made, *one) for one in blocks) / sum(map(patches_of, blocks))
    for tars, part in zip(every, parts, strict=True):
        pictures = Shown(source, part.plan, chosen, None).pictures() if tars.missing else ()
        each = Packed(
            tar=rates.bytes("tar", mean, "store"),
            index=rates.bytes("index", mean, "store"),
            seconds=rates.seconds("tar"),
            at_once=BLOCK,
            sheet=sheet_bytes(list(pictures), chosen),
            start=rates.start,
        )
        add_tars(total, tars, each, out, len(chosen))
    total.bytes_spread = rates.bytes_spread("tar", "store")
    return total.done()


def _stored(levels: Mapping[int, Made], block: int, unit: Unit) -> int:
    """Bytes of a block's HR, by its unit's, and of its levels."""
    share = patches_of((block, unit)) / unit.count
    return round(unit.bytes * share) + levels[block].bytes


def estimate_run(
    recipe: RunRecipe,
    model: DegFlow | Bank,
    *,
    batch: int = defaults.BATCH,
    workers: int = 0,
    overwrite: bool = False,
    engine: Engine | None = None,
) -> Estimate:
    """What `run` would do with these options; raises as it does, see `estimate_ingest`."""
    engine = engine or engine_of(recipe.engine, recipe.num_gpus)
    total = begin("run", model, workers, engine)
    _, making = asked_of(recipe, model, batch, overwrite)
    grid, kept, out = making.grid, recipe.keep == "levels", place_of(recipe.out)
    how: dict[str, Any] = {"workers": total.workers, "engine": engine}
    path = _store_of(recipe, overwrite)
    found = look_at_photos(recipe.photos, path, model, recipe.ingest, replaces=False, **how)
    store = found.store
    if kept:
        store.check_levels(grid)
    missing = _without_levels(store, grid) if kept else []
    made = store.levels(grid).made if kept else None
    so_far = _parts_so_far(store, out, recipe.shard, grid, made)
    tars = [tars_of(part, recipe.shard, 0 if i else found.patches) for i, part in enumerate(so_far)]
    encoded = recipe.keep == "latents" and not grid.sr_scale
    sample: Iterator[Patches] | list[Patches] = found.sample
    if not found.patches and (missing or any(one.missing for one in tars)):
        encoders = encoders_of(store, model, grid)
        sample = store_sample(store, missing or list(store.blocks()), encoders, making.size)
    sites = Bank.of(model).sites if encoded else ()
    tar_job = TarJob(text_of(path), text_of(out), recipe.shard, grid, {}, None, 1, ())
    job = TryJob(sites, making.size, making, kept, tar_job)
    rates, shown = try_out(job, sample, **how)
    total.tried_out(rates)
    add_ingest(total, found, rates, _bare(store, model) if encoded else [])
    hr = found.hr or mean_hr(store)
    if kept:
        sizes = [*map(patches_of, missing), *cut_up(found.patches, BLOCK)]
        add_levels(total, sizes, rates, hr, making)
    each = Packed(
        tar=rates.bytes("tar", hr),
        index=rates.bytes("index", hr),
        seconds=rates.seconds("read", "reread" if kept else "make", "tar"),
        at_once=BLOCK if kept else making.size,
        sheet=sheet_bytes(shown, grid),
        start=rates.start,
    )
    for one in tars:
        add_tars(total, one, each, out, len(grid))
    total.bytes_spread = float(np.hypot(found.spread, rates.bytes_spread("tar")))
    if recipe.keep == "none":
        total.goes = ("hr", "latents", "ledgers")
    return total.done()


def _store_of(recipe: RunRecipe, overwrite: bool) -> Path:
    """Where the store of a run is, or is not yet."""
    if recipe.keep != "none":
        return place_of(recipe.store)
    _, is_begun = begun_before(recipe, overwrite)
    return place_of(recipe.out) / WORK if is_begun else NO_STORE


def _parts_so_far(
    store: Store, out: Path, settings: ShardSettings, grid: Grid, made: dict[int, Made] | None
) -> list[Part]:
    """The tars of the patches that are there. Which photos that are to come are set apart is not
    known before they are read: they count as if none were, and that changes no size.
    """
    if not store.units:
        settings = dc_replace(settings, validate="")  # whose names no photo has yet
    return parts_of(store, out, settings, grid, {}, made)
