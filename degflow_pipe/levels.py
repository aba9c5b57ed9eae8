"""Levels: t in [0, 1], the SR scale s that goes with it, and grids of them.

t = (s - 1) / (s_max - 1), with s_max the scale of the checkpoint's t = 1 (Kim et al., AAAI 2026:
s_max = 4), where the checkpoint was not calibrated. Grids are kept in exact decimals, so that 0.35
is the same level however it was reached.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, NamedTuple

from degflow_pipe.errors import UsageError

MAX_LEVELS = 200
FORMS = (
    "0.1:1.0:0.05 (start:stop:step), 0.2,0.55 (a list), 0.2..0.8 (drawn for each patch), or SR "
    "scales: x1.5,x2 or x1.5:x3:x0.5 or x1.5..x2.9"
)
"""How levels are asked for, as an error says it."""
NO_NOISE = "none"
_T_DIGITS = Decimal("1e-9")
_NUMBER = r"[0-9]{1,9}(\.[0-9]{1,9})?"
_ASKED = rf"|x{_NUMBER}(\.\.x{_NUMBER})?|{_NUMBER}\.\.{_NUMBER}"
_LARGEST = Decimal("1e9")


RANGE = ".."
"""Between the ends of what a level is drawn from."""
MAX_DRAWS = 100


@dataclass(frozen=True, order=True)
class Level:
    """One degradation level of every patch; `exact` is t with at most nine decimals.

    asked: how it was asked for where not by t alone: `x1.5`, an SR scale, which each checkpoint has
    at a t of its own, and `exact` is that of the first; or a range, `0.2..0.8` or `x1.5..x2.9`,
    that each patch draws its own from, and `exact` is that of the lower end. draw: which of several
    realisations of a patch, from 1; 0 where there is one.
    """

    exact: Decimal
    asked: str = ""
    draw: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.exact <= 1:
            raise UsageError(f"level t must be in [0, 1], got {self.exact}")
        if not re.fullmatch(_ASKED, self.asked) or not 0 <= self.draw <= MAX_DRAWS:
            raise UsageError(f"no level: {self.asked[:60]!r}, draw {self.draw}")

    @property
    def by_scale(self) -> bool:
        return self.asked[:1] == "x"

    @property
    def ends(self) -> tuple[float, float]:
        """The t, or the SR scales where it is `by_scale`, that it lies between."""
        if not self.asked:
            return self.t, self.t
        low, _, high = self.asked.replace("x", "").partition(RANGE)
        return float(low), float(high or low)

    @property
    def drawn(self) -> bool:
        """Whether patches differ in it."""
        return RANGE in self.asked or self.draw > 0

    @property
    def t(self) -> float:
        return float(self.exact)

    @property
    def name(self) -> str:
        """`t` and the digits of t, three decimals at least: 0.35 is t0350, 1/6 is t0166666667.

        Names of levels asked for by t sort as their levels do. What was asked for otherwise is
        called so, in letters that keys may have: x1_5, x1_5to2_9, t0_2to0_8. A realisation is told
        by its number: t0350_d2.
        """
        name = self.asked.replace(RANGE, "to").replace("x", "").replace(".", "_")
        if name:
            name = f"{'x' if self.by_scale else 't'}{name}"
        else:
            whole, _, decimals = f"{self.exact:.9f}".partition(".")
            name = f"t{whole}{decimals.rstrip('0').ljust(3, '0')}"
        return f"{name}_d{self.draw}" if self.draw else name

    @property
    def label(self) -> str:
        """As people say it: t = 0.35, x1.5, x1.5..x2.9."""
        said = self.asked if self.by_scale else f"t = {self.asked or f'{self.t:g}'}"
        return f"{said} #{self.draw}" if self.draw else said

    def scale(self, s_max: float) -> float:
        """The SR scale s = 1 + t * (s_max - 1), to six decimals."""
        return round(1.0 + self.t * (s_max - 1.0), 6)


class Place(NamedTuple):
    """By which a patch draws its own level of a range: the SHA-256 of its photo's file, and its
    corner there in pixels.
    """

    sha256: str
    y: int
    x: int


class Drawn(NamedTuple):
    """One level of one patch as it was made: the camera's name, what its LR carry, see
    `Grid.noise`, its t, and its SR scale there.
    """

    camera: str
    noise: str
    t: float
    scale: float


Told = Sequence[Sequence[Drawn]]
"""Of each patch, what each of its levels is; empty where all patches are alike in that."""


@dataclass(frozen=True)
class Grid:
    """Levels in rising order, without repeats.

    The rest is said by the checkpoint that makes them (see `checkpoint.identity`). scales: the SR
    scale of each; scale_map: what they follow from. noise: what generated LR carries, `none`, or
    `calibrated`, the seed and a digest of the noise model. checkpoint: its id, for people.
    precision: of the decoder. pictures: all that the pixels depend on. sr_scale: LR have HR's side
    over this, 0 for HR's own size. told: whether each patch says for itself what its levels are,
    as something of them is drawn. cameras: the names of those that make such LR; about: what each
    is, and its share, for people. title: what people call it.
    """

    levels: tuple[Level, ...]
    scales: tuple[float, ...] = ()
    noise: str = NO_NOISE
    checkpoint: str = field(default="", compare=False)
    precision: str = ""
    pictures: str = ""
    scale_map: str = ""
    sr_scale: float = 0.0
    told: bool = False
    cameras: tuple[str, ...] = field(default=(), compare=False)
    about: tuple[str, ...] = field(default=(), compare=False)
    title: str = field(default="", compare=False)

    @property
    def t(self) -> list[float]:
        return [level.t for level in self.levels]

    @property
    def name(self) -> str:
        """First and last level, their number and a digest of what their LR depends on.

        Grids of equal names have equal LR, and equal scales beside them.
        """
        parts = [level.name for level in self.levels]
        parts += [self.noise] if not self.pictures else [self.pictures, self.scale_map]
        digest = hashlib.sha256(",".join(parts).encode()).hexdigest()[:8]
        size = f"lr{self.sr_scale:g}-".replace(".", "_") if self.sr_scale else ""
        return f"{self.levels[0].name}-{self.levels[-1].name}-{len(self.levels)}-{size}{digest}"

    def __len__(self) -> int:
        return len(self.levels)


def lr_side(patch: int, sr_scale: float) -> int:
    """Side of an LR in pixels: the patch's, or that over the grid's own SR scale, whole pixels."""
    return math.floor(patch / sr_scale + 1e-9) if sr_scale else patch


def grid_of(levels: Iterable[Level]) -> Grid:
    """The given levels, sorted, without repeats. Raises UsageError for none or too many."""
    unique = tuple(sorted(set(levels)))
    if not unique:
        raise UsageError("a grid needs one level at least")
    if len(unique) > MAX_LEVELS:
        raise UsageError(f"a grid holds at most {MAX_LEVELS} levels, got {len(unique)}")
    return Grid(unique)


def _number(text: str, option: str) -> Decimal:
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise UsageError(f"{option}: {text.strip()!r} is not a number: {option} wants {FORMS}")
    if not -_LARGEST <= value <= _LARGEST:
        raise UsageError(f"{option}: {text.strip()[:40]} is too large a number")
    return value


def parse_numbers(text: str, option: str, example: str) -> tuple[float, ...]:
    """`0,4` to numbers in their order, without repeats. Raises UsageError for anything else."""
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError as error:
        raise UsageError(f"{option} wants numbers such as {example}; got {text!r}") from error


def _level(value: Decimal, option: str) -> Level:
    if not 0 <= value <= 1:
        hint = f"; an SR scale is written x{value}" if value > 1 else ""
        raise UsageError(f"{option}: t must be in [0, 1], got {value}{hint}")
    return Level(value.quantize(_T_DIGITS, ROUND_HALF_EVEN).normalize() + 0)


def _range(text: str, option: str, check: Callable[[Decimal], object]) -> list[Decimal]:
    """`start:stop:step` as its values, stop included where the steps reach it.

    check: raises for a start or stop that cannot be.
    """
    parts = text.split(":")
    if len(parts) != 3:
        raise UsageError(f"{option} wants start:stop:step such as 0.1:1.0:0.05, got {text!r}")
    start, stop, step = (_number(part, option) for part in parts)
    if step <= 0:
        raise UsageError(f"{option}: step must be above 0, got {step}")
    if stop < start:
        raise UsageError(f"{option}: stop {stop} is below start {start}")
    check(start), check(stop)
    if step * MAX_LEVELS <= stop - start:
        raise UsageError(f"{option}: more than the {MAX_LEVELS} levels that are allowed")
    return [start + i * step for i in range(int((stop - start) / step) + 1)]


def parse_t_grid(text: str, option: str = "`t_grid`") -> Grid:
    """`start:stop:step`, stop included where the steps reach it: 0.1:1.0:0.05 is 19 levels.

    Raises UsageError for another form, a step of 0 or less, a stop below the start, or a t outside
    [0, 1].
    """
    values = _range(text, option, lambda value: _level(value, option))
    return grid_of(_level(value, option) for value in values)


def parse_t(text: str, option: str = "`t`") -> Grid:
    """A list of levels, `0.2,0.55`. Raises UsageError naming the value that is wrong."""
    return grid_of(_level(_number(part, option), option) for part in text.split(","))


def parse_scales(
    text: str,
    s_max: float,
    t_of_scale: Callable[[float], float] | None = None,
    option: str = "`scales`",
) -> Grid:
    """A list of SR scales, `1.5,2,3.3`, from 1 to s_max. Raises UsageError for any other.

    t_of_scale: a checkpoint's own mapping, t = (s - 1) / (s_max - 1) by default.
    """
    scales = [_number(part, option) for part in text.split(",")]
    return _of_scales(scales, s_max, t_of_scale, option)


def _of_scales(
    scales: list[Decimal],
    s_max: float,
    t_of_scale: Callable[[float], float] | None,
    option: str,
) -> Grid:
    levels, top = [], Decimal(str(s_max))
    for s in scales:
        if not 1 <= s <= top:
            raise UsageError(
                f"{option}: {s} is outside the scales of this checkpoint, 1 to {s_max:g} (t = 1)"
                f"{_small(s)}"
            )
        t = (s - 1) / (top - 1) if t_of_scale is None else Decimal(repr(t_of_scale(float(s))))
        levels.append(replace(_level(t, option), asked=_scale_text(s)))
    return grid_of(levels)


def _small(s: Decimal) -> str:
    """What else may be meant by a scale: LR that are so much smaller."""
    return f"; LR of HR / {s}, at levels up to that: `sr_scale={s}`" if s in (2, 3, 4, 8) else ""


def _scale_text(s: Decimal) -> str:
    return f"x{s.normalize():f}"


@dataclass(frozen=True)
class AskedLevels:
    """Levels as a text asks for them, rising and without repeats: by t or by SR scale, the other
    is None. ranged: each patch draws its own from between the two that there are.
    """

    t: tuple[Decimal, ...] | None = None
    scales: tuple[Decimal, ...] | None = None
    ranged: bool = False


def read_levels(text: str, option: str = "`t_grid`") -> AskedLevels:
    """What a grid's text asks for, in any of the forms of `parse_grid`.

    Raises UsageError for another form, for a t outside [0, 1], and for a scale below 1.
    """
    if RANGE in text:
        return _read_range(text, option)
    ranged = ":" in text
    parts = [part.strip() for part in text.split(":" if ranged else ",")]
    by_scale = [part[:1] in ("x", "X") for part in parts]
    if not any(by_scale):
        if not text.strip():
            raise UsageError(f"{option} wants {FORMS}, got {text!r}")
        grid = parse_t_grid(text, option) if ranged else parse_t(text, option)
        return AskedLevels(t=tuple(level.exact for level in grid.levels))
    if not all(by_scale):
        raise UsageError(f"{option}: write x before every number of {text!r}, or before none")
    bare = (":" if ranged else ",").join(part[1:] for part in parts)
    if not ranged:
        scales = [_number(part, option) for part in bare.split(",")]
    elif len(parts) == 3:
        scales = _range(bare, option, lambda value: None)
    else:
        raise UsageError(f"{option} wants start:stop:step such as x1.5:x3:x0.5, got {text!r}")
    if min(scales) < 1:
        raise UsageError(f"{option}: an SR scale must be 1 or more, got x{min(scales)}")
    return AskedLevels(scales=tuple(sorted(set(scales))))


def _read_range(text: str, option: str) -> AskedLevels:
    ends = [part.strip() for part in text.split(RANGE)]
    by_scale = [part[:1] in ("x", "X") for part in ends]
    if "," in text:
        raise UsageError(f"{option}: a range that patches draw from stands alone, got {text!r}")
    if len(ends) != 2 or any(by_scale) != all(by_scale):
        raise UsageError(f"{option} wants a range such as 0.2..0.8 or x1.5..x2.9, got {text!r}")
    low, high = (_number(part[all(by_scale) :], option) for part in ends)
    if low >= high:
        raise UsageError(f"{option}: {text!r} has nothing between its ends")
    if all(by_scale) and low < 1:
        raise UsageError(f"{option}: an SR scale must be 1 or more, got x{low}")
    if all(by_scale):
        return AskedLevels(scales=(low, high), ranged=True)
    t = tuple(_level(value, option).exact for value in (low, high))
    return AskedLevels(t=t, ranged=True)


def with_draws(grid: Grid, draws: int) -> Grid:
    """So many realisations of every level. Raises UsageError for no number of them."""
    if not 1 <= draws <= MAX_DRAWS:
        raise UsageError(f"`draws` must be from 1 to {MAX_DRAWS}, got {draws}")
    if draws == 1:
        return grid
    return grid_of(
        replace(level, draw=draw) for level in grid.levels for draw in range(1, draws + 1)
    )


def parse_grid(
    text: str,
    s_max: float,
    t_of_scale: Callable[[float], float] | None = None,
    option: str = "`t_grid`",
) -> Grid:
    """Levels t as a range `0.1:1.0:0.05` or a list `0.2,0.55`, or SR scales with an x before each
    number, as a list `x1.5,x2,x2.9` or a range `x1.5:x2.9:x0.2`; a stop is included where the steps
    reach it. `0.2..0.8` and `x1.5..x2.9` are one level that each patch draws its own of.

    s_max, t_of_scale: see `parse_scales`; for scales alone. Raises UsageError for another form, and
    for levels or scales that the checkpoint does not have.
    """
    asked = read_levels(text, option)
    if asked.scales is not None and asked.ranged:
        low, high = asked.scales
        first, _ = _of_scales([low, high], s_max, t_of_scale, option).levels
        return grid_of([replace(first, asked=RANGE.join(map(_scale_text, (low, high))))])
    if asked.ranged:
        low, high = asked.t or ()
        return grid_of([Level(low, RANGE.join(f"{end.normalize():f}" for end in (low, high)))])
    if asked.scales is not None:
        return _of_scales(list(asked.scales), s_max, t_of_scale, option)
    return grid_of(Level(t) for t in asked.t or ())


def refuse_moved(values: Mapping[str, Any], where: str = "") -> None:
    """Raises UsageError, saying what to write instead, for keys that `t_grid` has taken over.

    values: what a recipe says under the key `where`.
    """
    for key in _MOVED:
        if key in values:
            text = in_t_grid(key, values[key])
            raise UsageError(f'`{where}{key}` is gone: write `{where}t_grid: "{text}"`')


_MOVED = {"t": ("", "0.2,0.55"), "scales": ("x", "x1.5,x2")}
"""What goes before each number in `t_grid`, and an example."""


def in_t_grid(key: str, value: Any) -> str:
    """What `t_grid` takes in place of `t` or `scales`; an example where `value` is no list."""
    x, example = _MOVED[key]
    parts = value if isinstance(value, list | tuple) else str(value).split(",")
    text = ",".join(f"{x}{str(part).strip()}" for part in parts)
    return text if re.fullmatch(r"(x?[\d.]+(,|$)){1,200}", text) else example
