"""proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from degflow_pipe.cli import options as o
from degflow_pipe.cli.output import TerminalProgress, show_proxy

GRID = "0.5:1.0:0.1"


def register(app: typer.Typer) -> None:
    app.command()(proxy)


def proxy(
    checkpoint: Annotated[str, typer.Argument(help="Checkpoint folder, or a shipped one's name.")],
    pairs: Annotated[Path, typer.Argument(help="Folder of the pairs.")],
    recipe: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Training recipe whose data is meant, not the checkpoint's own."),
    ] = None,
    sources: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(help="Some of the sources, by commas; all by default."),
    ] = None,
    level: Annotated[str, typer.Option(help="The real level; the last knot by default.")] = "",
    t_grid: Annotated[str, typer.Option("--t-grid", help="Levels of ours_grid.")] = GRID,
    added_noise: Annotated[
        str, typer.Option(help="White noise, grey levels, that every source is tried with.")
    ] = "0,4",
    seeds: Annotated[int, typer.Option(help="Trainings of each.")] = 1,
    steps: Annotated[int, typer.Option(help="Steps of each training.")] = 2500,
    perceptual: Annotated[
        str, typer.Option(help="none, or lpips- or stlpips- and the net: stlpips-vgg.")
    ] = "none",
    out: o.Out = Path("proxy"),
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Train a small SR network on each source of LR and test it on held-out real pairs."""
    from degflow_pipe.levels import parse_t_grid
    from degflow_pipe.proxy.network import Budget
    from degflow_pipe.proxy.proxy import Asked, parse_noise

    asked = Asked(
        grid=parse_t_grid(t_grid),
        out=out,
        sources=tuple(sources.split(",")) if sources else (),
        level=level,
        added_noise=parse_noise(added_noise),
        seeds=seeds,
        perceptual=perceptual,
        budget=Budget(steps=steps),
    )
    from degflow_pipe.degflow import DegFlow
    from degflow_pipe.evaluation.evaluate import data_of
    from degflow_pipe.proxy.proxy import proxy as stage
    from degflow_pipe.stages.recipe import load_recipe
    from degflow_pipe.training.recipe import train_recipe

    settings = train_recipe(load_recipe(recipe, "train")).data if recipe else None
    model = DegFlow.load(checkpoint, device)
    result = stage(model, settings or data_of(model), pairs, asked, TerminalProgress())
    show_proxy(result, json, checkpoint)
