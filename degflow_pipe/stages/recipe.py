"""Recipes: one YAML file that says a whole run or a whole training."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from degflow_pipe import defaults, files, shipped
from degflow_pipe.checkpoint import CheckpointInfo
from degflow_pipe.errors import UsageError
from degflow_pipe.levels import Grid, parse_scales, parse_t, parse_t_grid
from degflow_pipe.settings import AtMost, read, shown
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.yaml_text import parse_yaml

MAX_BYTES = 100_000
"""Of a recipe; the longest of ours has 3,000."""


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


def load_recipe(path_or_name: str, *kinds: str) -> dict[str, Any]:
    """Read a recipe by path or shipped name; it must say that it is one of these kinds.

    The kinds are `run`, `train` and `proxy`. Raises UsageError where there is none, it is no YAML
    mapping, or of another kind.
    """
    path = Path(path_or_name)
    if not files.exists(path):
        found = shipped.find("pipelines", path_or_name)
        if found is None:
            known = ", ".join(shipped.names("pipelines"))
            raise UsageError(
                f"no recipe {path_or_name}: neither a file nor one of the shipped ones ({known})"
            )
        path = found
    try:
        values = parse_yaml(files.read_bytes(path, MAX_BYTES))
    except ValueError as error:
        raise UsageError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} must be a mapping of keys to values")
    if values.get("kind") not in kinds:
        wanted = " or ".join(map(repr, kinds))
        raise UsageError(
            f"{path} is a recipe of kind {shown(values.get('kind'))}, not {wanted}: it must say "
            f"`kind: {kinds[0]}`"
        )
    return values


def run_recipe(values: dict[str, Any]) -> RunRecipe:
    """Check a run recipe's mapping; raises UsageError naming the key that is wrong."""
    values = {key: value for key, value in values.items() if key != "kind"}
    parts = {"ingest": IngestSettings, "generate": LevelSettings, "shard": ShardSettings}
    for name, part in parts.items():
        if name in values:
            values[name] = read(part, values[name], name)
    return read(RunRecipe, values, "recipe")
