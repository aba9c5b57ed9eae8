"""What several commands make of their options."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from degflow_pipe.levels import Grid
    from degflow_pipe.pairs.settings import DataSettings


def grid_of(checkpoint: str, t_grid: str | None) -> Grid:
    """The levels asked for; needs the checkpoint's scale mapping, not its weights."""
    from degflow_pipe.checkpoint.folder import find_checkpoint, read_info
    from degflow_pipe.stages.recipe import LevelSettings

    return LevelSettings(t_grid).grid(read_info(find_checkpoint(checkpoint)))


def data_of_recipe(recipe: str | None) -> DataSettings | None:
    """The pairs of a training recipe; None where none is given."""
    from degflow_pipe.recipes import load_recipe
    from degflow_pipe.training.recipe import train_recipe

    return None if recipe is None else train_recipe(load_recipe(recipe, "train")).data
