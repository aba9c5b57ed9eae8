"""info and verify."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from degflow_pipe.cli import options as o
from degflow_pipe.cli.output import TerminalProgress, complain, show
from degflow_pipe.cli.words import Command

What = Annotated[
    str, typer.Argument(help="A store, a shard folder, or a checkpoint (or its name).")
]


def register(app: typer.Typer) -> None:
    app.command(cls=Command)(info)
    app.command(cls=Command)(verify)


def _place(path: str) -> Path:
    from degflow_pipe.checkpoint.folder import find_checkpoint
    from degflow_pipe.shipped import names

    return find_checkpoint(path) if path in names("checkpoints") else Path(path)


def info(path: What, json: o.Json = False) -> None:
    """Say what a store, a shard folder or a checkpoint holds."""
    from degflow_pipe.stages.verify import info as stage

    show(stage(_place(path)), json, path)


def verify(path: What, workers: o.Workers = 0, json: o.Json = False) -> None:
    """Read all of it and hold it against its sums; exits 1 where it is damaged."""
    from degflow_pipe.stages.verify import verify as stage

    found = stage(_place(path), workers=workers, progress=TerminalProgress())
    show(found, json, path)
    if not found.whole:
        complain(f"{path} is damaged: {'; '.join(found.damage[:3])}")
        raise typer.Exit(1)
