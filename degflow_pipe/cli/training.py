"""train rae, train lfm and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from degflow_pipe import defaults
from degflow_pipe.cli import options as o
from degflow_pipe.cli.output import TerminalProgress, show

Recipe = Annotated[str, typer.Argument(help="Training recipe: YAML file or shipped one's name.")]
Data = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--data", help="Folder of the pairs, in place of the recipe's data.root."),
]
TrainOut = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--out", "-o", help="Folder to train in; training/NAME by default."),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        name="train", help="Train the two stages on real pairs.", no_args_is_help=True
    )
    group.command("rae")(rae)
    group.command("lfm")(lfm)
    app.add_typer(group)
    app.command()(evaluate)


def _read(recipe: str, data: Path | None, out: Path | None) -> tuple[Any, Path, Path]:
    from degflow_pipe.stages.recipe import load_recipe
    from degflow_pipe.training.recipe import train_recipe

    settings = train_recipe(load_recipe(recipe, "train"))
    return settings, data or Path(settings.data.root), out or Path("training") / settings.name


def rae(
    recipe: Recipe,
    data: Data = None,
    out: TrainOut = None,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Stage 1: train the autoencoder; goes on from what the folder holds."""
    settings, pairs, folder = _read(recipe, data, out)
    from degflow_pipe.training.stages import train_rae

    record = train_rae(settings, pairs, folder, device, TerminalProgress())
    show({"out": str(folder), "figures": record["figures"]}, json, "train rae")


def lfm(
    recipe: Recipe,
    data: Data = None,
    out: TrainOut = None,
    rae: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="Folder of `train rae`, where it is not --out."),
    ] = None,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Stage 2: train the velocity and write the checkpoint; goes on from what the folder holds."""
    settings, pairs, folder = _read(recipe, data, out)
    from degflow_pipe.training.stages import train_lfm

    info = train_lfm(settings, pairs, folder, rae, device, TerminalProgress())
    figures = info.training["lfm"]["figures"]
    show({"checkpoint": str(folder), "id": info.id, "figures": figures}, json, "train lfm")


def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder, or a shipped one's name.")],
    recipe: Annotated[
        str, typer.Option(help="Training recipe that names the levels and held-out scenes.")
    ] = "train-city100-compact",
    data: Data = None,
    t_grid: o.TGrid = defaults.T_GRID,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """PSNR on held-out pairs, beside HR itself and the best Gaussian; PSNR to HR over a grid."""
    from degflow_pipe.levels import parse_t_grid

    settings, pairs, _ = _read(recipe, data, None)
    grid = parse_t_grid(t_grid or defaults.T_GRID)
    from degflow_pipe.degflow import DegFlow
    from degflow_pipe.training.evaluate import evaluate as stage

    model = DegFlow.load(checkpoint, device)
    show(stage(model, settings, pairs, grid, TerminalProgress()), json, checkpoint)
