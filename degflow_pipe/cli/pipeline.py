"""ingest, remove, generate, shard, run, demo, preview and degrade."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from degflow_pipe import choices, defaults
from degflow_pipe.cli import options as o
from degflow_pipe.cli import panels
from degflow_pipe.cli.asked import grid_of
from degflow_pipe.cli.bars import TRYING, TerminalProgress, loading
from degflow_pipe.cli.output import unlock, warn_of
from degflow_pipe.cli.summaries import (
    show_degraded,
    show_demo,
    show_generate,
    show_ingest,
    show_removed,
    show_run,
    show_shard,
    show_strip,
)
from degflow_pipe.cli.tables import show_estimate
from degflow_pipe.cli.words import Command
from degflow_pipe.errors import UsageError
from degflow_pipe.places import place_of, text_of
from degflow_pipe.watching import Watch

if TYPE_CHECKING:
    from degflow_pipe.cameras.bank import Bank
    from degflow_pipe.checkpoint.degflow import DegFlow


def register(app: typer.Typer) -> None:
    of_panel = {
        panels.MAKE: (ingest, generate, shard, run, demo),
        panels.LOOK: (preview,),
        panels.STORE: (remove,),
        panels.PHOTOS: (degrade,),
    }
    for panel, commands in of_panel.items():
        for command in commands:
            app.command(cls=Command, rich_help_panel=panel)(command)


def _load(checkpoint: str, device: str, precision: str = "auto") -> DegFlow:
    with loading(f"loading {checkpoint}"):
        from degflow_pipe.checkpoint.degflow import DegFlow

        return DegFlow.load(checkpoint, device, precision)


def _bank(checkpoint: str, device: str, precision: str = "auto") -> Bank:
    with loading(f"loading {checkpoint}"):
        from degflow_pipe.cameras.bank import Bank

        return Bank.find(checkpoint, device, precision)


def ingest(
    photos: Annotated[
        list[str],
        typer.Argument(
            help="Photos: files, folders, globs, tars, Parquet files; those in the store are left."
        ),
    ],
    store: o.StorePath = o.STORE,
    checkpoint: o.StoreCheckpoint = None,
    patch: o.StorePatch = None,
    stride: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pixels from patch to patch, the patch by default; the last of a row or column is "
            "pulled in to the border, and left out where it would be less than a quarter of the "
            "stride (or of the patch) from the one before.",
        ),
    ] = None,
    min_detail: Annotated[
        float,
        typer.Option(
            min=0,
            help="Drop repeated patches, and those whose mean difference between neighbouring "
            "pixels is below this many grey levels; 0 keeps all.",
        ),
    ] = defaults.MIN_DETAIL,
    min_sharpness: o.MinSharpness = None,
    max_blockiness: o.MaxBlockiness = None,
    max_clipped: o.MaxClipped = None,
    max_noise: o.MaxNoise = None,
    strict: Annotated[bool, typer.Option("--strict", help="A bad photo is an error.")] = False,
    max_pixels: o.MaxPixels = o.MAX_PIXELS,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace",
            help="Drop the photo of the same name that the store holds, and crop anew what was "
            "cropped with other settings.",
        ),
    ] = False,
    device: o.Device = "auto",
    batch: o.Batch = defaults.BATCH,
    engine: o.Engine = "threads",
    num_gpus: o.NumGpus = None,
    workers: o.Workers = 0,
    break_lock: o.BreakLock = False,
    events: o.Events = None,
    dry_run: o.DryRun = False,
    json: o.Json = False,
) -> None:
    """Crop photos into HR patches, encode their latents, and append both to the store."""
    from degflow_pipe.engines.engine import engine_of
    from degflow_pipe.stages.ingest import ingest as stage
    from degflow_pipe.stages.meant import checkpoint_of, patch_of

    checkpoint = checkpoint or checkpoint_of(store)
    bank = _bank(checkpoint, device)
    warn_of(*bank.sites)
    asked: dict[str, Any] = {
        "patch": patch_of(store) if patch is None else patch,
        "stride": stride,
        "min_detail": min_detail,
        "min_sharpness": min_sharpness,
        "max_blockiness": max_blockiness,
        "max_clipped": max_clipped,
        "max_noise": max_noise,
        "strict": strict,
        "max_pixels": max_pixels,
        "replace": replace,
        "batch": batch,
        "workers": workers,
        "engine": engine_of(engine, num_gpus),
    }
    if dry_run:
        from degflow_pipe.stages.estimate import estimate_ingest

        with loading(TRYING):
            found = estimate_ingest(photos, store, bank, **asked)
        show_estimate(found, json)
        return
    unlock(break_lock, store)
    with Watch(events) as watch:
        summary = stage(photos, store, bank, progress=TerminalProgress(), watch=watch, **asked)
    show_ingest(summary, bank.first.device, checkpoint, json)


def remove(
    names: Annotated[
        list[str], typer.Argument(help="Photos, by the names that they have in the store.")
    ],
    store: o.StorePath = o.STORE,
    break_lock: o.BreakLock = False,
    json: o.Json = False,
) -> None:
    """Take photos out of a store, with their patches, latents and levels."""
    from degflow_pipe.stages.remove import remove as stage

    unlock(break_lock, store)
    show_removed(stage(names, store, progress=TerminalProgress()), json)


def generate(
    t_grid: o.TGrid = None,
    sr_scale: o.SRScale = 0,
    draws: o.Draws = 1,
    noise: o.Noise = "auto",
    seed: o.Seed = 0,
    name: Annotated[
        str | None, typer.Option(help="What the grid is called, for `shard --grid`.")
    ] = None,
    store: o.StorePath = o.STORE,
    checkpoint: o.StoreCheckpoint = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    batch: o.Batch = defaults.BATCH,
    engine: o.Engine = "threads",
    num_gpus: o.NumGpus = None,
    workers: o.Workers = 0,
    break_lock: o.BreakLock = False,
    events: o.Events = None,
    dry_run: o.DryRun = False,
    json: o.Json = False,
) -> None:
    """Make the LR of every patch at every level (by default those that the store has of earlier
    patches, else --t-grid 0.1:1.0:0.05).
    """
    from degflow_pipe.engines.engine import engine_of
    from degflow_pipe.stages.generate import generate as stage
    from degflow_pipe.stages.meant import checkpoint_of, levels_of

    chosen = checkpoint or checkpoint_of(store)
    meant = levels_of(store) if t_grid is None and not sr_scale and draws == 1 else None
    if meant is None:
        grid = grid_of(chosen, t_grid, sr_scale)
    else:
        grid, sr_scale = meant.grid, meant.sr_scale
        if noise == "auto" and seed == 0:
            noise, seed = cast("choices.Noise", meant.noise), meant.seed
    bank = _bank(chosen, device, precision)
    warn_of(*bank.sites)
    asked: dict[str, Any] = {
        "noise": noise,
        "seed": seed,
        "sr_scale": sr_scale,
        "draws": draws,
        "name": name or "",
        "batch": batch,
        "workers": workers,
        "engine": engine_of(engine, num_gpus),
    }
    if dry_run:
        from degflow_pipe.stages.estimate import estimate_generate

        with loading(TRYING):
            found = estimate_generate(store, bank, grid, **asked)
        show_estimate(found, json)
        return
    unlock(break_lock, store)
    with Watch(events) as watch:
        summary = stage(store, bank, grid, progress=TerminalProgress(), watch=watch, **asked)
    show_generate(summary, bank.first.device, json)


def shard(
    store: o.StorePath = o.STORE,
    out: o.Out = o.SHARDS,
    grid: Annotated[
        str | None,
        typer.Option(help="Which grid, where the store holds several (see `info`)."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the data set, and head of its files.")] = (
        "degflow"
    ),
    shard_size: Annotated[int, typer.Option(min=1, help="Samples in a tar.")] = 1000,
    layout: Annotated[
        choices.Layout,
        typer.Option(help="A sample is one pair, or (grouped) a patch with all its levels."),
    ] = "pairs",
    lr_size: Annotated[
        choices.LRSize, typer.Option(help="LR as large as HR, or (native) shrunk to HR / scale.")
    ] = "same",
    uneven: Annotated[
        choices.Uneven, typer.Option(help="Where HR / scale is not whole: refuse, or crop HR.")
    ] = "refuse",
    picture_format: o.Format = "png",
    validate: Annotated[
        str | None,
        typer.Option(
            help="Photos to set apart, into a folder validate: a share such as 5%, names with "
            "commas between them, or a .txt file that names one a line."
        ),
    ] = None,
    hr_format: Annotated[
        str | None,
        typer.Option(help="Of HR; by default as LR where that is lossless, else png."),
    ] = None,
    chain: Annotated[
        str | None,
        typer.Option(
            help="What happens to LR after the camera: web, phone-jpeg, or a YAML file of steps."
        ),
    ] = None,
    chain_seed: Annotated[
        int, typer.Option(min=0, help="Another one draws the chain's steps otherwise.")
    ] = 0,
    overwrite: o.Overwrite = False,
    engine: o.Engine = "threads",
    num_gpus: o.NumGpus = None,
    workers: o.Workers = 0,
    break_lock: o.BreakLock = False,
    events: o.Events = None,
    dry_run: o.DryRun = False,
    json: o.Json = False,
) -> None:
    """Write the pairs as WebDataset tars, with an index, sums and a data set card."""
    from degflow_pipe.chains.chain import load_chain
    from degflow_pipe.engines.engine import engine_of
    from degflow_pipe.shards.layout import VALIDATE, ShardSettings
    from degflow_pipe.stages.shard import shard as stage

    settings = ShardSettings(
        name=name,
        shard_size=shard_size,
        layout=layout,
        lr_size=lr_size,
        uneven=uneven,
        picture_format=picture_format,
        hr_format=hr_format,
        chain=None if chain is None else load_chain(chain),
        chain_seed=chain_seed,
        validate=validate or "",
    )
    asked: dict[str, Any] = {
        "grid": grid,
        "workers": workers,
        "overwrite": overwrite,
        "engine": engine_of(engine, num_gpus),
    }
    if dry_run:
        from degflow_pipe.stages.estimate import estimate_shard

        with loading(TRYING):
            found = estimate_shard(store, out, settings, **asked)
        show_estimate(found, json)
        return
    unlock(break_lock, out, out / VALIDATE)
    with Watch(events) as watch:
        summary = stage(store, out, settings, progress=TerminalProgress(), watch=watch, **asked)
    show_shard(summary, json)


def run(
    recipe: Annotated[str, typer.Argument(help="Recipe: a YAML file, or a shipped one's name.")],
    photos: Annotated[
        list[str] | None,
        typer.Argument(help="Photos, in place of the recipe's."),
    ] = None,
    store: Annotated[
        Path | None,
        typer.Option(help="The store, a zarr folder, in place of the recipe's.", parser=o.path),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder of the shards, in place of the recipe's.", parser=o.path
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(help="Checkpoint folder or shipped name, in place of the recipe's."),
    ] = None,
    t_grid: o.TGrid = None,
    sr_scale: Annotated[
        float | None,
        typer.Option("--sr-scale", help=f"{o.SR_SCALE_HELP} In place of the recipe's."),
    ] = None,
    keep: Annotated[
        choices.Keep | None,
        typer.Option(
            help="What to leave in the store, in place of the recipe's; with latents or none, "
            "levels go straight into the shards."
        ),
    ] = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    batch: o.Batch = defaults.BATCH,
    engine: Annotated[
        choices.Engine | None,
        typer.Option(help="threads, processes or ray, in place of the recipe's."),
    ] = None,
    num_gpus: o.NumGpus = None,
    workers: o.Workers = 0,
    overwrite: o.Overwrite = False,
    break_lock: o.BreakLock = False,
    events: o.Events = None,
    dry_run: o.DryRun = False,
    json: o.Json = False,
) -> None:
    """Ingest, generate and shard as one recipe says; options and photos go before the recipe's."""
    from degflow_pipe.recipes import load_recipe
    from degflow_pipe.shards.layout import VALIDATE
    from degflow_pipe.stages.recipe import run_recipe

    values = load_recipe(recipe, "run")
    given = {
        "photos": photos or None,
        "store": None if store is None else text_of(store),
        "out": None if out is None else text_of(out),
        "checkpoint": checkpoint,
        "keep": keep,
        "engine": engine,
        "num_gpus": num_gpus,
    }
    if engine not in (None, "ray"):
        values.pop("num_gpus", None)  # the recipe's, which is for Ray
    values |= {key: said for key, said in given.items() if said is not None}
    levels = values.get("generate") or {}
    if sr_scale is not None and t_grid is None and isinstance(levels, dict):
        # The recipe's levels were chosen for LR of another size.
        levels = {key: said for key, said in levels.items() if key != "t_grid"}
    for key, said in (("t_grid", t_grid), ("sr_scale", sr_scale)):
        if said is not None and isinstance(levels, dict):
            levels = values["generate"] = {**levels, key: said}
    settings = run_recipe(values)
    if store is not None and settings.keep == "none":
        raise UsageError("--store is for a run that keeps one: leave it out, or `keep` latents")
    from degflow_pipe.stages.run import WORK
    from degflow_pipe.stages.run import run as stage

    bank = _bank(settings.checkpoint, device, precision)
    warn_of(*bank.sites)
    asked: dict[str, Any] = {"batch": batch, "workers": workers, "overwrite": overwrite}
    if dry_run:
        from degflow_pipe.stages.estimate import estimate_run

        with loading(TRYING):
            found = estimate_run(settings, bank, **asked)
        show_estimate(found, json)
        return
    kept, made = map(place_of, (settings.store, settings.out))
    unlock(break_lock, kept, made, made / VALIDATE, made / WORK)
    with Watch(events) as watch:
        summary = stage(settings, bank, progress=TerminalProgress(), watch=watch, **asked)
    show_run(summary, bank.first.device, settings.keep != "none", json)


