"""calibrate, tune-solver, checkpoint import and checkpoint export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from degflow_pipe.cli import options as o
from degflow_pipe.cli import panels
from degflow_pipe.cli.asked import data_of_recipe
from degflow_pipe.cli.bars import TerminalProgress, loading
from degflow_pipe.cli.output import show
from degflow_pipe.cli.plain import PlainGroup
from degflow_pipe.cli.tables import show_calibrated
from degflow_pipe.cli.words import Command
from degflow_pipe.errors import UsageError

RAEFile = Annotated[
    Path, typer.Option("--rae", help="The authors' file of the autoencoder.", parser=o.path)
]
FlowFile = Annotated[
    Path, typer.Option("--flow", help="The authors' file of the velocity net.", parser=o.path)
]


Measured = Annotated[str, typer.Argument(help="Checkpoint folder; its config.json changes.")]


class _Group(PlainGroup):
    """Says where a command went that was in it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args[:1] == ["tune-solver"]:
            raise UsageError("checkpoint tune-solver is gone: write degflow-pipe tune-solver")
        return list(super().parse_args(ctx, args))


def register(app: typer.Typer) -> None:
    app.command(cls=Command, rich_help_panel=panels.CAMERA)(calibrate)
    app.command("tune-solver", cls=Command, rich_help_panel=panels.CAMERA)(tune_solver)
    group = typer.Typer(
        name="checkpoint",
        cls=_Group,
        help="The authors' files, into a checkpoint and out of one.",
        no_args_is_help=True,
    )
    group.command("import", cls=Command)(import_)
    group.command("export", cls=Command)(export)
    app.add_typer(group, rich_help_panel=panels.CAMERA)


def calibrate(
    checkpoint: Measured,
    pairs: o.Pairs,
    recipe: o.DataRecipe = None,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Measure which level is which scale, and the camera's noise, on the training pairs."""
    with loading():
        from degflow_pipe.calibration.calibrate import calibrate as stage
        from degflow_pipe.checkpoint.degflow import DegFlow
        from degflow_pipe.evaluation.evaluate import data_of

    data = data_of_recipe(recipe) or data_of(DegFlow.load(checkpoint, device))
    show_calibrated(stage(checkpoint, data, pairs, device, TerminalProgress()), json)


def tune_solver(
    checkpoint: Measured,
    photos: o.Photos,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Find the cheapest solver that 8-bit LR cannot tell from a solve at 1e-6, on 16 photos."""
    with loading():
        from degflow_pipe.calibration.tune_solver import tune_solver as stage

    found = stage(checkpoint, photos, device, TerminalProgress())
    show(found, json, "tune-solver")


def import_(
    rae: RAEFile,
    flow: FlowFile,
    out: o.Out,
    name: Annotated[str, typer.Option(help="Name of the checkpoint.")] = "published",
    s_max: Annotated[float, typer.Option(help="SR scale that t = 1 stands for.")] = 4.0,
    json: o.Json = False,
) -> None:
    """Make a checkpoint folder from the authors' two files; no code in them is run."""
    from degflow_pipe.checkpoint.published_files import import_published
    from degflow_pipe.checkpoint.results import Imported

    info = import_published(rae, flow, out, name=name, s_max=s_max)
    levels = {level["name"]: level["t"] for level in info.levels}
    show(Imported(str(out), info.id, info.model, levels, info.s_max), json, "checkpoint import")


def export(
    checkpoint: o.CheckpointArgument,
    rae: RAEFile,
    flow: FlowFile,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the two files.")] = False,
    json: o.Json = False,
) -> None:
    """Write a checkpoint as the two files that the authors' code loads."""
    from degflow_pipe.checkpoint.published_files import export_published
    from degflow_pipe.checkpoint.results import Exported

    info = export_published(checkpoint, rae, flow, overwrite=overwrite)
    show(Exported(info.id, str(rae), str(flow)), json, "checkpoint export")
