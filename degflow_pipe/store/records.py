"""What a store says of itself, its photos, units and grids, and the bounds of what it may say."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, NamedTuple

from degflow_pipe.errors import UsageError
from degflow_pipe.levels import MAX_LEVELS, Drawn, Grid, Told, grid_of, parse_t
from degflow_pipe.quality import Limits, Quality
from degflow_pipe.settings import read

UNIT = 64
"""Patches of a unit: what one worker ingests at once; a file each of HR and of latents."""
BLOCK = 16
"""Patches of a block, of which a unit has four: what one worker generates at once; a file of
levels."""
BLOCKS = UNIT // BLOCK
MAX_PATCH = 4096
MAX_SCALE = 1000
MAX_SR_SCALE = 16
"""Of LR that are smaller than HR."""
MAX_UNITS = 10**8
MAX_SIDE = 10**7
"""Pixels of a photo's side."""
FILE_BYTES = 2**30
"""Bytes of what lies in one file of an array; they are held in memory at once."""
MAX_TEXT = 4096
"""Characters of a name."""
DIGEST, HEX = 32, "0123456789abcdef"
"""Characters of a patch's digest, and which."""
MAX_COLOUR = 200
"""Characters of what was done to a photo's colours."""


@dataclass(frozen=True)
class StoreSettings:
    """What every patch of a store shares: its side in pixels. Raises UsageError."""

    patch: int

    def __post_init__(self) -> None:
        if not 1 <= self.patch <= MAX_PATCH:
            raise UsageError(f"store.patch must be from 1 to {MAX_PATCH}, got {self.patch}")
        check_room("hr", UNIT, (self.patch, self.patch, 3), 1)


@dataclass(frozen=True)
class Encoder:
    """Latents of a store: the encoder's id (see `checkpoint.identity`), the id of the checkpoint
    that it came with, for people, and the shape of a latent, (C, h, w).
    """

    id: str
    checkpoint: str
    shape: list[int]

    def __post_init__(self) -> None:
        check_digest(self.id, "encoder.id")
        _check_texts(self.checkpoint)
        if len(self.shape) != 3 or not all(1 <= n <= MAX_PATCH for n in self.shape):
            raise UsageError(f"encoder.shape must be three sizes, got {str(self.shape)[:60]}")
        check_room("latents", UNIT, tuple(self.shape), 4)


class PatchRecord(NamedTuple):
    """Where one patch came from.

    source: the photo's name; sha256: of the photo's file; y, x: top left corner in pixels; detail
    and digest: see `patches.Patch`.
    """

    source: str
    sha256: str
    y: int
    x: int
    detail: float
    digest: str


@dataclass(frozen=True)
class PhotoRecord:
    """A photo all of whose patches are in the store.

    kept: its patches there; flat, duplicate: those that were dropped. stride, min_detail, limits:
    what it was cropped with; one that was beyond a limit has no patches. colour: see
    `photos.Photo`. quality: unknown where the photo was ingested before it was measured.
    """

    source: str
    sha256: str
    kept: int
    flat: int
    duplicate: int
    stride: int
    min_detail: float
    colour: str
    quality: Quality = field(default_factory=Quality)
    limits: Limits = field(default_factory=Limits)

    @property
    def crop(self) -> tuple[int, float, Limits]:
        """What it was cropped with."""
        return self.stride, self.min_detail, self.limits

    @property
    def beyond(self) -> str | None:
        """The first limit for which it was left out."""
        return None if self.kept else next(iter(self.limits.failed(self.quality)), None)

    def __post_init__(self) -> None:
        _check_texts(self.source)
        _check_sha256(self.sha256)
        if len(self.colour) > MAX_COLOUR:
            raise UsageError(f"photo.colour has {len(self.colour)} characters")
        if not 0 <= self.kept <= MAX_UNITS or min(self.flat, self.duplicate) < 0:
            raise UsageError(f"photo: counts that cannot be for {self.source}")
        if not (1 <= self.stride <= MAX_SIDE and 0 <= self.min_detail < math.inf):
            raise UsageError(f"photo: a crop that cannot be of {self.source}")


