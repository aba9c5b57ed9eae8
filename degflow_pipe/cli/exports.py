"""export and doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from degflow_pipe import choices
from degflow_pipe.cli import options as o
from degflow_pipe.cli import panels
from degflow_pipe.cli.bars import TRYING, TerminalProgress, loading
from degflow_pipe.cli.output import complain, unlock
from degflow_pipe.cli.summaries import show_diagnosis, show_exported
from degflow_pipe.cli.tables import show_estimate
from degflow_pipe.cli.words import Command

To = Annotated[
    choices.TrainerName,
    typer.Option(
        "--to",
        "--trainer",
        case_sensitive=False,
        help="The trainer; those of LMDB are for many pairs.",
    ),
]


def register(app: typer.Typer) -> None:
    app.command(cls=Command, rich_help_panel=panels.TRAINER)(export)
    app.command(cls=Command, rich_help_panel=panels.TRAINER)(doctor)


def export(
    shards: Annotated[Path, typer.Argument(help="Folder of finished shards.", parser=o.path)],
    to: To,
    out: o.Out,
    scale: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="HR over LR, for trainers of one scale; by default that of the shards' pictures, "
            "1 where LR is as large as HR.",
        ),
    ] = None,
    t_grid: Annotated[
        str | None,
        typer.Option("--t-grid", help="Only these levels, 0.2,0.55, or SR scales, x2,x3,x4."),
    ] = None,
    relative: Annotated[
        bool,
        typer.Option(
            "--relative", help="Paths in the option file are relative to OUT, for moving it."
        ),
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an export that had other settings.")
    ] = False,
    workers: o.Workers = 0,
    break_lock: o.BreakLock = False,
    dry_run: o.DryRun = False,
    json: o.Json = False,
) -> None:
    """Write finished shards as an SR trainer reads them, with an option file for it."""
    with loading():
        from degflow_pipe.exports.export import export as stage
        from degflow_pipe.levels import AskedLevels, read_levels

    asked = AskedLevels() if t_grid is None else read_levels(t_grid)
    how: dict[str, Any] = {
        "scale": scale,
        "t": None if asked.t is None else [float(t) for t in asked.t],
        "scales": None if asked.scales is None else [float(s) for s in asked.scales],
        "workers": workers,
        "relative": relative,
        "overwrite": overwrite,
    }
    if dry_run:
        from degflow_pipe.exports.estimate import estimate_export

        with loading(TRYING):
            found = estimate_export(shards, to, out, **how)
        show_estimate(found, json)
        return
    unlock(break_lock, out)
    summary = stage(shards, to, out, progress=TerminalProgress(), **how)
    show_exported(summary, json)


def doctor(
    folder: Annotated[
        Path, typer.Argument(help="The folder that the trainer would read.", parser=o.path)
    ],
    to: To,
    sample: Annotated[
        int, typer.Option(min=0, help="Pairs whose pixels are read and compared; 0: all.")
    ] = 2000,
    options: Annotated[
        Path | None,
        typer.Option(
            help="The trainer's option file; by default the one that export writes.", parser=o.path
        ),
    ] = None,
    workers: o.Workers = 0,
    json: o.Json = False,
) -> None:
    """Pair up a folder by a trainer's own rules; exits 1 where it would refuse or mispair it."""
    with loading():
        from degflow_pipe.exports.doctor import doctor as stage

    found = stage(
        folder, to, sample=sample, options=options, workers=workers, progress=TerminalProgress()
    )
    show_diagnosis(found, json)
    if not found.fine:
        complain(f"{folder} is not fit for {to}: {', '.join(found.findings)}")
        raise typer.Exit(1)
