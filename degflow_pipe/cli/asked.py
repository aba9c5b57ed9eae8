"""What several commands make of their options."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

    from degflow_pipe.levels import Grid
    from degflow_pipe.pairs.settings import DataSettings


def stated(context: typer.Context, *names: str) -> list[str]:
    """Those of these parameters that stand on the command line; the others are defaults."""
    sources = {name: context.get_parameter_source(name) for name in names}
    return [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]


def grid_of(checkpoint: str, t_grid: str | None, sr_scale: float = 0) -> Grid:
    """The levels asked for; needs the scale mapping of the (first) checkpoint, not its weights."""
    from degflow_pipe.cameras.bank import SIMULATED, members_of
    from degflow_pipe.cameras.camera import SimulatedCamera
    from degflow_pipe.checkpoint.folder import find_checkpoint, read_info
    from degflow_pipe.stages.recipe import LevelSettings

    members = members_of(checkpoint)
    infos = [read_info(find_checkpoint(one.name)) for one in members if one.name != SIMULATED]
    most = [info.s_max for info in infos]
    if len(infos) < len(members):
        most.append(SimulatedCamera.S_MAX)
    return LevelSettings(t_grid, sr_scale=sr_scale).grid(infos[0], min(most))


def data_of_recipe(recipe: str | None) -> DataSettings | None:
    """The pairs of a training recipe; None where none is given."""
    from degflow_pipe.recipes import load_recipe
    from degflow_pipe.training.recipe import train_recipe

    return None if recipe is None else train_recipe(load_recipe(recipe, "train")).data
