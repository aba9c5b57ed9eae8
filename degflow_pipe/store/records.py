"""What a store says of itself, its units and its grids, and the bounds of what it may say."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, Any

from degflow_pipe.errors import UsageError
from degflow_pipe.levels import MAX_LEVELS, Grid, parse_t
from degflow_pipe.settings import Apart, AtMost, read

UNIT = 16
"""Patches in a unit of work."""
MAX_PATCH = 4096
MAX_UNITS = 10**8
MAX_SIDE = 10**7
"""Pixels of a photo's side."""
UNIT_BYTES = 2**30
"""Bytes of one unit of an array; they are held in memory at once."""
MAX_TEXT = 4096
"""Characters of a name."""
MAX_COLOUR = 200
"""Characters of what was done to a photo's colours."""


@dataclass(frozen=True)
class StoreSettings:
    """What every patch of a store shares.

    patch: side in pixels. checkpoint: id of the checkpoint that made the latents. s_max: the SR
    scale of its t = 1. latent_shape: (C, h, w) of one patch. Raises UsageError for sizes that no
    store has.
    """

    patch: int
    checkpoint: str
    s_max: float
    latent_shape: list[int]

    def __post_init__(self) -> None:
        if not 1 <= self.patch <= MAX_PATCH:
            raise UsageError(f"store.patch must be from 1 to {MAX_PATCH}, got {self.patch}")
        if not 1 < self.s_max < 1000:
            raise UsageError(f"store.s_max must be above 1 and below 1000, got {self.s_max}")
        if len(self.latent_shape) != 3 or not all(1 <= n <= MAX_PATCH for n in self.latent_shape):
            raise UsageError(
                f"store.latent_shape must be three sizes, got {str(self.latent_shape)[:60]}"
            )
        _check_texts(self.checkpoint)
        check_unit("hr", (self.patch, self.patch, 3), 1)
        check_unit("latents", tuple(self.latent_shape), 4)


@dataclass(frozen=True)
class PatchRecord:
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

    def __post_init__(self) -> None:
        _check_texts(self.source, self.digest)
        _check_sha256(self.sha256)
        if not (0 <= self.y < MAX_SIDE and 0 <= self.x < MAX_SIDE):
            raise UsageError(f"patch: no place in a photo: y {self.y}, x {self.x}")


@dataclass(frozen=True)
class PhotoRecord:
    """A photo all of whose patches are in this unit or others.

    kept: its patches in the store; flat, duplicate: those that were dropped. stride, min_detail:
    what it was cropped with. colour: see `photos.Photo`.
    """

    source: str
    sha256: str
    kept: int
    flat: int
    duplicate: int
    stride: int
    min_detail: float
    colour: str

    def __post_init__(self) -> None:
        _check_texts(self.source)
        _check_sha256(self.sha256)
        if len(self.colour) > MAX_COLOUR:
            raise UsageError(f"photo.colour has {len(self.colour)} characters")
        if min(self.kept, self.flat, self.duplicate) < 0:
            raise UsageError(f"photo: counts below 0 for {self.source}")


@dataclass(frozen=True)
class UnitRecord:
    """What a unit holds.

    sha256: digests of the arrays' bytes, bytes: lengths of their files, by array name; 0 where all
    is black and zarr writes none. computed: what the latents' last bits depend on, the kind of
    device and on a GPU the batch.
    """

    patches: list[PatchRecord]
    finished: list[PhotoRecord]
    sha256: dict[str, str]
    bytes: dict[str, int]
    computed: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> UnitRecord:
        """Raises UsageError where the mark of a unit is none."""
        found = read(_UnitFields, data, "mark")
        if not 1 <= len(found.patches) <= UNIT:
            raise UsageError(f"mark.patches: {len(found.patches)}, a unit has 1 to {UNIT}")
        return cls(
            patches=[read(PatchRecord, p, "patch") for p in found.patches],
            finished=[read(PhotoRecord, p, "photo") for p in found.finished],
            sha256=checked_sums(found.sha256, "hr", "latents"),
            bytes=checked_sizes(found.bytes, "hr", "latents"),
            computed=found.computed,
        )


