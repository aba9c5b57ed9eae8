"""checkpoint import, checkpoint export and checkpoint tune-solver."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from degflow_pipe.cli import options as o
from degflow_pipe.cli.output import TerminalProgress, show

RAEFile = Annotated[Path, typer.Option("--rae", help="The authors' file of the autoencoder.")]
FlowFile = Annotated[Path, typer.Option("--flow", help="The authors' file of the velocity net.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        name="checkpoint",
        help="The authors' files, and how the flow is integrated.",
        no_args_is_help=True,
    )
    group.command("import")(import_)
    group.command("export")(export)
    group.command("tune-solver")(tune_solver)
    app.add_typer(group)


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
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder, or a shipped one's name.")],
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


def tune_solver(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder; its config.json changes.")],
    photos: Annotated[list[str], typer.Argument(help="Photos to compare on; 16 at most are used.")],
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Find the cheapest solver that 8-bit LR cannot tell from a solve at 1e-6, and keep it."""
    from degflow_pipe.calibration.tune_solver import tune_solver as tune

    found = tune(checkpoint, photos, device, TerminalProgress())
    show(found, json, "checkpoint tune-solver")
