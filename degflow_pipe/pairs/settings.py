"""What a training recipe says of its data: which set, which levels, which scenes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Annotated, Any

from degflow_pipe.errors import UsageError
from degflow_pipe.pairs.sets import LAYOUTS
from degflow_pipe.settings import AtMost, read, shown

MOST_LEVELS = 100
ANY_PICTURE = ".*"
"""At the end of a pattern of files."""
ENLARGE = ("refuse", "nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class LevelFiles:
    """One level of the pairs: its name, its t, and a pattern whose `*` stands for the scene.

    files: ends in `.*` where pictures of any lossless format are meant. held_out: the level is no
    knot; it is only validated and evaluated.
    """

    name: str
    t: float
    files: str
    held_out: bool = False

    def __post_init__(self) -> None:
        # Plots are named after levels, and a checkpoint's levels may be anybody's.
        if not re.fullmatch(r"[\w+-][\w.+-]{0,31}", self.name):
            raise UsageError(
                f"`name` of a level must be 1 to 32 letters, digits, '_', '.', '+' or '-', got "
                f"{shown(self.name)}"
            )
        if not 0.0 <= self.t <= 1.0:
            raise UsageError(f"`t` of {self.name} must be in [0, 1], got {self.t}")
        if (
            self.files.startswith("/")
            or ".." in self.files.split("/")
            or self.files.removesuffix(ANY_PICTURE).count("*") != 1
            or set("{}[]?") & set(self.files)
        ):
            raise UsageError(
                f"`files` of {self.name} must be a path below the data's "
                f"folder with one * that stands for the scene (and `.*` at its end for any "
                f"lossless picture), got {shown(self.files)}"
            )


@dataclass(frozen=True)
class PairLevel:
    """A level as every loader gives it: patterns of `sets`, hr beside lr (the same for HR)."""

    name: str
    t: float
    held_out: bool
    hr: str
    lr: str
    spelled: str = ""


@dataclass(frozen=True)
class DataSettings:
    """Which pairs, which of their levels are knots, and which scenes are held out.

    set: a layout of `sets.LAYOUTS`, or `generic`. levels: for `generic`, all of them, HR at t = 0.
    scales, held_out_scales: for the others, the SR scales of the knots but HR, and those that
    are only validated; `city100` has one level and takes none. cameras: only these.
    validate: scene names or ranges of numbers (`061-070`), separated by commas; where a set has a
    Test split it is held out as well. s_max: the SR scale that t = 1 stands for.
    enlarge: how an LR that is smaller than its HR is brought to its size; `refuse` refuses it.
    max_shift: pixels by which an LR may lie off its HR before the pair is refused.
    """

    s_max: Annotated[float, AtMost(100)]
    source: str
    licence: str
    set: str = "generic"
    levels: list[dict[str, Any]] = field(default_factory=list)
    scales: list[float] = field(default_factory=list)
    held_out_scales: list[float] = field(default_factory=list)
    cameras: list[str] = field(default_factory=list)
    validate: str = ""
    root: str = "."
    enlarge: str = ""
    max_shift: float = 2.0

    def __post_init__(self) -> None:
        if self.set != "generic" and self.set not in LAYOUTS:
            raise UsageError(
                f"`set` must be generic or one of {', '.join(LAYOUTS)}; got {shown(self.set)}"
            )
        if not 1 < self.s_max < float("inf"):
            raise UsageError(f"`s_max` must be above 1, got {self.s_max}")
        if self.enlarge not in ("", *ENLARGE):
            raise UsageError(
                f"`enlarge` must be one of {', '.join(ENLARGE)}; got {shown(self.enlarge)}"
            )
        if not self.max_shift > 0:
            raise UsageError(f"`max_shift` must be above 0 pixels, got {self.max_shift}")
        for key in ("levels", "scales", "held_out_scales"):
            if len(getattr(self, key)) > MOST_LEVELS:
                raise UsageError(f"`{key}` must be {MOST_LEVELS} at most")
        self._check_keys()
        times = [level.t for level in self.knots]
        if len(times) < 2 or times[0] != 0.0 or any(a >= b for a, b in pairwise(times)):
            raise UsageError(
                f"`levels` must start with HR at t = 0 and rise strictly in t, "
                f"got t = {shown(times)}"
            )
        names = [level.name for level in self.pair_levels]
        if len(set(names)) < len(names):
            raise UsageError(f"`levels` must have different names, got {', '.join(names)}")

    def scale_of_t(self, t: float) -> float:
        """The SR scale that a level of these pairs was shot at: 1 + t (s_max - 1)."""
        return 1 + t * (self.s_max - 1)

    def _check_keys(self) -> None:
        """Each kind of set has its own keys; the others' are refused, not passed over."""
        generic, known = self.set == "generic", self.set not in ("generic", "city100")
        for key, wanted, fits in (
            ("levels", generic, bool(self.levels)),
            ("scales", known, bool(self.scales)),
        ):
            if wanted != fits:
                says = f"needs `{key}`" if wanted else f"takes no `{key}`"
                raise UsageError(f"`set={self.set}` {says}")
        if self.held_out_scales and not known:
            raise UsageError(f"`set={self.set}` takes no `held_out_scales`")
        for scale in (*self.scales, *self.held_out_scales):
            if not 1 < scale <= self.s_max:
                raise UsageError(f"`scales` must be in (1, s_max], got {scale}")
            if self.set == "interflow" and round(scale, 1) != scale:
                raise UsageError(f"`scales` of interflow are in tenths, got {scale}")

    @property
    def pair_levels(self) -> list[PairLevel]:
        """All levels by t, HR first, held-out ones included."""
        if self.set == "generic":
            found = [read(LevelFiles, level, "levels") for level in self.levels]
            levels = [_generic(level, found[0]) for level in found]
        else:
            levels = [PairLevel("HR", 0.0, False, LAYOUTS[self.set].hr, LAYOUTS[self.set].hr)]
            if self.set == "city100":
                levels.append(_level(self, self.s_max, False, "LR"))
            levels += [_level(self, scale, False) for scale in self.scales]
            levels += [_level(self, scale, True) for scale in self.held_out_scales]
        return sorted(levels, key=lambda level: (level.t, level.held_out))

    @property
    def knots(self) -> list[PairLevel]:
        """The levels that are trained on, HR first."""
        return [level for level in self.pair_levels if not level.held_out]

    @property
    def enlarge_by(self) -> str:
        """The kernel that is used: `enlarge`, or the set's own choice."""
        smaller = self.set != "generic" and LAYOUTS[self.set].smaller
        return self.enlarge or ("bicubic" if smaller else "refuse")


def _generic(level: LevelFiles, hr: LevelFiles) -> PairLevel:
    def pattern(files: str) -> str:
        stem = files.removesuffix(ANY_PICTURE)
        ending = ".{picture}" if stem != files else ""
        return stem.replace("*", "{scene}") + ending

    return PairLevel(level.name, level.t, level.held_out, pattern(hr.files), pattern(level.files))


def _level(data: DataSettings, scale: float, held_out: bool, name: str = "") -> PairLevel:
    layout = LAYOUTS[data.set]
    t = (scale - 1) / (data.s_max - 1)
    name = name or f"x{scale:g}"
    return PairLevel(name, t, held_out, layout.hr, layout.lr, layout.spell(scale))