@dataclass(frozen=True)
class _UnitFields:
    """Each part has bounds of its own; a unit may finish many photos that gave it no patch."""

    patches: Annotated[list[Any], Apart()]
    finished: Annotated[list[Any], Apart()]
    sha256: dict[str, Any]
    bytes: Annotated[dict[str, Any], Apart()]
    computed: dict[str, Any]


@dataclass(frozen=True)
class LevelsRecord:
    """What the mark of a unit's levels says.

    sha256: digests of the `levels` and of the `hr` they were made from. bytes: length of their
    file. computed: see `UnitRecord`; the decoder's precision beside it.
    """

    sha256: dict[str, str]
    bytes: Annotated[int, AtMost(2 * UNIT_BYTES)]
    computed: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> LevelsRecord:
        """Raises UsageError where the mark of a unit's levels is none."""
        found = read(cls, data, "mark")
        checked_sums(found.sha256, "levels", "hr")
        checked_sizes({"levels": found.bytes}, "levels")
        return found


@dataclass(frozen=True)
class Ledger:
    """What the ingests and removals before left in the store.

    complete: whether the last one came to its end. photos: patches of each photo, by `photo_key`.
    """

    complete: bool = True
    photos: Annotated[dict[str, Any], Apart()] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not all(type(n) is int and 0 <= n <= MAX_UNITS * UNIT for n in self.photos.values()):
            raise UsageError("ledger.photos must be counts of patches")


def photo_key(sha256: str) -> str:
    """By which the ledger knows a photo: 64 bits of the hash of its file."""
    return sha256[:16]


def grid_fields(grid: Grid) -> dict[str, Any]:
    """The levels of a grid as a store writes them: exact decimals."""
    exact = [str(level.exact) for level in grid.levels]
    return {"t": exact, "scale": list(grid.scales), "noise": grid.noise}


def grid_of_fields(fields: dict[str, Any], name: str) -> Grid:
    """The other way round. Raises DegflowError for what are no levels."""
    levels, scales, noise = (fields.get(key) for key in ("t", "scale", "noise"))
    if not isinstance(levels, list) or not 1 <= len(levels) <= MAX_LEVELS:
        raise UsageError("it names no levels")
    if not all(isinstance(t, str) and len(t) < 20 for t in levels):
        raise UsageError("its levels are no decimals")
    grid = parse_t(",".join(levels), f"grid {name}")
    if (
        not isinstance(scales, list)
        or not isinstance(noise, str)
        or len(scales) != len(grid)
        or not all(isinstance(s, int | float) and 1 <= s < 1000 for s in scales)
    ):
        raise UsageError("it does not name the scale of each level and the noise")
    _check_texts(noise)
    return replace(grid, scales=tuple(float(s) for s in scales), noise=noise)


def check_unit(name: str, item: tuple[int, ...], itemsize: int) -> None:
    """Raises UsageError where a unit of items of this shape takes too much memory."""
    size = UNIT * math.prod(item) * itemsize
    if size > UNIT_BYTES:
        raise UsageError(
            f"{UNIT} patches of {name} take {size / 2**30:.1f} GiB at once, at most "
            f"{UNIT_BYTES / 2**30:g}: choose smaller patches, fewer levels, or `run --keep latents`"
        )


def checked_sums(found: dict[str, Any], *names: str) -> dict[str, str]:
    """Digests of exactly these arrays. Raises UsageError."""
    if set(found) != set(names):
        raise UsageError(f"mark.sha256 must be of {', '.join(names)}")
    for value in found.values():
        _check_sha256(value)
    return found


def checked_sizes(found: dict[str, Any], *names: str) -> dict[str, int]:
    """Lengths of the files of exactly these arrays. Raises UsageError."""
    if set(found) != set(names) or not all(type(n) is int and n >= 0 for n in found.values()):
        raise UsageError(f"mark.bytes must be lengths of {', '.join(names)}")
    return found


def _check_sha256(value: Any) -> None:
    # The head of it becomes a part of names.
    if not isinstance(value, str) or not re.fullmatch("[0-9a-f]{64}", value):
        raise UsageError(f"{str(value)[:80]!r} is no SHA-256")


def _check_texts(*texts: str) -> None:
    for text in texts:
        if len(text) > MAX_TEXT:
            raise UsageError(f"a name of {len(text)} characters, {text[:40]!r}...")
