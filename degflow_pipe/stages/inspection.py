"""What `info` and `verify` return; their JSON has these fields by their names."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from degflow_pipe.checkpoint.calibration import Calibration
from degflow_pipe.checkpoint.folder import FORMAT, MAPPING, VERSION, CheckpointInfo
from degflow_pipe.checkpoint.verdict import Verdict
from degflow_pipe.errors import ShardError, UsageError
from degflow_pipe.model.config import ModelConfig
from degflow_pipe.settings import Apart, read
from degflow_pipe.shards.summary import AGAIN, Summary
from degflow_pipe.store import BLOCKS, Store


@dataclass(frozen=True)
class GridContents:
    """The levels of one grid in a store.

    title: what it is called. t, scale: of each level; levels: as they were asked for. sr_scale: of
    LR smaller than HR, else 0. noise, checkpoint, precision: what its LR were made with, see
    `levels.Grid`. patches: that have LR at all of its levels.
    """

    title: str
    t: list[float]
    scale: list[float]
    levels: list[str]
    sr_scale: float
    noise: str
    checkpoint: str
    precision: str
    patches: int


@dataclass(frozen=True)
class LatentContents:
    """The latents of one encoder in a store: a checkpoint that has it, and patches with latents."""

    checkpoint: str
    patches: int


@dataclass(frozen=True)
class StoreContents:
    """What a store holds.

    patch: side in pixels. beyond: photos that `ingest` left out, by limit. colours: photos by what
    their colours were. latents: by id of the encoder; grids: by name. skipped: photos that could
    not be used, by name, and why. complete: whether the last ingest was run to its end.
    """

    kind: str
    patch: int
    photos: int
    patches: int
    beyond: dict[str, int]
    colours: dict[str, int]
    units: int
    latents: dict[str, LatentContents]
    grids: dict[str, GridContents]
    skipped: dict[str, str]
    complete: bool

    @classmethod
    def of(cls, store: Store) -> StoreContents:
        photos = store.photos().values()
        return cls(
            kind="store",
            patch=store.settings.patch,
            photos=sum(photo.kept > 0 for photo in photos),
            patches=sum(unit.count for unit in store.units.values()),
            beyond=dict(Counter(photo.beyond for photo in photos if photo.beyond)),
            colours=dict(Counter(photo.colour for photo in photos)),
            units=len(store.units),
            latents={encoder: _latents(store, encoder) for encoder in store.encoders()},
            grids={name: _grid(store, name) for name in store.grids()},
            skipped=store.skipped(),
            complete=store.complete,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def _grid(store: Store, name: str) -> GridContents:
    grid = store.grid(name)
    levels = store.levels(grid)
    made = (unit.in_block(n % BLOCKS) for n, unit in store.blocks() if levels.has(n, unit))
    return GridContents(
        title=grid.title,
        t=grid.t,
        scale=list(grid.scales),
        levels=[level.label for level in grid.levels],
        sr_scale=grid.sr_scale,
        noise=grid.noise,
        checkpoint=grid.checkpoint,
        precision=grid.precision,
        patches=sum(made),
    )


def _latents(store: Store, name: str) -> LatentContents:
    encoder = store.encoder(name)
    latents = store.latents(encoder)
    encoded = (unit.count for number, unit in store.units.items() if latents.has(number, unit))
    return LatentContents(encoder.checkpoint, sum(encoded))


@dataclass(frozen=True)
class ShardsContents:
    """What finished shards hold, as NAME.json says.

    bytes: of all tars. layout, lr_size, picture_format, hr_format: see `ShardSettings`; chain: its
    name, `own` for one that is none of the ready ones, None for none. mean_squared_error: of LR
    against HR by level, before the chain, grey levels squared. sr_scale: LR are HR over it; 0 where
    they are as `lr_size` says. settings: all that the tars were
    made with. card_sha256: of README.md; None where it is not known.
    """

    kind: str
    format: str
    version: int
    name: str
    samples: int
    pairs: int
    patches: int
    bytes: Annotated[int, Apart()]
    tars: Annotated[list[str], Apart()]
    layout: str
    lr_size: str
    picture_format: str
    hr_format: str
    mean_squared_error: dict[str, float]
    settings: dict[str, Any]
    card_sha256: str | None = None
    chain: str | None = None
    sr_scale: float = 0.0

    @classmethod
    def of(cls, shards: Summary) -> ShardsContents:
        """Raises ShardError where NAME.json lacks something or is of another kind."""
        names = {name for name in cls.__dataclass_fields__ if name in shards.figures}
        values = {name: shards.figures[name] for name in names}
        # Where nothing is said of HR, they are coded as LR.
        made = values.get("settings")
        said = made.get("hr_format") if isinstance(made, dict) else None
        values["hr_format"] = said or values.get("picture_format")
        try:
            return read(cls, {**values, "kind": "shards"}, f"{shards.name}.json")
        except UsageError as error:
            raise ShardError(f"{shards.folder}: {error}; {AGAIN}") from error

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ScaleContents:
    """Which level is which SR scale: t = 1 is s_max."""

    mapping: str
    s_max: float


@dataclass(frozen=True)
class CalibrationContents:
    """What `calibrate` measured.

    scales: [s, t] pairs. noise, own_noise: digests of the noise models, the latter empty where
    there is none; config.json has their spectra, which are pages of numbers.
    """

    scales: list[list[float]]
    noise: str
    own_noise: str

    @classmethod
    def of(cls, found: Calibration) -> CalibrationContents:
        return cls(found.scales, found.noise.digest, found.own_digest)


@dataclass(frozen=True)
class CheckpointContents:
    """What a checkpoint is, as its config.json says: see `CheckpointInfo`.

    levels: `{"name": "HR", "t": 0.0}` and so on. calibration: None where it was not calibrated.
    card_sha256: of README.md; empty where it is not known. verdict: whether it is any good.
    """

    kind: str
    id: str
    format: str
    version: int
    name: str
    model: ModelConfig
    levels: list[dict[str, Any]]
    scale: ScaleContents
    weights_sha256: str
    training: dict[str, Any]
    data: dict[str, Any]
    calibration: CalibrationContents | None
    card_sha256: str
    verdict: Verdict

    @classmethod
    def of(cls, info: CheckpointInfo) -> CheckpointContents:
        found = info.calibration
        return cls(
            kind="checkpoint",
            id=info.id,
            format=FORMAT,
            version=VERSION,
            name=info.name,
            model=info.model,
            levels=info.levels,
            scale=ScaleContents(MAPPING, info.s_max),
            weights_sha256=info.weights_sha256,
            training=info.training,
            data=info.data,
            calibration=None if found is None else CalibrationContents.of(found),
            card_sha256=info.card_sha256,
            verdict=info.verdict,
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


CHECKED = {"store": "units", "shards": "files", "checkpoint": "folders"}
"""What is held against its sums of each kind."""


@dataclass(frozen=True)
class Verified:
    """What was held against its sums.

    kind: `store`, `shards` or `checkpoint`. checked: units, files or folders that were read.
    damage: what is wrong and where, a sentence each. whole: whether nothing is. mended: what was
    made again, a sentence each.
    """

    kind: str
    checked: int
    damage: list[str]
    whole: bool
    mended: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
