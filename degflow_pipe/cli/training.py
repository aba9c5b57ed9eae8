"""train rae, train lfm, train joint, camera and evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from degflow_pipe import defaults
from degflow_pipe.cli import options as o
from degflow_pipe.cli import panels
from degflow_pipe.cli.asked import data_of_recipe, grid_of
from degflow_pipe.cli.bars import TerminalProgress, loading
from degflow_pipe.cli.output import show, unlock
from degflow_pipe.cli.plain import PlainGroup
from degflow_pipe.cli.tables import show_camera, show_evaluation
from degflow_pipe.cli.words import Command
from degflow_pipe.places import place_of

Recipe = Annotated[str, typer.Argument(help="Training recipe: YAML file or shipped one's name.")]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder of the pairs, in place of the recipe's data.root.", parser=o.path
    ),
]
TrainOut = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", help="Folder to train in; training/NAME by default.", parser=o.path
    ),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        name="train", cls=PlainGroup, help="Train the stages on real pairs.", no_args_is_help=True
    )
    group.command("rae", cls=Command)(rae)
    group.command("lfm", cls=Command)(lfm)
    group.command("joint", cls=Command)(joint)
    app.command(cls=Command, rich_help_panel=panels.CAMERA)(camera)
    app.add_typer(group, rich_help_panel=panels.CAMERA)
    app.command(cls=Command, rich_help_panel=panels.JUDGE)(evaluate)


def _read(recipe: str, data: Path | None, out: Path | None) -> tuple[Any, Path, Path]:
    from degflow_pipe.recipes import load_recipe
    from degflow_pipe.training.recipe import train_recipe

    settings = train_recipe(load_recipe(recipe, "train"))
    return settings, data or place_of(settings.data.root), out or Path("training") / settings.name


def rae(
    recipe: Recipe,
    data: Data = None,
    out: TrainOut = None,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Stage 1: train the autoencoder; goes on from what the folder holds."""
    settings, pairs, folder = _read(recipe, data, out)
    with loading():
        from degflow_pipe.training.results import TrainedAutoencoder
        from degflow_pipe.training.stages import train_rae

    record = train_rae(settings, pairs, folder, device, TerminalProgress())
    show(TrainedAutoencoder(str(folder), record["figures"]), json, "train rae")


def lfm(
    recipe: Recipe,
    data: Data = None,
    out: TrainOut = None,
    rae: Annotated[
        Path | None,
        typer.Option(help="Folder of `train rae`, where it is not --out.", parser=o.path),
    ] = None,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Stage 2: train the velocity and write the checkpoint; goes on from what the folder holds."""
    settings, pairs, folder = _read(recipe, data, out)
    with loading():
        from degflow_pipe.training.results import TrainedCheckpoint
        from degflow_pipe.training.stages import train_lfm

    info = train_lfm(settings, pairs, folder, rae, device, TerminalProgress())
    figures = info.training["lfm"]["figures"]
    show(TrainedCheckpoint(str(folder), info.id, figures), json, "train lfm")


def joint(
    recipe: Recipe,
    data: Data = None,
    out: TrainOut = None,
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Stage 3: train velocity and decoder together on what generation does; goes on likewise."""
    settings, pairs, folder = _read(recipe, data, out)
    with loading():
        from degflow_pipe.training.results import TrainedCheckpoint
        from degflow_pipe.training.stages import train_joint

    info = train_joint(settings, pairs, folder, device, TerminalProgress())
    figures = info.training["joint"]["figures"]
    show(TrainedCheckpoint(str(folder), info.id, figures), json, "train joint")


def camera(
    source: Annotated[
        Path,
        typer.Argument(
            help="Folder of shots, as `align` takes them, or of pairs: SCENE_hr.png, SCENE_lr.png.",
            parser=o.path,
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the camera.", parser=o.path)],
    minutes: Annotated[
        float | None,
        typer.Option(help="That all of it may take, about; else as long as is right."),
    ] = None,
    s_max: Annotated[
        float | None,
        typer.Option(help="SR scale of the LR, where names and sizes of the pairs do not tell."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="Training recipe whose data says how the pairs lie.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            help="Checkpoint whose weights training starts from, or none for random ones; by "
            f"default {defaults.CHECKPOINT} where fewer than {defaults.FEW_PAIRS} pairs are left "
            "to train on."
        ),
    ] = None,
    device: o.Device = "auto",
    workers: o.Workers = 0,
    break_lock: o.BreakLock = False,
    json: o.Json = False,
) -> None:
    """Your own camera: align, train, calibrate, tune, evaluate, and say whether it is any good."""
    unlock(break_lock, out)
    with loading():
        from degflow_pipe.learning.camera import CameraSettings
        from degflow_pipe.learning.camera import camera as stage

    settings = CameraSettings(minutes, s_max, recipe, start)
    found = stage(
        source, out, settings, device=device, workers=workers, progress=TerminalProgress()
    )
    show_camera(found, json)


def evaluate(
    checkpoint: o.CheckpointArgument,
    pairs: o.Pairs,
    recipe: o.DataRecipe = None,
    beside: Annotated[
        list[str] | None,
        typer.Option(help="Another checkpoint to put into the table; may be repeated."),
    ] = None,
    perceptual: o.Perceptual = "none",
    sweep: Annotated[bool, typer.Option("--sweep", help="Each figure against t.")] = False,
    residual: Annotated[
        bool, typer.Option("--residual", help="What is left: real minus generated LR, taken apart.")
    ] = False,
    t_grid: o.TGrid = defaults.T_GRID,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="Folder for figures.json, pages of plots and crops.", parser=o.path
        ),
    ] = None,
    device: o.Device = "auto",
    break_lock: o.BreakLock = False,
    json: o.Json = False,
) -> None:
    """Generated against real LR of held-out pairs, beside what one would use instead."""
    unlock(break_lock, out)
    settings = data_of_recipe(recipe)
    grid = grid_of(checkpoint, t_grid)
    with loading():
        from degflow_pipe.checkpoint.degflow import DegFlow
        from degflow_pipe.errors import UsageError
        from degflow_pipe.evaluation.evaluate import CANDIDATES, EvaluationSettings, data_of
        from degflow_pipe.evaluation.evaluate import evaluate as stage

    model = DegFlow.load(checkpoint, device)
    names = [Path(name).name for name in beside or []]
    if len(set(names)) < len(names) or set(names) & set(CANDIDATES):
        raise UsageError(
            f"--beside: {', '.join(names)} must be different names, and none of "
            f"{', '.join(CANDIDATES)}, as the table has one row for each"
        )
    others = {
        name: DegFlow.load(path, device) for name, path in zip(names, beside or [], strict=True)
    }
    asked = EvaluationSettings(grid, perceptual, sweep, residual, others, out)
    result = stage(model, settings or data_of(model), pairs, asked, TerminalProgress())
    show_evaluation(result, json, checkpoint)
