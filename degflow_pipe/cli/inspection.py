"""inspect, info, verify and report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from degflow_pipe.cli import options as o
from degflow_pipe.cli import panels
from degflow_pipe.cli.bars import TerminalProgress, loading
from degflow_pipe.cli.contents import show_contents
from degflow_pipe.cli.output import complain, unlock
from degflow_pipe.cli.summaries import show_reported, show_verified
from degflow_pipe.cli.tables import show_inspected
from degflow_pipe.cli.words import Command
from degflow_pipe.errors import UsageError
from degflow_pipe.places import place_of
from degflow_pipe.quality import SUGGESTED, Limits

if TYPE_CHECKING:
    from degflow_pipe.exports.contents import ExportContents
    from degflow_pipe.stages.inspection import Verified

What = Annotated[
    str, typer.Argument(help="A store, a shard folder, or a checkpoint (or its name).")
]


def register(app: typer.Typer) -> None:
    app.command(cls=Command, rich_help_panel=panels.LOOK)(inspect)
    app.command(cls=Command, rich_help_panel=panels.LOOK)(info)
    app.command(cls=Command, rich_help_panel=panels.LOOK)(verify)
    app.command(cls=Command, rich_help_panel=panels.LOOK)(report)


def _export(place: Path) -> ExportContents | None:
    """What an export is; None for anything else, for which the trainers are not loaded."""
    from degflow_pipe.exports.owned import is_export

    if not is_export(place):
        return None
    from degflow_pipe.exports.contents import ExportContents

    return ExportContents.of(place)


def _refuse_export(place: Path) -> None:
    """Raises UsageError for an export, of whose pictures no sums are kept."""
    if export := _export(place):
        to = export.trainer
        command = f"degflow-pipe doctor {shlex.quote(str(place))} --to {to}"
        raise UsageError(
            f"{place} is an export: `{command}` holds it against what was written and the "
            f"trainer's rules"
        )


def _place(path: str) -> Path:
    from degflow_pipe.checkpoint.folder import find_checkpoint
    from degflow_pipe.shipped import names

    return find_checkpoint(path) if path in names("checkpoints") else place_of(path)


def _repaired(
    path: Path, checkpoint: str | None, store: Path | None, device: str, how: dict[str, Any]
) -> Verified:
    with loading():
        from degflow_pipe.cameras.bank import Bank
        from degflow_pipe.stages.meant import checkpoint_of
        from degflow_pipe.stages.repair import repair
    from degflow_pipe.stages.verify import STORE, kind_of

    def model() -> Bank:
        return Bank.find(checkpoint or checkpoint_of(path), device)

    return repair(path, model=model if kind_of(path) == STORE else None, store=store, **how)


def inspect(
    photos: o.Photos,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="Picture of both ends to write (PNG).", parser=o.path),
    ] = Path("sheet.png"),
    min_sharpness: o.MinSharpness = SUGGESTED.min_sharpness,
    max_blockiness: o.MaxBlockiness = SUGGESTED.max_blockiness,
    max_clipped: o.MaxClipped = SUGGESTED.max_clipped,
    max_noise: o.MaxNoise = SUGGESTED.max_noise,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a picture of that name.")
    ] = False,
    max_pixels: o.MaxPixels = o.MAX_PIXELS,
    engine: o.Engine = "threads",
    workers: o.Workers = 0,
    json: o.Json = False,
) -> None:
    """How good photos are as HR, to choose the limits of `ingest` by eye: histograms of sharpness,
    JPEG blocks, clipping and noise, and a picture of the photos at both ends. Nothing is left out.
    """
    from degflow_pipe.engines.engine import engine_of
    from degflow_pipe.stages.inspect import inspect as stage

    found = stage(
        photos,
        out,
        limits=Limits(min_sharpness, max_blockiness, max_clipped, max_noise),
        overwrite=overwrite,
        max_pixels=max_pixels,
        workers=workers,
        progress=TerminalProgress(),
        engine=engine_of(engine),
    )
    show_inspected(found, json)


def info(
    path: Annotated[
        str,
        typer.Argument(help="A store, a shard folder, an export, or a checkpoint (or its name)."),
    ],
    json: o.Json = False,
) -> None:
    """What a store, shards, an export or a checkpoint are, how they were made, what comes next."""
    from degflow_pipe.stages.verify import info as stage

    place = _place(path)
    show_contents(_export(place) or stage(place), json, path)


def verify(
    path: What,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Make again what is damaged: latents and levels of a store by --checkpoint, tars "
            "of shards from --store. Nothing else is touched; what is left says what to do.",
        ),
    ] = False,
    checkpoint: o.StoreCheckpoint = None,
    store: Annotated[
        Path | None,
        typer.Option("--store", help="That damaged tars are made of again.", parser=o.path),
    ] = None,
    device: o.Device = "auto",
    workers: o.Workers = 0,
    break_lock: o.BreakLock = False,
    json: o.Json = False,
) -> None:
    """Read all of it and hold it against its sums; exits 1 where it is damaged."""
    unlock(break_lock, place_of(path))
    from degflow_pipe.stages.verify import verify as stage

    place = _place(path)
    _refuse_export(place)
    how: dict[str, Any] = {"workers": workers, "progress": TerminalProgress()}
    if repair:
        found = _repaired(place, checkpoint, store, device, how)
    elif checkpoint is not None or store is not None:
        raise UsageError("--checkpoint and --store are for --repair")
    else:
        found = stage(place, **how)
    show_verified(found, path, json)
    if not found.whole:
        mends = {"store": "", "shards": " --store STORE"}
        hint = ""
        if not repair and found.kind in mends:
            words = f"degflow-pipe verify {shlex.quote(path)} --repair{mends[found.kind]}"
            hint = f"; `{words}` mends what it can"
        elif repair and found.kind == "shards" and store is None:
            hint = "; damaged tars are made again of their store: give it as --store"
        complain(f"{path} is not whole{hint}")
        raise typer.Exit(1)


def report(
    path: Annotated[
        str,
        typer.Argument(
            help="A store, a shard folder, a checkpoint (or its name), or what `evaluate`, `proxy` "
            "or `align` wrote."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Page to write; NAME-report.html by default.", parser=o.path
        ),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(
            help="The levels of a store that are shown; those of most patches by default."
        ),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            help="Folder of real pairs: their held-out scenes beside what a checkpoint generates.",
            parser=o.path,
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            help="File that --events of `ingest`, `generate` or `shard` wrote: the time that a "
            "store or shards took.",
            parser=o.path,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a page of that name.")
    ] = False,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """One HTML page to look at: verdict, pictures, curves, where it comes from. It needs nothing
    else, and no network.
    """
    from degflow_pipe.reports.report import report as stage

    place = _place(path)
    _refuse_export(place)
    found = stage(
        place,
        Path(f"{place.name or 'here'}-report.html") if out is None else out,
        grid=grid,
        pairs=pairs,
        events=events,
        overwrite=overwrite,
        device=device,
        progress=TerminalProgress(),
    )
    show_reported(found, json)
