"""What aligning and checking say: figures of each pair, scene and data set."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class LevelAligned:
    """One LR on its HR. scale: measured; exif_scale: by the focal lengths, None where they are not
    noted. shift_before, shift_after: median and 95 % of what tiles of 96 pixels lie off, in pixels
    of HR. sigma: of the blur, in pixels of HR, that makes HR like the LR. kept: share of HR that
    can be used; reasons: shares that cannot. light: see `Light.to_dict`.
    """

    level: str
    shot: str
    scale: float
    exif_scale: float | None
    rotation: float
    matches: int
    agreeing: int
    rounds: int
    sigma: float
    shift_before: list[float]
    shift_after: list[float]
    kept: float
    reasons: dict[str, float]
    light: dict[str, Any]


@dataclass
class SceneAligned:
    """pairs: names, and their rectangles of HR: top, left, bottom, right. kept: share of HR that
    the pairs hold. notes: what is odd about the scene, a sentence each.
    """

    name: str
    hr: str
    size: list[int]
    levels: list[LevelAligned]
    pairs: dict[str, list[int]]
    kept: float
    notes: list[str]


@dataclass
class AlignSummary:
    """What `align` did. made, known: scenes aligned now, and before. failed: why a scene has no
    pair. levels: scale of each. knots: those that every scene has. shift_after: medians over scenes
    of the median and the 95 % of tiles; light_left: grey levels, median over scenes.
    """

    out: str
    made: int = 0
    known: int = 0
    pairs: int = 0
    megapixels: float = 0.0
    kept: float = 0.0
    levels: dict[str, float] = field(default_factory=dict)
    knots: list[str] = field(default_factory=list)
    validate: list[str] = field(default_factory=list)
    shift_after: list[float] = field(default_factory=list)
    light_left: float = 0.0
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    recipe: str = ""
    page: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class PairChecked:
    """shift: median, 90 % and most of what tiles lie off, in pixels of HR; doubt: deviation of a
    tile's own shift, the median, which is in these; gain: brightness of the LR over HR's, by means
    over blocks, None where all are next to black or white; contrast: of detail of a few pixels, the
    median of tiles, above 1 where the camera sharpened the LR; sigma: of the blur.
    """

    hr: str
    lr: str
    tiles: int
    shift: list[float]
    mean_shift: list[float]
    doubt: float
    gain: float | None
    contrast: float
    sigma: float


@dataclass
class LevelChecked:
    """Of a level's pairs, the median of each figure, the 90 % and the most of the medians; gain:
    of the pairs that tell of it, None where none does.
    """

    pairs: int
    shift_median: float
    shift_90: float
    shift_most: float
    tile_90: float
    doubt_median: float
    gain_median: float | None
    gain_spread: float | None
    contrast_median: float


@dataclass
class CheckSummary:
    """What `check_pairs` measured. levels: by folder and level, as they are named; worst: the
    pairs that lie off most; failed: why a pair could not be measured, by its LR.
    """

    pairs: str
    levels: dict[str, LevelChecked]
    worst: list[PairChecked]
    failed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
