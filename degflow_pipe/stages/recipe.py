"""Recipes: one YAML file that says a whole run or a whole training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from degflow_pipe import defaults
from degflow_pipe.checkpoint.folder import CheckpointInfo
from degflow_pipe.errors import UsageError
from degflow_pipe.levels import Grid, parse_scales, parse_t, parse_t_grid
from degflow_pipe.settings import AtMost, read
from degflow_pipe.shards.layout import ShardSettings


@dataclass(frozen=True)
class IngestSettings:
    """See `ingest`."""

    patch: Annotated[int, AtMost(65_536)] = defaults.PATCH
    stride: int | None = None
    min_detail: float = defaults.MIN_DETAIL
    strict: bool = False
    max_pixels: int = defaults.MAX_PIXELS


KEEP = ("none", "latents", "levels")


@dataclass(frozen=True)
class LevelSettings:
    """What `generate` makes: levels in one of three forms, and noise, as on the command line."""

    t_grid: str | None = None
    t: str | None = None
    scales: str | None = None
    noise: str = "auto"
    seed: Annotated[int, AtMost(10**18)] = 0

    def grid(self, checkpoint: CheckpointInfo) -> Grid:
        """The grid asked for, the default where none is. Raises UsageError for more than one."""
        given = [name for name in ("t_grid", "t", "scales") if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError("give one of --t-grid, --t and --scales, not several")
        if self.t is not None:
            return parse_t(self.t)
        if self.scales is not None:
            return parse_scales(self.scales, checkpoint.s_max, checkpoint.t_of_scale)
        return parse_t_grid(self.t_grid if self.t_grid is not None else defaults.T_GRID)


@dataclass(frozen=True)
class RunRecipe:
    """A whole run: photos in, shards out.

    keep: what is left in the store: `levels`, `latents` (levels go straight into the shards), or
    `none` (the store itself goes when the shards are whole).
    """

    photos: list[str] = field(default_factory=list)
    checkpoint: str = defaults.CHECKPOINT
    store: str = defaults.STORE
    out: str = defaults.OUT
    ingest: IngestSettings = field(default_factory=IngestSettings)
    generate: LevelSettings = field(default_factory=LevelSettings)
    shard: ShardSettings = field(default_factory=ShardSettings)
    keep: str = "levels"

    def __post_init__(self) -> None:
        if self.keep not in KEEP:
            raise UsageError(f"keep must be one of {', '.join(KEEP)}, got {self.keep!r}")


def run_recipe(values: dict[str, Any]) -> RunRecipe:
    """Check a run recipe's mapping; raises UsageError naming the key that is wrong."""
    values = {key: value for key, value in values.items() if key != "kind"}
    parts = {"ingest": IngestSettings, "generate": LevelSettings, "shard": ShardSettings}
    for name, part in parts.items():
        if name in values:
            values[name] = read(part, values[name], name)
    return read(RunRecipe, values, "recipe")
