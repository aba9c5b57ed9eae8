"""Recipes: one YAML file that says a whole run or a whole training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from degflow_pipe import choices, defaults
from degflow_pipe.checkpoint.folder import CheckpointInfo
from degflow_pipe.engines.engine import check_gpus
from degflow_pipe.levels import Grid, parse_grid, refuse_moved
from degflow_pipe.pictures.sizes import check_sr_scale
from degflow_pipe.settings import AtMost, read
from degflow_pipe.shards.layout import ShardSettings


@dataclass(frozen=True)
class IngestSettings:
    """See `ingest`."""

    patch: Annotated[int, AtMost(65_536)] = defaults.PATCH
    stride: int | None = None
    min_detail: float = defaults.MIN_DETAIL
    min_sharpness: float | None = None
    max_blockiness: float | None = None
    max_clipped: float | None = None
    max_noise: float | None = None
    strict: bool = False
    max_pixels: int = defaults.MAX_PIXELS


@dataclass(frozen=True)
class LevelSettings:
    """What `generate` makes: levels in any form of `parse_grid`, noise, the pairs' own SR scale (0
    for LR of HR's size) and how many realisations of each level.
    """

    t_grid: str | None = None
    noise: choices.Noise = "auto"
    seed: Annotated[int, AtMost(10**18)] = 0
    sr_scale: float = 0.0
    draws: int = 1

    def grid(self, checkpoint: CheckpointInfo, most: float | None = None) -> Grid:
        """The levels asked for, scales by the checkpoint's own mapping. Where none are: the
        default, or with an SR scale the largest that does for it.

        most: the largest scale that all cameras of a bank have, by default the checkpoint's. Raises
        UsageError for what is no grid, or scales that the checkpoint does not have.
        """
        text = self.t_grid
        if text is None and self.sr_scale:
            check_sr_scale(self.sr_scale)
            text = f"x{min(self.sr_scale, most or checkpoint.s_max):g}"
        text = defaults.T_GRID if text is None else text
        return parse_grid(text, checkpoint.s_max, checkpoint.t_of_scale)


@dataclass(frozen=True)
class RunRecipe:
    """A whole run: photos in, shards out.

    keep: what is left in the store: `levels`, `latents` (levels go straight into the shards), or
    `none` (the store itself goes when the shards are whole). engine, num_gpus: see
    `engines.engine.engine_of`.
    """

    photos: list[str] = field(default_factory=list)
    checkpoint: str = defaults.CHECKPOINT
    store: str = defaults.STORE
    out: str = defaults.OUT
    ingest: IngestSettings = field(default_factory=IngestSettings)
    generate: LevelSettings = field(default_factory=LevelSettings)
    shard: ShardSettings = field(default_factory=ShardSettings)
    keep: choices.Keep = "levels"
    engine: choices.Engine = "threads"
    num_gpus: float | None = None

    def __post_init__(self) -> None:
        choices.check_choice("keep", self.keep, choices.Keep)
        choices.check_choice("engine", self.engine, choices.Engine)
        check_gpus(self.engine, self.num_gpus)


def run_recipe(values: dict[str, Any]) -> RunRecipe:
    """Check a run recipe's mapping; raises UsageError naming the key that is wrong."""
    values = {key: value for key, value in values.items() if key != "kind"}
    parts = {"ingest": IngestSettings, "generate": LevelSettings, "shard": ShardSettings}
    if isinstance(values.get("generate"), dict):
        refuse_moved(values["generate"], "generate.")
    for name, part in parts.items():
        if name in values:
            values[name] = read(part, values[name], name)
    return read(RunRecipe, values, "")
