"""run and demo: the three stages one after the other."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from degflow_pipe import defaults, files, folders
from degflow_pipe.degflow import DegFlow
from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.levels import Grid
from degflow_pipe.photos import read_photo
from degflow_pipe.pictures import middle, to_picture, to_tensor
from degflow_pipe.progress import Progress
from degflow_pipe.shards.pictures import parse_format
from degflow_pipe.shards.sheet import label_bar, row_of
from degflow_pipe.stages.common import one_thread_each
from degflow_pipe.stages.generate import LevelMaker, generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.stages.recipe import IngestSettings, LevelSettings, RunRecipe
from degflow_pipe.stages.shard import KIND as SHARDS
from degflow_pipe.stages.shard import check_folder, shard
from degflow_pipe.store import Store

DEMO_PHOTOS = ("astronaut", "chelsea", "coffee")
WORK = ".degflow.zarr"
"""The store in the output of a run that keeps none; WORK.json says what it was begun with."""
DEMO_GRID = "0.1:1.0:0.1"
PREVIEW_SIDE = 256


def run(
    recipe: RunRecipe,
    model: DegFlow,
    *,
    batch: int = defaults.BATCH,
    workers: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Ingest, generate and shard as a recipe says; returns the summaries by stage.

    Where levels are not kept, `generate` has none: `shard` makes them. With `keep: none` the store
    lies within the output until the shards are whole, and the recipe's own is not touched.
    """
    if not recipe.photos:
        raise UsageError("no photos: name them on the command line or under `photos` in the recipe")
    assert model.info is not None
    grid = recipe.generate.grid(model.info)
    out = Path(recipe.out)
    folders.check_ours(out, SHARDS)
    check_folder(out, recipe.shard)
    if recipe.keep == "none":
        folders.claim(out, SHARDS)  # the store lies in it
    store = _work_store(recipe, overwrite) if recipe.keep == "none" else Path(recipe.store)
    first = ingest(
        recipe.photos,
        store,
        model,
        patch=recipe.ingest.patch,
        stride=recipe.ingest.stride,
        min_detail=recipe.ingest.min_detail,
        strict=recipe.ingest.strict,
        max_pixels=recipe.ingest.max_pixels,
        batch=batch,
        workers=workers,
        progress=progress,
    )
    summary = {"ingest": first.to_dict()}
    levels = recipe.generate
    name = maker = None
    if recipe.keep == "levels":
        second = generate(
            store,
            model,
            grid,
            noise=levels.noise,
            seed=levels.seed,
            batch=batch,
            workers=workers,
            progress=progress,
        )
        summary["generate"], name = second.to_dict(), second.grid
    else:
        maker = LevelMaker(Store.open(store), model, grid, levels.noise, levels.seed, batch)
    with one_thread_each(model):
        third = shard(
            store,
            out,
            recipe.shard,
            grid=name,
            maker=maker,
            workers=workers,
            overwrite=overwrite,
            progress=progress,
        )
    if recipe.keep == "none":
        _remove(store)
    return {**summary, "shard": third.to_dict()}


def _work_store(recipe: RunRecipe, overwrite: bool) -> Path:
    """Where the store of a run that keeps none lies, empty unless this run was begun before.

    Raises ShardError where the folder's data set is finished and was made of other photos.
    """
    out = Path(recipe.out)
    store, mark = out / WORK, out / f"{WORK}.json"
    files.remove(_leaving(store))
    begun = {"photos": recipe.photos, "ingest": asdict(recipe.ingest)}
    if files.exists(mark) and files.read_json(mark) == begun:
        return store
    if files.exists(out / f"{recipe.shard.name}.json") and not overwrite:
        raise ShardError(
            f"{out} holds {recipe.shard.name} already, not made by this run with --keep none: give "
            f"another folder with --out, or --overwrite"
        )
    _remove(store)
    files.write_json(mark, begun)
    return store


def _remove(store: Path) -> None:
    """Drop a store; one that is cut off in it does not look like a damaged one."""
    if files.exists(store):
        with folders.locked(store):  # another process may be at it
            leaving = files.renamed(store, _leaving(store).name)
        files.remove(leaving)


def _leaving(store: Path) -> Path:
    return files.aside(store)


def demo(
    out: Path, model: DegFlow, *, workers: int = 0, progress: Progress | None = None
) -> dict[str, Any]:
    """The whole pipeline on photos that scikit-image ships: store, shards and a strip in `out`.

    Raises UsageError where scikit-image is not installed.
    """
    try:
        from skimage import data
    except ImportError as error:
        raise UsageError(
            "the demo's photos come from scikit-image: pip install 'degflow-pipe[demo]'"
        ) from error
    folders.claim(out, "demo")
    photos = out / "photos"
    for name in DEMO_PHOTOS:
        path = photos / f"{name}.png"
        if not files.exists(path):
            files.write_bytes(path, parse_format("png").encode(np.asarray(getattr(data, name)())))
    recipe = RunRecipe(
        photos=[str(photos)],
        store=str(out / "degflow.zarr"),
        out=str(out / "shards"),
        ingest=IngestSettings(),
        generate=LevelSettings(t_grid=DEMO_GRID),
    )
    summary = run(recipe, model, workers=workers, progress=progress)
    assert model.info is not None
    grid = LevelSettings(t_grid=defaults.PREVIEW_T_GRID).grid(model.info)
    strip = out / "strip.png"
    preview(photos / f"{DEMO_PHOTOS[0]}.png", strip, model, grid, overwrite=True)
    return {**summary, "strip": str(strip)}


def preview(
    photo: Path,
    out: Path,
    model: DegFlow,
    grid: Grid,
    side: int = PREVIEW_SIDE,
    noise: str = "auto",
    seed: int = 0,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """One picture of the middle of a photo: HR and the grid's levels side by side.

    Raises PhotoError for a photo that cannot be read, UsageError for a side below 16, or where
    there is a file of that name that is not to be overwritten.
    """
    if files.exists(out) and not overwrite:
        raise UsageError(f"{out} is there already: give another name with --out, or --overwrite")
    if side < 16:
        raise UsageError(f"--side must be 16 pixels at least, got {side}")
    hr = middle(read_photo(photo).pixels, side)
    with one_thread_each(model):
        levels = to_picture(model.degrade(to_tensor(hr), grid.t, noise, seed)[0])
    labels = ["HR", *(f"t = {t:g}" for t in grid.t)]
    strip = np.concatenate([label_bar(labels, side), row_of([hr, *levels], side)])
    files.write_bytes(out, parse_format("png").encode(strip))
    return {"strip": str(out), "t": grid.t, "evaluations": model.evaluations}