def demo(
    out: o.Out = Path("demo"),
    sr_scale: o.SRScale = 0,
    checkpoint: o.Checkpoint = o.CHECKPOINT,
    device: o.Device = "auto",
    workers: o.Workers = 0,
    json: o.Json = False,
) -> None:
    """The whole pipeline on photos that scikit-image ships."""
    with loading():
        from degflow_pipe.stages.demo import demo as stage

    summary = stage(
        out,
        _load(checkpoint, device),
        sr_scale=sr_scale,
        workers=workers,
        progress=TerminalProgress(),
    )
    show_demo(summary, f"--sr-scale {sr_scale:g}" if sr_scale else "", json)


def preview(
    photo: Annotated[Path, typer.Argument(help="One photo.", parser=o.path)],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Picture to write (PNG).", parser=o.path)
    ] = Path("strip.png"),
    t_grid: o.TGrid = None,
    sr_scale: o.SRScale = 0,
    noise: o.Noise = "auto",
    seed: o.Seed = 0,
    side: Annotated[int, typer.Option(min=16, help="Side of the piece shown, in pixels.")] = 256,
    at: Annotated[
        str | None, typer.Option("--at", help="X,Y of its middle, in pixels; the photo's own else.")
    ] = None,
    zoom: Annotated[
        int, typer.Option("--zoom", min=1, max=32, help="Show each pixel so many times, both ways.")
    ] = 1,
    real: Annotated[
        Path | None,
        typer.Option("--real", help="A real LR, as large, to show beside.", parser=o.path),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a picture of that name.")
    ] = False,
    checkpoint: o.Checkpoint = o.CHECKPOINT,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    json: o.Json = False,
) -> None:
    """HR and levels of a piece of one photo, side by side (by default t = 0.2 to 1.0)."""
    shown = defaults.PREVIEW_T_GRID if t_grid is None and not sr_scale else t_grid
    grid = grid_of(checkpoint, shown, sr_scale)
    with loading():
        from degflow_pipe.stages.preview import preview as stage

    model = _load(checkpoint, device, precision)
    how: dict[str, Any] = {
        "sr_scale": sr_scale,
        "at": o.pixel(at),
        "zoom": zoom,
        "real": real,
        "overwrite": overwrite,
    }
    strip = stage(photo, out, model, grid, side, noise, seed, **how)
    show_strip(strip, json)


def degrade(
    photos: o.Photos,
    out: o.Out = Path("lr"),
    t_grid: o.TGrid = None,
    sr_scale: o.SRScale = 0,
    noise: o.Noise = "auto",
    seed: o.Seed = 0,
    picture_format: o.Format = "png",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace LR that was made with other settings.")
    ] = False,
    max_pixels: o.MaxPixels = o.MAX_PIXELS,
    checkpoint: o.Checkpoint = o.CHECKPOINT,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    workers: o.Workers = 0,
    break_lock: o.BreakLock = False,
    json: o.Json = False,
) -> None:
    """LR of whole photos, of their size: PHOTO_t0500.png, or PHOTO_x2.png for --t-grid x2."""
    unlock(break_lock, out)
    with loading():
        from degflow_pipe.stages.degrade import degrade as stage

    model = _load(checkpoint, device, precision)
    warn_of(model)
    summary = stage(
        photos,
        out,
        model,
        grid_of(checkpoint, t_grid, sr_scale),
        noise=noise,
        seed=seed,
        sr_scale=sr_scale,
        picture_format=picture_format,
        overwrite=overwrite,
        max_pixels=max_pixels,
        workers=workers,
        progress=TerminalProgress(),
    )
    show_degraded(summary, json)
