"""align and target."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from degflow_pipe.cli import options as o
from degflow_pipe.cli import panels
from degflow_pipe.cli.aligned import show_aligned, show_checked
from degflow_pipe.cli.asked import data_of_recipe, stated
from degflow_pipe.cli.bars import TerminalProgress
from degflow_pipe.cli.output import show, unlock
from degflow_pipe.cli.words import Command
from degflow_pipe.errors import UsageError

MAKING = ("out", "target", "max_shift", "least", "most", "pause", "overwrite")
"""Options of `align` that say how pairs are made."""


def register(app: typer.Typer) -> None:
    app.command(cls=Command, rich_help_panel=panels.CAMERA)(align)
    app.command(cls=Command, rich_help_panel=panels.CAMERA)(target)


def align(
    context: typer.Context,
    shots: Annotated[
        Path,
        typer.Argument(
            help="A folder with a folder a scene, or with shots named by scene.", parser=o.path
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write to.", parser=o.path)
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Change nothing: measure what misalignment is left in a folder of pairs.",
        ),
    ] = False,
    recipe: Annotated[
        str | None,
        typer.Option("--recipe", help="With --check: training recipe that says where pairs lie."),
    ] = None,
    target: Annotated[
        bool,
        typer.Option(
            "--target", help="The shots show sheets of `degflow-pipe target`: go by their markers."
        ),
    ] = False,
    max_shift: Annotated[
        float,
        typer.Option(help="Pixels of HR that a part may lie off after all; else it is left out."),
    ] = 0.5,
    least: Annotated[int, typer.Option(min=64, help="Pixels of a pair's shorter side.")] = 256,
    most: Annotated[int, typer.Option(min=1, help="Pairs of one scene, at most.")] = 8,
    pause: Annotated[
        float,
        typer.Option(help="Seconds without a shot that begin another scene, in a flat folder."),
    ] = 60.0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make scenes again whose shots or settings changed.")
    ] = False,
    max_pixels: o.MaxPixels = o.MAX_PIXELS,
    workers: o.Workers = 0,
    break_lock: o.BreakLock = False,
    json: o.Json = False,
) -> None:
    """Bring shots of scenes at several zooms onto the grid of the closest: pairs to train on."""
    unlock(break_lock, out)
    if check:
        if made := stated(context, *MAKING):
            said = ", ".join(f"`{name}`" for name in made)
            raise UsageError(f"`check` makes no pairs and writes nothing: leave out {said}")
        _check(shots, recipe, max_pixels, workers, json)
        return
    if recipe is not None:
        raise UsageError("`recipe` says where pairs lie: it goes with `check` alone")
    if out is None:
        raise UsageError("`out` is needed: a folder for the pairs")
    from degflow_pipe.stages.align import align as stage
    from degflow_pipe.stages.align_scene import AlignSettings

    summary = stage(
        shots,
        out,
        AlignSettings(max_shift, least, most, target),
        pause=pause,
        overwrite=overwrite,
        max_pixels=max_pixels,
        workers=workers,
        progress=TerminalProgress(),
    )
    show_aligned(summary, json)


def _check(pairs: Path, recipe: str | None, max_pixels: int, workers: int, json: bool) -> None:
    from degflow_pipe.stages.align_check import check_pairs

    found = check_pairs(
        pairs,
        data=data_of_recipe(recipe),
        max_pixels=max_pixels,
        workers=workers,
        progress=TerminalProgress(),
    )
    show_checked(found, json)


def target(
    photos: o.Photos,
    out: o.Out,
    size: Annotated[
        str,
        typer.Option(help="a4, a3 or letter, or the pixels of a screen, such as 3840x2160."),
    ] = "a4",
    dpi: Annotated[int, typer.Option(min=72, max=1200, help="Of paper.")] = 300,
    per_sheet: Annotated[int, typer.Option(help="Photos of a sheet: 1, 2, 4, 6 or 9.")] = 4,
    max_pixels: o.MaxPixels = o.MAX_PIXELS,
    break_lock: o.BreakLock = False,
    json: o.Json = False,
) -> None:
    """Write photos as sheets with markers, to print or show on a screen, for `align --target`."""
    unlock(break_lock, out)
    from degflow_pipe.stages.target import target as stage

    summary = stage(
        photos,
        out,
        size=size,
        dpi=dpi,
        per_sheet=per_sheet,
        max_pixels=max_pixels,
        progress=TerminalProgress(),
    )
    show(summary, json, "target")
