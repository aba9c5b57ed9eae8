"""What a proxy recipe says: the pairs, the SR network, and the sources to compare."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

from degflow_pipe import choices
from degflow_pipe.checkpoint.folder import CheckpointInfo
from degflow_pipe.errors import UsageError
from degflow_pipe.levels import Grid, parse_grid, read_levels, refuse_moved
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.proxy.budget import Budget
from degflow_pipe.settings import Apart, AtMost, override, read

IMPLICIT = "implicit"
SAME_SIZE = "same-size"
GRID = "0.5:1.0:0.1"
MOST_SCALE = 12
"""Of whose HR patches LR have 16 pixels."""
MOST = 1000
"""Sources, scales, or strengths of noise."""


@dataclass(frozen=True)
class ProxyRecipe:
    """A whole comparison; on the command line the options of `proxy` go before it.

    data: the pairs, the checkpoint's own by default. test: other pairs, whose held-out scenes the
    implicit network is tested on instead of those of `data`. network: `same-size`, `implicit`, or
    one of spandrel's architectures, whose own arguments are `network_settings`. t_grid: levels of
    `ours_grid`, 0.5:1.0:0.1 where it is empty; for `implicit` the SR scales that it is trained at,
    with an x before each. sr_scale: HR over LR, for networks that enlarge by a whole factor. also:
    how pairs of other data sets lie, by the name of their source; their folders are given beside.
    The others: see `proxy.ProxySettings` and `scales.ScalesSettings`.
    """

    data: DataSettings | None = None
    test: DataSettings | None = None
    network: str = SAME_SIZE
    network_settings: Annotated[dict[str, Any], AtMost(100_000)] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    level: str = ""
    t_grid: str = ""
    added_noise: Annotated[list[float], Apart()] = field(default_factory=lambda: [0.0, 4.0])
    seeds: Annotated[int, AtMost(1000)] = 1
    perceptual: choices.Distance = "none"
    budget: Budget = field(default_factory=Budget)
    sr_scale: int = 0
    also: Annotated[dict[str, Any], Apart()] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ("sources", "added_noise"):
            if len(getattr(self, key)) > MOST:
                raise UsageError(f"`{key}` must be {MOST} at most")
        if self.network == IMPLICIT and self.level:
            raise UsageError(
                "`level` is for networks of one scale: implicit is tested at every level"
            )
        if self.network == IMPLICIT and self.t_grid and not self.scales:
            raise UsageError(
                f"`t_grid` must be SR scales such as x1.5,x2 for the implicit network, got "
                f"{self.t_grid!r}"
            )
        if self.network in (SAME_SIZE, IMPLICIT) and self.network_settings:
            raise UsageError("`network_settings` are those of one of spandrel's architectures")
        check_factor(self.sr_scale)
        for key, given in (("sr_scale", self.sr_scale), ("also", self.also)):
            if self.network == IMPLICIT and given:
                raise UsageError(f"`{key}` is for networks of one scale, not for implicit")
        if self.network != IMPLICIT and self.test is not None:
            raise UsageError("`test` is for `network=implicit`")

    @property
    def scales(self) -> tuple[float, ...]:
        """The SR scales that `t_grid` asks for; empty where it asks for none."""
        asked = read_levels(self.t_grid).scales if self.t_grid else None
        return tuple(map(float, asked or ()))

    def grid(self, checkpoint: CheckpointInfo) -> Grid:
        """The levels that `t_grid` asks for, scales by the checkpoint's own mapping."""
        return parse_grid(self.t_grid or GRID, checkpoint.s_max, checkpoint.t_of_scale)


def check_factor(sr_scale: int) -> None:
    """Raises UsageError for what no network of one scale enlarges by."""
    if not 0 <= sr_scale <= MOST_SCALE:
        raise UsageError(
            f"`sr_scale` must be a whole number from 1 to {MOST_SCALE}, or 0 for that of the "
            f"pairs' pictures, got {sr_scale}"
        )


def proxy_recipe(values: dict[str, Any]) -> ProxyRecipe:
    """Check a recipe's mapping; raises UsageError naming the key that is wrong."""
    values = {key: value for key, value in values.items() if key != "kind"}
    refuse_moved(values)
    for key in ("data", "test"):
        if key in values:
            values[key] = read(DataSettings, values[key], key)
    if isinstance(values.get("also"), dict) and len(values["also"]) <= MOST:
        values["also"] = {
            name: read(DataSettings, other, f"also.{str(name)[:60]}")
            for name, other in values["also"].items()
        }
    if "budget" in values:
        values["budget"] = override(Budget(), values["budget"], "budget")
    return read(ProxyRecipe, values, "")
