"""What shards are called, and what a sample's JSON says."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from degflow_pipe import choices
from degflow_pipe.chains.chain import Chain, read_chain
from degflow_pipe.errors import UsageError
from degflow_pipe.levels import Drawn, Grid, Level
from degflow_pipe.pictures.formats import PictureFormat, parse_format
from degflow_pipe.settings import AtMost
from degflow_pipe.shards.packing import Packing, own_size, pack
from degflow_pipe.shards.split import Split
from degflow_pipe.store import PatchRecord

VALIDATE = "validate"
"""Folder in that of the shards with those of the photos that are set apart."""
INDEX = ".index.jsonl"
"""Ending of a tar's index."""
SUMS_LIMIT = 1024**3
"""Bytes of the file of sums: five million tars."""


@dataclass(frozen=True)
class ShardSettings:
    """Everything that decides the bytes of the shards beside the store's content.

    name: of the data set; shard_size: samples a tar; layout: `pairs` (a sample is one HR/LR pair)
    or `grouped` (a patch with all its levels); lr_size, uneven: see `packing.pack`;
    picture_format: of LR, see `pictures.formats.parse_format`; hr_format: of HR, by default as LR
    where that is lossless, else png. chain: what is done to each LR after its level and its size, a
    ready chain's name or a list of steps, see `chains.chain.read_chain`; chain_seed: another one
    draws otherwise. validate: which photos are set apart, see `split.Split`; empty for none.
    """

    name: str = "degflow"
    shard_size: int = 1000
    layout: choices.Layout = "pairs"
    lr_size: choices.LRSize = "same"
    uneven: choices.Uneven = "refuse"
    picture_format: str = "png"
    hr_format: str | None = None
    chain: str | list[dict[str, Any]] | None = None
    chain_seed: Annotated[int, AtMost(10**18)] = 0
    validate: str = ""

    def __post_init__(self) -> None:
        # .lock is the folder's own.
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name) or self.name == "lock":
            raise UsageError(
                f"`name` must be lower-case letters, digits, - and _, not lock, got {self.name!r}"
            )
        if self.shard_size < 1:
            raise UsageError(f"`shard_size` must be 1 sample at least, got {self.shard_size}")
        choices.check_choice("layout", self.layout, choices.Layout)
        choices.check_choice("lr_size", self.lr_size, choices.LRSize)
        choices.check_choice("uneven", self.uneven, choices.Uneven)
        parse_format(self.picture_format)
        if self.hr_format is not None:
            parse_format(self.hr_format, "hr_format")
        self.read_chain()
        if self.chain_seed < 0:
            raise UsageError(f"`chain_seed` must be 0 or more, got {self.chain_seed}")
        if self.chain_seed and self.chain is None:
            raise UsageError("`chain_seed` is for what a chain draws: say which one as `chain`")
        if self.validate:
            Split.of(self.validate)

    def read_chain(self) -> Chain | None:
        """None where nothing is done to LR."""
        return None if self.chain is None else read_chain(self.chain)

    def formats(self) -> tuple[PictureFormat, PictureFormat]:
        """Of HR and of LR."""
        lr = parse_format(self.picture_format)
        if self.hr_format is not None:
            return parse_format(self.hr_format, "hr_format"), lr
        return (parse_format("png") if lr.lossy else lr), lr

    def tar(self, number: int) -> str:
        return f"{self.name}-{number:06d}.tar"

    def index(self, number: int) -> str:
        """What is in a tar, a line a sample."""
        return f"{self.name}-{number:06d}{INDEX}"

    @property
    def ledger(self) -> str:
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


def packed_levels(grid: Grid, patch: int, settings: ShardSettings) -> list[PackedLevel]:
    """The grid's levels with their sizes. Raises UsageError for a level that cannot be packed."""
    found = []
    for level, scale in zip(grid.levels, grid.scales, strict=True):
        if grid.sr_scale:
            found.append(PackedLevel(level, scale, own_size(patch, grid.sr_scale)))
            continue
        if settings.lr_size == "native" and _scales_differ(grid, level):
            raise UsageError(
                f"`lr_size` native: patches differ in the scale of {level.label}: make LR of one "
                f"size with `sr_scale`"
            )
        packing = pack(patch, scale, settings.lr_size, settings.uneven)
        found.append(PackedLevel(level, scale, packing))
    return found


def _scales_differ(grid: Grid, level: Level) -> bool:
    low, high = level.ends
    return low < high or (len(grid.cameras) > 1 and not level.by_scale)


def patch_key(number: int, record: PatchRecord) -> str:
    """Key of a patch: its number in the store and the head of its photo's hash."""
    return f"{number:08d}-{record.sha256[:8]}"


def patch_json(record: PatchRecord, patch: int, grid: Grid) -> dict[str, Any]:
    """The fields that all levels of a patch share; every sample has the same fields and types, but
    for what a chain drew, which differs from step to step.
    """
    return {
        "source": record.source,
        "source_sha256": record.sha256,
        "y": record.y,
        "x": record.x,
        "patch": patch,
        "checkpoint": grid.checkpoint,
        "grid": grid.name,
        "noise": grid.noise,
        "precision": grid.precision,
    }


def drawn_json(grid: Grid, level: Level, drawn: Drawn) -> dict[str, Any]:
    """What the JSON of a level says of what its patch has drawn."""
    return {
        "camera": drawn.camera,
        "noise": drawn.noise,
        "t": drawn.t,
        "scale": grid.sr_scale or drawn.scale,
        "camera_scale": drawn.scale,
        "draw": level.draw,
    }


def settings_json(settings: ShardSettings, patch: int, grid: Grid) -> dict[str, Any]:
    """What two runs must share to write into one folder."""
    said = asdict(settings)
    # What shards before these settings had is not said, so that theirs are known again.
    hr, chain = settings.formats()[0].name, settings.read_chain()
    if hr == settings.picture_format:
        del said["hr_format"]
    else:
        said["hr_format"] = hr
    if chain is None:
        del said["chain"], said["chain_seed"]
    else:
        said["chain"] = chain.content
    made = {"checkpoint": grid.checkpoint, "noise": grid.noise, "precision": grid.precision}
    if settings.validate:
        said["validate"] = Split.of(settings.validate).key
    else:
        del said["validate"]
    return {**said, "patch": patch, "grid": grid.name, "t": grid.t, **made}
