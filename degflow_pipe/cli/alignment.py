"""align."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from degflow_pipe.cli import options as o
from degflow_pipe.cli.output import TerminalProgress, show
from degflow_pipe.cli.tables import show_checked
from degflow_pipe.cli.words import Command
from degflow_pipe.errors import UsageError


def register(app: typer.Typer) -> None:
    app.command(cls=Command)(align)


def align(
    shots: Annotated[
        Path,
        typer.Argument(help="A folder with a folder a scene, or with shots named by scene."),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder to write to.")] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Change nothing: measure what misalignment is left in a folder of pairs.",
        ),
    ] = False,
    max_shift: Annotated[
        float,
        typer.Option(help="Pixels of HR that a part may lie off after all; else it is left out."),
    ] = 0.5,
    least: Annotated[int, typer.Option(min=64, help="Pixels of a pair's shorter side.")] = 192,
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
    json: o.Json = False,
) -> None:
    """Bring shots of scenes at several zooms onto the grid of the closest: pairs to train on."""
    if check:
        from degflow_pipe.stages.align_check import check_pairs

        if out is not None:
            raise UsageError("`check` writes nothing: leave out `out`")
        show_checked(check_pairs(shots, workers=workers, progress=TerminalProgress()), json)
        return
    if out is None:
        raise UsageError("`out` is needed: a folder for the pairs")
    from degflow_pipe.stages.align import align as stage
    from degflow_pipe.stages.align_scene import AlignSettings

    summary = stage(
        shots,
        out,
        AlignSettings(max_shift, least, most),
        pause=pause,
        overwrite=overwrite,
        max_pixels=max_pixels,
        workers=workers,
        progress=TerminalProgress(),
    )
    show(summary, json, "align")
