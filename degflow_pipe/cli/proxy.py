"""proxy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from degflow_pipe.cli import options as o
from degflow_pipe.cli.output import TerminalProgress, show_proxy

GRID = "0.5:1.0:0.1"
NETWORKS = ("same-size", "implicit")


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
    network: Annotated[
        str, typer.Option(help="same-size, or implicit: one network for any scale.")
    ] = "same-size",
    level: Annotated[str, typer.Option(help="The real level; the last knot by default.")] = "",
    t_grid: Annotated[str, typer.Option("--t-grid", help="Levels of ours_grid.")] = GRID,
    scales: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="SR scales that implicit is trained at; every half from 1.5 up by default."
        ),
    ] = None,
    more_hr: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--more-hr",
            help="Folder of HR photos without real LR: adds ours_more, generated of both.",
        ),
    ] = None,
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
    from degflow_pipe.degflow import DegFlow
    from degflow_pipe.errors import UsageError
    from degflow_pipe.evaluation.evaluate import data_of
    from degflow_pipe.levels import parse_numbers, parse_t_grid
    from degflow_pipe.proxy.network import Budget
    from degflow_pipe.proxy.proxy import Asked
    from degflow_pipe.proxy.proxy import proxy as same_size
    from degflow_pipe.proxy.scales import AskedScales, default_scales, proxy_scales
    from degflow_pipe.stages.recipe import load_recipe
    from degflow_pipe.training.recipe import train_recipe

    shared: dict[str, Any] = {
        "out": out,
        "sources": tuple(sources.split(",")) if sources else (),
        "added_noise": parse_numbers(added_noise, "--added-noise", "0,4"),
        "seeds": seeds,
        "perceptual": perceptual,
        "budget": Budget(steps=steps),
    }
    if network not in NETWORKS:
        raise UsageError(f"--network must be one of {', '.join(NETWORKS)}, got {network!r}")
    if network == "implicit" and level:
        raise UsageError("--level is for --network same-size: implicit is tested at every level")
    if network == "same-size" and scales:
        raise UsageError("--scales is for --network implicit: give --t-grid")
    if network == "implicit" and more_hr:
        raise UsageError("--more-hr is for --network same-size")
    asked = Asked(grid=parse_t_grid(t_grid), level=level, more=more_hr, **shared)
    wanted = parse_numbers(scales, "--scales", "1.5,2") if scales else None
    settings = train_recipe(load_recipe(recipe, "train")).data if recipe else None
    model = DegFlow.load(checkpoint, device)
    data = settings or data_of(model)
    if network == "same-size":
        result = same_size(model, data, pairs, asked, TerminalProgress())
    else:
        every = AskedScales(scales=wanted or default_scales(data.s_max), **shared)
        result = proxy_scales(model, data, pairs, every, TerminalProgress())
    show_proxy(result, json, checkpoint)
