"""What shards are called, which samples a tar holds, and what a sample's JSON says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from degflow_pipe.errors import UsageError
from degflow_pipe.levels import Grid, Level
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.shards.packing import Packing, pack
from degflow_pipe.store import UNIT, PatchRecord, StoreSettings


@dataclass(frozen=True)
class ShardSettings:
    """Everything that decides the bytes of the shards beside the store's content.

    name: of the data set; shard_size: samples a tar; layout: `pairs` (a sample is one HR/LR pair)
    or `grouped` (a patch with all its levels); lr_size, uneven: see `pictures.pack`;
    picture_format: see `pictures.parse_format`.
    """

    name: str = "degflow"
    shard_size: int = 1000
    layout: str = "pairs"
    lr_size: str = "same"
    uneven: str = "refuse"
    picture_format: str = "png"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name):
            raise UsageError(
                f"--name must be lower-case letters, digits, - and _, got {self.name!r}"
            )
        if self.shard_size < 1:
            raise UsageError(f"--shard-size must be 1 sample at least, got {self.shard_size}")
        for option, value, choices in (
            ("--layout", self.layout, ("pairs", "grouped")),
            ("--lr-size", self.lr_size, ("same", "native")),
            ("--uneven", self.uneven, ("refuse", "crop")),
        ):
            if value not in choices:
                raise UsageError(f"{option} must be {' or '.join(choices)}, got {value!r}")
        if self.layout == "grouped" and self.lr_size == "native" and self.uneven == "crop":
            raise UsageError(
                "--uneven crop crops HR for each level, and --layout grouped stores HR once: use "
                "--layout pairs"
            )
        parse_format(self.picture_format)

    def tar(self, number: int) -> str:
        return f"{self.name}-{number:06d}.tar"

    @property
    def marks(self) -> str:
        """The folder of what is known of each complete tar."""
        return f".{self.name}"


@dataclass(frozen=True)
class PackedLevel:
    """A level of the grid as it is packed."""

    level: Level
    scale: float
    packing: Packing

    def to_dict(self) -> dict[str, Any]:
        return {
            "level": self.level.name,
            "t": self.level.t,
            "scale": self.scale,
            "hr_size": [self.packing.hr, self.packing.hr],
            "lr_size": [self.packing.lr, self.packing.lr],
            "effective_scale": self.packing.effective_scale,
        }


def packed_levels(grid: Grid, store: StoreSettings, settings: ShardSettings) -> list[PackedLevel]:
    """The grid's levels with their sizes. Raises UsageError for a level that cannot be packed."""
    found = []
    for level, scale in zip(grid.levels, grid.scales, strict=True):
        packing = pack(store.patch, scale, settings.lr_size, settings.uneven)
        found.append(PackedLevel(level, scale, packing))
    return found


@dataclass(frozen=True)
class TarPlan:
    """A unit of work: which patches and levels a tar holds.

    rows: (unit, place in the unit, first level, end level) for each patch, in the order of keys.
    """

    number: int
    rows: tuple[tuple[int, int, int, int], ...]

    @property
    def units(self) -> list[int]:
        return sorted({row[0] for row in self.rows})


def plan_tars(counts: dict[int, int], levels: int, settings: ShardSettings) -> Iterator[TarPlan]:
    """Cut the samples, ordered by patch and level, into tars of settings.shard_size.

    counts: patches in each unit, in the order of units.
    """
    per_patch = levels if settings.layout == "pairs" else 1
    number, room = 0, settings.shard_size
    rows: list[tuple[int, int, int, int]] = []
    for unit, count in counts.items():
        for place in range(count):
            first = 0
            while first < per_patch:
                taken = min(room, per_patch - first)
                end = first + taken if settings.layout == "pairs" else levels
                rows.append((unit, place, first, end))
                first, room = first + taken, room - taken
                if room == 0:
                    yield TarPlan(number, tuple(rows))
                    number, room, rows = number + 1, settings.shard_size, []
    if rows:
        yield TarPlan(number, tuple(rows))


def patch_key(unit: int, place: int, record: PatchRecord) -> str:
    """Key of a patch: its number in the store and the head of its photo's hash."""
    return f"{unit * UNIT + place:08d}-{record.sha256[:8]}"


def patch_json(record: PatchRecord, store: StoreSettings, grid: Grid) -> dict[str, Any]:
    """The fields that all levels of a patch share; every sample has the same fields and types."""
    return {
        "source": record.source,
        "source_sha256": record.sha256,
        "y": record.y,
        "x": record.x,
        "patch": store.patch,
        "checkpoint": store.checkpoint,
        "grid": grid.name,
        "noise": grid.noise,
    }


def settings_json(settings: ShardSettings, store: StoreSettings, grid: Grid) -> dict[str, Any]:
    """What two runs must share to write into one folder."""
    return {**asdict(settings), "store": asdict(store), "grid": grid.name, "t": grid.t}