def photo_of_record(record: Mapping[str, Any]) -> PhotoRecord:
    """Raises UsageError where it is none."""
    values = dict(record)
    for name, kind in (("quality", Quality), ("limits", Limits)):
        if name in values:
            values[name] = read(kind, values[name], f"photo.{name}")
    return read(PhotoRecord, values, "photo")


@dataclass(frozen=True, slots=True)
class Unit:
    """What is known of a unit's HR beside its patches: how many there are, the digest of each
    block's HR, and the length of their file; 0 where all is black and zarr writes none.
    """

    count: int
    sha256: tuple[str, ...]
    bytes: int

    @property
    def blocks(self) -> int:
        return len(self.sha256)

    def in_block(self, place: int) -> int:
        """Patches in the block of that place in the unit."""
        return min(BLOCK, self.count - place * BLOCK)


def blocks_of(units: Mapping[int, Unit]) -> Iterator[tuple[int, Unit]]:
    """Every block of the units, in their order, and what is known of its unit."""
    for number, unit in units.items():
        for place in range(unit.blocks):
            yield number * BLOCKS + place, unit


class Made(NamedTuple):
    """What was made of HR and lies in one file: a unit's latents, or a block's levels.

    sha256: of the bytes, block by block. bytes: length of the file. hr: the heads of the digests of
    the HR they were made of. computed: what their last bits depend on, the kind of device and on a
    GPU the batch.
    """

    sha256: tuple[str, ...]
    bytes: int
    hr: tuple[str, ...]
    computed: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return {**self._asdict(), "computed": dict(self.computed)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Made:
        """Raises UsageError where the record is none."""
        _check_keys({key: value for key, value in data.items() if key != "told"}, cls._fields)
        _check_size(data["bytes"])
        sums = _sums(data["sha256"])
        heads = data["hr"]
        if not isinstance(heads, list) or len(heads) != len(sums):
            raise UsageError("hr must name the HR of each block")
        return cls(sums, data["bytes"], tuple(map(str, heads)), _computed(data["computed"]))

    def is_of(self, unit: Unit, first: int, blocks: int) -> bool:
        """Whether it was made of all the HR of the unit that its file is for, `blocks` blocks from
        the place `first` on.
        """
        now = tuple(map(head, unit.sha256[first : first + blocks]))
        return self.hr == now and len(self.sha256) == len(now)


def told_record(told: Told) -> dict[str, Any]:
    """What was told of a block as the ledger has it: each camera is named once."""
    cameras = list(dict.fromkeys((level.camera, level.noise) for row in told for level in row))
    numbers = {camera: i for i, camera in enumerate(cameras)}
    rows = [
        [[numbers[level.camera, level.noise], level.t, level.scale] for level in row]
        for row in told
    ]
    return {"cameras": cameras, "levels": rows}


def told_of_record(record: Mapping[str, Any], levels: int) -> Told:
    """What was told of a block; nothing where its levels are all that is to be told. Raises
    UsageError where it is damaged.
    """
    said = record.get("told")
    if said is None:
        return ()
    try:
        cameras = [(name, noise) for name, noise in said["cameras"]]
        _check_texts(*(text for camera in cameras for text in camera))
        told = [
            [Drawn(cameras[n][0], cameras[n][1], t, scale) for n, t, scale in row]
            for row in said["levels"]
        ]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise UsageError(f"told does not say what each level of each patch is: {error}") from error
    if len(told) > BLOCK or any(len(row) != levels for row in told):
        raise UsageError("told must say what each level of each patch is")
    for drawn in (drawn for row in told for drawn in row):
        numbers = all(type(value) in (int, float) for value in (drawn.t, drawn.scale))
        if not (numbers and 0 <= drawn.t <= 1 and 1 <= drawn.scale < MAX_SCALE):
            raise UsageError(f"told has a level that cannot be: {str(drawn)[:100]}")
    return told


_COMPUTED: dict[str, Mapping[str, Any]] = {}
"""Each that was read once: they are few, and what says them are millions."""


def _computed(data: Any) -> Mapping[str, Any]:
    if not isinstance(data, dict) or len(data) > 10:
        raise UsageError("computed must be a short mapping")
    if len(_COMPUTED) > 1000:  # a stranger's
        return data
    return _COMPUTED.setdefault(repr(data), data)


def head(sha256: str) -> str:
    """By which what is made of HR knows it: 64 bits of its digest."""
    return sha256[:16]


def unit_record(unit: Unit, patches: Sequence[PatchRecord]) -> dict[str, Any]:
    """A unit as the ledger has it: each photo is named once."""
    photos = list(dict.fromkeys((patch.source, patch.sha256) for patch in patches))
    numbers = {photo: i for i, photo in enumerate(photos)}
    rows = [
        [numbers[patch.source, patch.sha256], patch.y, patch.x, patch.detail, patch.digest]
        for patch in patches
    ]
    return {"photos": photos, "patches": rows, "sha256": unit.sha256, "bytes": unit.bytes}


def unit_of_record(record: Mapping[str, Any]) -> Unit:
    """Raises UsageError where it is none."""
    _check_keys(record, ("photos", "patches", "sha256", "bytes"))
    rows = record["patches"]
    sums = _sums(record["sha256"])
    if not isinstance(rows, list) or not 1 <= len(rows) <= UNIT:
        raise UsageError(f"a unit has 1 to {UNIT} patches")
    if len(sums) != -(-len(rows) // BLOCK):
        raise UsageError(f"{len(sums)} digests of {len(rows)} patches")
    _check_size(record["bytes"])
    return Unit(len(rows), sums, record["bytes"])


class Rows(NamedTuple):
    """The patches of a unit, a list each of what `PatchRecord` has; photos: the source and the
    SHA-256 of each, by the numbers in `photo`.
    """

    photos: list[tuple[str, str]]
    photo: Sequence[int]
    y: Sequence[int]
    x: Sequence[int]
    detail: Sequence[float]
    digest: Sequence[str]

    def of(self, wanted: Callable[[str], bool]) -> Rows:
        """Those of the photos whose SHA-256 are wanted."""
        stay = [wanted(sha256) for _, sha256 in self.photos]
        if all(stay):
            return self
        rows = [row for row in zip(*self[1:], strict=True) if stay[row[0]]]
        return Rows(self.photos, *(zip(*rows, strict=True) if rows else [()] * 5))

    def patches(self) -> list[PatchRecord]:
        """In their order."""
        photos = [self.photos[number] for number in self.photo]
        return [
            PatchRecord(source, sha256, y, x, detail, digest)
            for (source, sha256), y, x, detail, digest in zip(photos, *self[2:], strict=True)
        ]


def rows_of_record(record: Mapping[str, Any]) -> Rows:
    """Raises UsageError where a patch is none."""
    try:
        photos = [(source, sha256) for source, sha256 in record["photos"]]
        for source, sha256 in photos:
            _check_texts(source)
            _check_sha256(sha256)
        rows = Rows(photos, *zip(*record["patches"], strict=True))
        fit = (
            {*map(type, rows.photo), *map(type, rows.y), *map(type, rows.x)} == {int}
            and {*map(type, rows.detail)} <= {int, float}
            and 0 <= min(rows.photo) <= max(rows.photo) < len(photos)
            and 0 <= min(*rows.y, *rows.x) <= max(*rows.y, *rows.x) < MAX_SIDE
            # All at once: they are many.
            and {*map(len, rows.digest)} == {DIGEST}
            and not "".join(rows.digest).strip(HEX)
        )
    except (TypeError, ValueError, KeyError) as error:
        raise UsageError(f"no patch: {error}") from error
    if not fit:
        raise UsageError(f"no patch: {str(record['patches'])[:200]}")
    return rows


def photo_key(sha256: str) -> str:
    """By which the ledger knows a photo: 64 bits of the hash of its file."""
    return sha256[:16]


def grid_fields(grid: Grid) -> dict[str, Any]:
    """A grid as a store writes it: exact decimals."""
    levels = {
        "t": [str(level.exact) for level in grid.levels],
        "asked": [level.asked for level in grid.levels],
        "draws": [level.draw for level in grid.levels],
        "scales": list(grid.scales),
    }
    return {**levels, **{k: v for k, v in asdict(grid).items() if k not in ("levels", "scales")}}


@dataclass(frozen=True)
class _GridFields:
    t: list[str]
    asked: list[str]
    draws: list[int]
    scales: list[float]
    noise: str
    checkpoint: str
    precision: str
    pictures: str
    scale_map: str
    sr_scale: float
    told: bool
    cameras: list[str]
    about: list[str]
    title: str


def grid_of_fields(data: dict[str, Any]) -> Grid:
    """The other way round. Raises UsageError for what is no grid."""
    found = read(_GridFields, data, "grid")
    if not 1 <= len(found.t) <= MAX_LEVELS or not all(len(t) < 20 for t in found.t):
        raise UsageError("grid.t names no levels")
    if not len(found.t) == len(found.asked) == len(found.draws) == len(found.scales):
        raise UsageError("grid: asked, draws and scales must be those of each level")
    if not all(1 <= s < MAX_SCALE for s in found.scales):
        raise UsageError("grid.scales must be the scale of each level")
    levels = tuple(
        replace(parse_t(t).levels[0], asked=asked, draw=draw)
        for t, asked, draw in zip(found.t, found.asked, found.draws, strict=True)
    )
    if levels != grid_of(levels).levels:
        raise UsageError("grid.t must rise, without repeats")
    if not (found.sr_scale == 0 or 1 < found.sr_scale <= MAX_SR_SCALE):
        raise UsageError("grid.sr_scale must be a scale, or 0")
    rest = {field.name: getattr(found, field.name) for field in fields(found)[4:]}
    rest |= {"cameras": tuple(found.cameras), "about": tuple(found.about)}
    texts = (value for value in rest.values() if isinstance(value, str))
    _check_texts(*texts, *found.cameras, *found.about)
    if found.title:
        check_title(found.title)
    return Grid(levels, tuple(map(float, found.scales)), **rest)


def check_room(name: str, items: int, item: tuple[int, ...], itemsize: int) -> None:
    """Raises UsageError where so many items of this shape take too much memory."""
    size = items * math.prod(item) * itemsize
    if size > FILE_BYTES:
        raise UsageError(
            f"{items} patches of {name} take {size / 2**30:.1f} GiB at once, at most "
            f"{FILE_BYTES / 2**30:g}: choose smaller patches, fewer levels, or `run` with "
            f"`keep` latents"
        )


def check_digest(value: Any, name: str) -> None:
    """Raises UsageError for what is no digest of `checkpoint.identity`: it names a folder."""
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{12}", value):
        raise UsageError(f"{name} must be 12 hex digits, got {str(value)[:60]!r}")


def check_title(title: str) -> None:
    """Raises UsageError for what a grid cannot be called."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,59}", title):
        raise UsageError(
            f"`name` must be lower-case letters, digits, '.', - and _, 60 at most, got "
            f"{title[:70]!r}"
        )


def check_number(key: str, end: int) -> None:
    """Raises UsageError for what is no key of a unit or block below `end`."""
    if not re.fullmatch("0|[1-9][0-9]{0,10}", key) or int(key) >= end:
        raise UsageError(f"nothing has the number {key[:60]!r}")


def _check_keys(data: Mapping[str, Any], keys: Sequence[str]) -> None:
    if data.keys() != set(keys):
        raise UsageError(f"it must have {', '.join(keys)}, and has {', '.join(data)[:200]}")


def _sums(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or not 1 <= len(found) <= BLOCKS:
        raise UsageError(f"sha256 must be 1 to {BLOCKS} digests")
    for value in found:
        _check_sha256(value)
    return tuple(found)


def _check_size(found: Any) -> None:
    if type(found) is not int or not 0 <= found <= 2 * FILE_BYTES:
        raise UsageError(f"bytes must be a length, got {str(found)[:60]}")


def _check_sha256(value: Any) -> None:
    # The head of it becomes a part of names.
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise UsageError(f"{str(value)[:80]!r} is no SHA-256")


def _check_texts(*texts: Any) -> None:
    for text in texts:
        if not isinstance(text, str) or len(text) > MAX_TEXT:
            raise UsageError(f"no name, or one that is too long: {str(text)[:40]!r}")
