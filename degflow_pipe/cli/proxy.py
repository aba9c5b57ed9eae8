"""proxy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from degflow_pipe.cli import options as o
from degflow_pipe.cli import panels
from degflow_pipe.cli.asked import stated
from degflow_pipe.cli.bars import TerminalProgress, loading
from degflow_pipe.cli.tables import show_comparison
from degflow_pipe.cli.words import Command

if TYPE_CHECKING:
    from degflow_pipe.proxy.recipe import ProxyRecipe
    from degflow_pipe.proxy.results import ProxyComparison, ScalesComparison


def register(app: typer.Typer) -> None:
    app.command(cls=Command, rich_help_panel=panels.JUDGE)(proxy)


def proxy(
    context: typer.Context,
    checkpoint: o.CheckpointArgument,
    pairs: o.Pairs,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Proxy recipe, which the options go before, or a training recipe whose data is "
            "meant, not the checkpoint's own."
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the pairs that a recipe's `test` says, to test on those.", parser=o.path
        ),
    ] = None,
    sources: Annotated[
        str | None,
        typer.Option(help="Sources beside bicubic and real, by commas; all by default."),
    ] = None,
    network: Annotated[
        str,
        typer.Option(
            help="same-size: our small one, at --sr-scale with a tail of pixel shuffle; implicit: "
            "one network for any scale; or one of spandrel's: SwinIR."
        ),
    ] = "same-size",
    sr_scale: Annotated[
        int,
        typer.Option(
            "--sr-scale",
            min=0,
            help="HR over LR, whole; 0: that of the pairs' pictures, 1 where a recipe says how "
            "they are enlarged.",
        ),
    ] = 0,
    level: Annotated[str, typer.Option(help="The real level; the last knot by default.")] = "",
    t_grid: Annotated[
        str | None,
        typer.Option(
            "--t-grid",
            help="Levels of ours_grid, 0.5:1.0:0.1 by default; for implicit the SR scales that it "
            "is trained at, as x1.5,x2 or x1.5:x3:x0.5, every half from x1.5 up by default.",
        ),
    ] = None,
    more: Annotated[
        Path | None,
        typer.Option(
            "--more-hr",
            help="Folder of HR photos without real LR: adds ours_more, generated of both, and "
            "real_more, the real pairs beside these.",
            parser=o.path,
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            help="Other pairs as a source of that name, NAME=FOLDER; *_hr.* beside *_lr.* unless a "
            "recipe's key also says more; repeatable.",
        ),
    ] = None,
    added_noise: Annotated[
        str, typer.Option(help="White noise, grey levels, that every source is tried with.")
    ] = "0,4",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each training.")] = 2500,
    perceptual: o.Perceptual = "none",
    out: o.Out = Path("proxy"),
    device: o.Device = "auto",
    json: o.Json = False,
) -> None:
    """Train a small SR network on each source of LR and test it on held-out real pairs."""
    from degflow_pipe.errors import UsageError
    from degflow_pipe.levels import parse_numbers
    from degflow_pipe.progress import Silent
    from degflow_pipe.proxy.recipe import IMPLICIT

    said: dict[str, Any] = {
        "network": network,
        "sr_scale": sr_scale,
        "sources": sources.split(",") if sources else [],
        "level": level,
        "t_grid": t_grid,
        "added_noise": list(parse_numbers(added_noise, "`added_noise`", "0,4")),
        "seeds": seeds,
        "perceptual": perceptual,
    }
    # A recipe goes before what are defaults.
    given = stated(context, *said, "steps")
    settings = _recipe(
        recipe,
        {name: value for name, value in said.items() if name in given},
        steps if "steps" in given else None,
    )
    implicit = settings.network == IMPLICIT
    if implicit and more:
        raise UsageError("--more-hr is not for the implicit network")
    if implicit and also:
        raise UsageError("--also is for networks of one scale, not for implicit")
    if test is not None and settings.test is None:
        raise UsageError("--test is the folder of the pairs that a proxy recipe's key test says")
    folders = _folders(also or [], settings)
    with loading():
        from degflow_pipe.checkpoint.degflow import DegFlow
        from degflow_pipe.evaluation.evaluate import data_of
        from degflow_pipe.proxy.others import OtherPairs
        from degflow_pipe.proxy.proxy import ProxySettings
        from degflow_pipe.proxy.proxy import proxy as same_size
        from degflow_pipe.proxy.scales import ScalesSettings, proxy_scales
        from degflow_pipe.proxy.share import processes_of

    processes = processes_of(device)
    model = DegFlow.load(checkpoint, device if processes is None else str(processes.device))
    progress = TerminalProgress() if processes is None or processes.first else Silent()
    data = settings.data or data_of(model)
    result: ProxyComparison | ScalesComparison | None
    if implicit:
        tested = None if test is None or settings.test is None else (settings.test, test)
        s_max = min(data.s_max, model.info.s_max)
        scaled = ScalesSettings.of(settings, s_max, out, tested)
        result = proxy_scales(model, data, pairs, scaled, progress, processes)
    else:
        others = {name: OtherPairs(at, settings.also.get(name)) for name, at in folders.items()}
        sized = ProxySettings.of(settings, model.info, out, more=more, also=others)
        result = same_size(model, data, pairs, sized, progress, processes)
    if result is not None:
        show_comparison(result, json, checkpoint)


def _folders(also: list[str], settings: ProxyRecipe) -> dict[str, Path]:
    """The folder of each of the other pairs, by their name."""
    from degflow_pipe.errors import UsageError

    found: dict[str, Path] = {}
    for item in also:
        name, sign, folder = item.partition("=")
        if not name or not folder or name in found:
            said = "is given twice" if sign and folder and name in found else "wants NAME=FOLDER"
            raise UsageError(f"--also {said}, got {item[:60]!r}")
        found[name] = o.path(folder)
    lacking = [name for name in settings.also if name not in found]
    if lacking:
        raise UsageError(
            f"the recipe's also.{lacking[0]} has no folder: give --also {lacking[0]}=FOLDER"
        )
    return found


def _recipe(recipe: str | None, given: dict[str, Any], steps: int | None) -> ProxyRecipe:
    """The recipe with what was given on the command line over it."""
    from degflow_pipe.proxy.recipe import ProxyRecipe, proxy_recipe
    from degflow_pipe.recipes import load_recipe
    from degflow_pipe.training.recipe import train_recipe

    values: dict[str, Any] = {"kind": "proxy"}
    if recipe is not None:
        values = load_recipe(recipe, "proxy", "train")
    if values["kind"] == "train":
        found = replace(ProxyRecipe(), data=train_recipe(values).data, **given)
    else:
        found = proxy_recipe({**values, **given})
    return found if steps is None else replace(found, budget=replace(found.budget, steps=steps))
