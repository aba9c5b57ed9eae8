"""bench."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from degflow_pipe import choices, defaults
from degflow_pipe.cli import options as o
from degflow_pipe.cli import panels
from degflow_pipe.cli.asked import grid_of
from degflow_pipe.cli.bars import TerminalProgress, loading
from degflow_pipe.cli.speed import show_bench
from degflow_pipe.cli.words import Command


def register(app: typer.Typer) -> None:
    app.command(cls=Command, rich_help_panel=panels.JUDGE)(bench)


def bench(
    photos: o.Photos,
    checkpoint: o.Checkpoint = o.CHECKPOINT,
    against: Annotated[
        str | None,
        typer.Option(help="Checkpoint of the published procedure; the same one by default."),
    ] = None,
    random: Annotated[
        choices.Preset | None,
        typer.Option(help="Random weights of this size, for both."),
    ] = None,
    patch: o.Patch = defaults.PATCH,
    patches: Annotated[int, typer.Option(min=1, help="Patches that ours makes, at most.")] = 128,
    compare: Annotated[
        int, typer.Option(min=1, help="Patches that the published procedure makes.")
    ] = 4,
    t_grid: o.TGrid = None,
    noise: o.Noise = "auto",
    keep: Annotated[choices.Keep, typer.Option(help="What the run leaves in the store.")] = "none",
    picture_format: o.Format = "png",
    engine: o.Engine = "threads",
    folder: Annotated[
        str | None,
        typer.Option(help="Also tell the time that these photos would take."),
    ] = None,
    device: o.Device = "auto",
    precision: o.Precision = "auto",
    batch: o.Batch = defaults.BATCH,
    workers: o.Workers = 0,
    json: o.Json = False,
) -> None:
    """Speed: ours, with and without noise, the published procedure, the device's limit and
    degradations made by hand, side by side in one run.
    """
    with loading():
        from degflow_pipe.bench.bench import bench as measure
        from degflow_pipe.bench.bench import random_checkpoint
        from degflow_pipe.bench.results import BenchSettings
        from degflow_pipe.checkpoint.degflow import DegFlow
    from degflow_pipe.errors import UsageError

    if random is not None and against is not None:
        raise UsageError("--random is for both procedures: leave --against out")
    asked = BenchSettings(patch, patches, compare, noise, keep, picture_format, engine, folder)
    with tempfile.TemporaryDirectory(prefix="degflow-bench-") as temporary:
        chosen = checkpoint if random is None else str(random_checkpoint(random, Path(temporary)))
        grid = grid_of(chosen, t_grid)
        result = measure(
            photos,
            DegFlow.load(chosen, device, precision),
            grid,
            asked,
            against=None if against is None else DegFlow.load(against, device),
            batch=batch,
            workers=workers,
            progress=TerminalProgress(),
        )
    show_bench(result, json)
