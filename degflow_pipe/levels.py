"""Levels: t in [0, 1], the SR scale s that goes with it, and grids of them.

t = (s - 1) / (s_max - 1), with s_max the scale of the checkpoint's t = 1 (Kim et al., AAAI 2026:
s_max = 4), where the checkpoint was not calibrated. Grids are kept in exact decimals, so that 0.35
is the same level however it was reached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from degflow_pipe.errors import UsageError

MAX_LEVELS = 200
NO_NOISE = "none"
_T_DIGITS = Decimal("1e-9")


@dataclass(frozen=True, order=True)
class Level:
    """One degradation level; `exact` is t with at most nine decimals."""

    exact: Decimal

    def __post_init__(self) -> None:
        if not 0 <= self.exact <= 1:
            raise UsageError(f"level t must be in [0, 1], got {self.exact}")

    @property
    def t(self) -> float:
        return float(self.exact)

    @property
    def name(self) -> str:
        """`t` and the digits of t, three decimals at least: 0.35 is t0350, 1/6 is t0166666667.

        Names sort as their levels do.
        """
        whole, _, decimals = f"{self.exact:.9f}".partition(".")
        return f"t{whole}{decimals.rstrip('0').ljust(3, '0')}"

    def scale(self, s_max: float) -> float:
        """The SR scale s = 1 + t * (s_max - 1), to six decimals."""
        return round(1.0 + self.t * (s_max - 1.0), 6)


@dataclass(frozen=True)
class Grid:
    """Levels in rising order, without repeats.

    The rest is said by the checkpoint that makes them (see `checkpoint.identity`). scales: the SR
    scale of each; scale_map: what they follow from. noise: what generated LR carries, `none`, or
    `calibrated`, the seed and a digest of the noise model. checkpoint: its id, for people.
    precision: of the decoder. pictures: all that the pixels depend on.
    """

    levels: tuple[Level, ...]
    scales: tuple[float, ...] = ()
    noise: str = NO_NOISE
    checkpoint: str = ""
    precision: str = ""
    pictures: str = ""
    scale_map: str = ""

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
        return f"{self.levels[0].name}-{self.levels[-1].name}-{len(self.levels)}-{digest}"

    def __len__(self) -> int:
        return len(self.levels)


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
        raise UsageError(f"{option}: {text.strip()!r} is not a number")
    return value


def parse_numbers(text: str, option: str, example: str) -> tuple[float, ...]:
    """`0,4` to numbers in their order, without repeats. Raises UsageError for anything else."""
    try:
        return tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError as error:
        raise UsageError(f"{option} wants numbers such as {example}; got {text!r}") from error


def _level(value: Decimal, option: str) -> Level:
    if not 0 <= value <= 1:
        raise UsageError(f"{option}: t must be in [0, 1], got {value}")
    return Level(value.quantize(_T_DIGITS, ROUND_HALF_EVEN).normalize() + 0)


def parse_t_grid(text: str, option: str = "--t-grid") -> Grid:
    """`start:stop:step`, stop included where the steps reach it: 0.1:1.0:0.05 is 19 levels.

    Raises UsageError for another form, a step of 0 or less, a stop below the start, or a t outside
    [0, 1].
    """
    parts = text.split(":")
    if len(parts) != 3:
        raise UsageError(f"{option} wants start:stop:step such as 0.1:1.0:0.05, got {text!r}")
    start, stop, step = (_number(part, option) for part in parts)
    if step <= 0:
        raise UsageError(f"{option}: step must be above 0, got {step}")
    if stop < start:
        raise UsageError(f"{option}: stop {stop} is below start {start}")
    _level(start, option), _level(stop, option)
    if step * MAX_LEVELS <= stop - start:
        raise UsageError(f"{option}: {text} is more than the {MAX_LEVELS} levels that are allowed")
    count = int((stop - start) / step) + 1
    return grid_of(_level(start + i * step, option) for i in range(count))


def parse_t(text: str, option: str = "--t") -> Grid:
    """A list of levels, `0.2,0.55`. Raises UsageError naming the value that is wrong."""
    return grid_of(_level(_number(part, option), option) for part in text.split(","))


def parse_scales(
    text: str,
    s_max: float,
    t_of_scale: Callable[[float], float] | None = None,
    option: str = "--scales",
) -> Grid:
    """A list of SR scales, `1.5,2,3.3`, from 1 to s_max. Raises UsageError for any other.

    t_of_scale: a checkpoint's own mapping, t = (s - 1) / (s_max - 1) by default.
    """
    levels, top = [], Decimal(str(s_max))
    for part in text.split(","):
        s = _number(part, option)
        if not 1 <= s <= top:
            raise UsageError(
                f"{option}: {s} is outside the scales of this checkpoint, 1 to {top} (t = 1)"
            )
        t = (s - 1) / (top - 1) if t_of_scale is None else Decimal(repr(t_of_scale(float(s))))
        levels.append(_level(t, option))
    return grid_of(levels)


def names_of_scales(text: str, option: str = "--scales") -> list[str]:
    """`3,1.50` to x1.5, x3: names of the levels that `parse_scales` makes of it, in their order."""
    scales = sorted({_number(part, option) for part in text.split(",")})
    return [f"x{scale.normalize():f}" for scale in scales]
