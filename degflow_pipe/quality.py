"""What HR can be asked for beside its detail: four figures of a photo, and limits to them."""

from __future__ import annotations

from dataclasses import dataclass, fields

from degflow_pipe.errors import UsageError
from degflow_pipe.settings import LARGEST


@dataclass(frozen=True)
class Quality:
    """Figures of a photo: see `metrics.quality`. None where it does not tell.

    sharpness, blockiness and noise in grey levels; clipped: a share, 0 to 1.
    """

    sharpness: float | None = None
    blockiness: float | None = None
    clipped: float | None = None
    noise: float | None = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True)
class Limits:
    """What the figures of a photo must be at least or at most; None asks nothing.

    Raises UsageError for what can be no limit.
    """

    min_sharpness: float | None = None
    max_blockiness: float | None = None
    max_clipped: float | None = None
    max_noise: float | None = None

    def __post_init__(self) -> None:
        _check(self)

    def failed(self, quality: Quality) -> list[str]:
        """Names of the limits that a photo is beyond; a figure that is None is beyond none."""
        return [
            limit
            for name, limit in LIMITS.items()
            if _beyond(limit, getattr(quality, name), getattr(self, limit))
        ]


LIMITS = {
    "sharpness": "min_sharpness",
    "blockiness": "max_blockiness",
    "clipped": "max_clipped",
    "noise": "max_noise",
}
"""Each figure and its limit, in the order in which a photo is held to them."""


def check_least(name: str, value: float) -> None:
    """Raises UsageError, naming the parameter, for what is no figure that a store can hold."""
    if not 0 <= value <= LARGEST:
        raise UsageError(f"`{name}` must be 0 or more, and {LARGEST:g} at most, got {value}")


def _check(found: Quality | Limits) -> None:
    """Raises UsageError for what is no figure; whole numbers become floats, as files have them."""
    for field in fields(found):
        value = getattr(found, field.name)
        if value is None:
            continue
        check_least(field.name, value)
        object.__setattr__(found, field.name, float(value))


def _beyond(name: str, figure: float | None, limit: float | None) -> bool:
    if figure is None or limit is None:
        return False
    return figure < limit if name.startswith("min_") else figure > limit


SUGGESTED = Limits(min_sharpness=0.5, max_blockiness=0.4, max_clipped=0.2, max_noise=3.0)
"""Where `inspect` draws its lines unless told. The first is the most that was left of the sharpness
of photos enlarged by x2, bicubic (of those by x1.5 up to 1.7); the second lies between the same
photos as JPEG of quality 91 and of 30; the others leave in what photos of good cameras have."""
