"""grid delete and grid merge."""

from __future__ import annotations

from typing import Annotated

import typer

from degflow_pipe.cli import options as o
from degflow_pipe.cli import panels
from degflow_pipe.cli.bars import TerminalProgress
from degflow_pipe.cli.output import unlock
from degflow_pipe.cli.plain import PlainGroup
from degflow_pipe.cli.summaries import show_grid
from degflow_pipe.cli.words import Command

Name = Annotated[str, typer.Argument(help="A grid's name (see `info`), or what it was called.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        name="grid",
        cls=PlainGroup,
        help="Grids of levels in a store; `info` lists them.",
        no_args_is_help=True,
    )
    group.command("delete", cls=Command)(delete)
    group.command("merge", cls=Command)(merge)
    app.add_typer(group, rich_help_panel=panels.STORE)


def delete(
    name: Name,
    store: o.StorePath = o.STORE,
    break_lock: o.BreakLock = False,
    json: o.Json = False,
) -> None:
    """Take a grid and its levels out of a store."""
    from degflow_pipe.stages.grids import delete_grid

    unlock(break_lock, store)
    show_grid(delete_grid(name, store), json, made=False)


def merge(
    names: Annotated[list[str], typer.Argument(help="Grids that differ in their levels alone.")],
    store: o.StorePath = o.STORE,
    name: Annotated[str, typer.Option(help="What the merged grid is called.")] = "",
    break_lock: o.BreakLock = False,
    json: o.Json = False,
) -> None:
    """One grid with the levels of several, which stay beside it."""
    from degflow_pipe.stages.grids import merge_grids

    unlock(break_lock, store)
    summary = merge_grids(names, store, title=name, progress=TerminalProgress())
    show_grid(summary, json, made=True)
