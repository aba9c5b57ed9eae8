"""Sizes and choices of the two networks and of the solver, with the presets that have names."""

from __future__ import annotations

from bisect import bisect
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Annotated, Any

from degflow_pipe.errors import UsageError
from degflow_pipe.settings import AtLeast, AtMost, override, shown

COMPRESSION = 8
"""Side of a latent pixel in picture pixels (r in the paper)."""


MIXING = ("blurs", "lens")
"""Heads that mix HR's blurs; their weights are the same ones."""


@dataclass(frozen=True)
class RAEConfig:
    """The residual autoencoder: width `D` and latent channels `C` of the paper.

    head: how the decoder ends. `rgb` (published) computes the picture's pixels; `blurs` computes,
    at half size, how much of each Gaussian blur of HR a pixel is made of; `lens` does, and LR has
    HR's light: see `model.light`.
    """

    width: Annotated[int, AtMost(1024)] = 128
    latent_channels: Annotated[int, AtMost(256)] = 4
    head: str = "rgb"

    def __post_init__(self) -> None:
        _at_least("width", self.width, 1)
        _at_least("latent_channels", self.latent_channels, 1)
        _one_of("head", self.head, ("rgb", *MIXING))


@dataclass(frozen=True)
class VelocityConfig:
    """The velocity net.

    time_embedding: `sinusoidal` (of 999*t, published) or `smooth` (frequencies pi to pi/64).
    condition: `none` (the net sees z alone, published) or `skips` (it sees the HR skips too).
    view: `global` (group norms over the whole picture and attention, published) or `local` (norms
    over the channels of each pixel, no attention): then a place's velocity depends on what is
    around it alone, and a net trained on crops does the same on pictures of any size.
    """

    width: Annotated[int, AtMost(1024)] = 128
    multipliers: Annotated[tuple[int, ...], AtMost(16)] = (1, 2, 2, 2)
    blocks: Annotated[int, AtMost(32)] = 4
    dropout: float = 0.1
    time_embedding: str = "sinusoidal"
    condition: str = "none"
    view: str = "global"

    def __post_init__(self) -> None:
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        _at_least("width", self.width, 4)
        _at_least("blocks", self.blocks, 1)
        if not 2 <= len(self.multipliers) <= 4 or min(self.multipliers) < 1:
            raise UsageError(
                f"`multipliers` must be 2 to 4 whole numbers from 1, got {shown(self.multipliers)}"
            )
        # GroupNorm takes min(c/4, 32) groups of each width, also of two joined by a skip.
        widths = [self.width * m for m in (1, *self.multipliers)]
        for c in {*widths, *(a + b for a in widths for b in widths)}:
            if c % 4 or c % min(c // 4, 32):
                raise UsageError(
                    f"`width` must be 4, 8, 16 or a multiple of 32 (and give whole groups "
                    f"of channels with its multipliers), got {self.width}"
                )
        if not 0.0 <= self.dropout < 1.0:
            raise UsageError(f"`dropout` must be in [0, 1), got {self.dropout}")
        _one_of("time_embedding", self.time_embedding, ("sinusoidal", "smooth"))
        _one_of("condition", self.condition, ("none", "skips"))
        _one_of("view", self.view, ("global", "local"))


FIXED_METHODS = ("euler", "midpoint", "heun2", "heun3", "rk4")
ADAPTIVE_METHODS = ("dopri5",)
"""torchdiffeq's others (bosh3, dopri8) miss their tolerance between steps by a factor of 100."""
TIGHTEST = 1e-7
"""Tolerance; float32 cannot tell closer ones, and the steps would become ever smaller."""


@dataclass(frozen=True)
class SolverConfig:
    """How dz/dt = v(z, t) is integrated, and which levels are decoded.

    A fixed-step method takes `steps` equal steps over [t_start, 1]; an adaptive one takes `rtol`
    and `atol`. t_start is the published 1e-3. decode_at: rising levels from 0 to 1; a level between
    two of them is drawn on a straight line between their pictures. Empty: each level is decoded.
    """

    method: str = "rk4"
    steps: Annotated[int, AtMost(100)] = 4
    rtol: Annotated[float, AtLeast(TIGHTEST), AtMost(1)] = 1e-5
    atol: Annotated[float, AtLeast(TIGHTEST), AtMost(1)] = 1e-5
    t_start: float = 1e-3
    decode_at: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "decode_at", tuple(map(float, self.decode_at)))
        _one_of("method", self.method, FIXED_METHODS + ADAPTIVE_METHODS)
        _at_least("steps", self.steps, 1)
        if not (0 < self.rtol <= 1 and 0 < self.atol <= 1):
            raise UsageError(
                f"`rtol` and `atol` must be above 0 and at most 1, got {self.rtol}, {self.atol}"
            )
        if not 0 <= self.t_start < 1:
            raise UsageError(f"`t_start` must be in [0, 1), got {self.t_start}")
        rising = all(a < b for a, b in pairwise(self.decode_at))
        if self.decode_at and not (rising and (self.decode_at[0], self.decode_at[-1]) == (0, 1)):
            raise UsageError(
                f"`decode_at` must be empty or rise from 0 to 1, got {shown(list(self.decode_at))}"
            )

    @property
    def adaptive(self) -> bool:
        return self.method in ADAPTIVE_METHODS

    def decoded(self, t: float) -> tuple[float, float, float]:
        """The levels that are decoded for level t, on both sides of it, and the second's weight.

        Both are t itself, and the weight 0, where it is decoded itself.
        """
        if not self.decode_at or t in self.decode_at or not 0 < t < 1:
            return t, t, 0.0
        i = bisect(self.decode_at, t)
        left, right = self.decode_at[i - 1 : i + 1]
        return left, right, (t - left) / (right - left)


