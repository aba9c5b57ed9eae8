"""simulate."""

from __future__ import annotations

from typing import Annotated

import typer

from degflow_pipe import choices
from degflow_pipe.cli import options as o
from degflow_pipe.cli import panels
from degflow_pipe.cli.bars import TerminalProgress
from degflow_pipe.cli.output import show, unlock
from degflow_pipe.cli.words import Command


def register(app: typer.Typer) -> None:
    app.command(cls=Command, rich_help_panel=panels.PHOTOS)(simulate)


def simulate(
    photos: Annotated[
        list[str], typer.Argument(help="HR photos: files, folders, globs, 64 pixels at scale 4.")
    ],
    out: o.Out,
    scales: Annotated[str, typer.Option(help="SR scales above 1, in tenths: 1.5,2,2.9.")] = "2,3,4",
    layout: Annotated[
        choices.SimulatedLayout,
        typer.Option(
            help="realsr-v2 (a folder per whole scale, with HR and LR) or interflow (scale_1.0 "
            "with HR, scale_2.1 and so on with LR)."
        ),
    ] = "realsr-v2",
    camera: Annotated[
        str, typer.Option(help="Name in folders and files; begins with Simulated.")
    ] = "Simulated",
    test_every: Annotated[
        int, typer.Option(min=0, help="Every so many photos one goes to Test; 0: none.")
    ] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Another one gives other noise.")] = 0,
    max_pixels: o.MaxPixels = o.SIMULATED_PIXELS,
    workers: o.Workers = 0,
    break_lock: o.BreakLock = False,
    json: o.Json = False,
) -> None:
    """Write photos as aligned HR and LR of a SIMULATED zoom camera, for tests and calibration."""
    unlock(break_lock, out)
    from degflow_pipe.simulation.dataset import SimulationSettings, parse_scales
    from degflow_pipe.simulation.dataset import simulate as stage

    settings = SimulationSettings(parse_scales(scales), layout, camera, test_every, seed)
    summary = stage(
        photos,
        out,
        settings,
        max_pixels=max_pixels,
        workers=workers,
        progress=TerminalProgress(),
    )
    show(summary, json, "simulate")