@dataclass(frozen=True)
class ModelConfig:
    """Everything that decides what the networks compute."""

    rae: RAEConfig = field(default_factory=RAEConfig)
    velocity: VelocityConfig = field(default_factory=VelocityConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)

    @property
    def side_multiple(self) -> int:
        """Picture sides must be multiples of this inside the model (64 at the published depth)."""
        return COMPRESSION * 2 ** (len(self.velocity.multipliers) - 1)

    def to_dict(self) -> dict[str, Any]:
        data = asdict(self)
        data["velocity"]["multipliers"] = list(self.velocity.multipliers)
        data["solver"]["decode_at"] = list(self.solver.decode_at)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelConfig:
        """Read `{"preset": ..., "rae": {...}, "velocity": {...}, "solver": {...}}`.

        Values given beside a preset override it. Raises UsageError naming the key that is wrong.
        """
        if not isinstance(data, dict):
            raise UsageError(f"model must be a mapping, got {shown(data)}")
        data = dict(data)
        preset = data.pop("preset", None)
        if preset is not None and preset not in list(PRESETS):
            raise UsageError(f"`model.preset` {shown(preset)} is not one of {', '.join(PRESETS)}")
        base = PRESETS[preset] if preset is not None else cls()
        unknown = set(data) - {"rae", "velocity", "solver"}
        if unknown:
            raise UsageError(f"model has no key {shown(sorted(map(str, unknown))[0])}")
        return cls(
            rae=override(base.rae, data.get("rae"), "model.rae"),
            velocity=override(base.velocity, data.get("velocity"), "model.velocity"),
            solver=override(base.solver, data.get("solver"), "model.solver"),
        )


def _at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise UsageError(f"`{name}` must be a whole number from {low}, got {value!r}")


def _one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise UsageError(f"`{name}` must be one of {', '.join(choices)}; got {shown(value)}")


PRESETS: dict[str, ModelConfig] = {
    "published": ModelConfig(),
    "compact": ModelConfig(
        rae=RAEConfig(width=16, head="blurs"),
        velocity=VelocityConfig(
            width=32,
            multipliers=(1, 2),
            blocks=2,
            time_embedding="smooth",
            condition="skips",
            view="local",
        ),
        # 5 evaluations of v; measured on a trained compact model, see checkpoints/README.md
        solver=SolverConfig(method="heun2", steps=2),
    ),
}
