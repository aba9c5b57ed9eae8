"""What a training recipe says: data, model, and the settings of both stages."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

from degflow_pipe.errors import UsageError
from degflow_pipe.model.config import ModelConfig
from degflow_pipe.settings import override, read


@dataclass(frozen=True)
class LevelFiles:
    """One level of the pairs: its name, its t, and a pattern whose `*` stands for the scene."""

    name: str
    t: float
    files: str

    def __post_init__(self) -> None:
        if not 0.0 <= self.t <= 1.0:
            raise UsageError(f"data.levels: t of {self.name} must be in [0, 1], got {self.t}")
        if self.files.startswith("/") or self.files.count("*") != 1:
            raise UsageError(
                f"data.levels: files of {self.name} must be a path below the data's "
                f"folder with one * that stands for the scene, got {self.files!r}"
            )


@dataclass(frozen=True)
class DataSettings:
    """Where the pairs are and which scenes are held out.

    validate: scene names or ranges of numbers (`061-070`), separated by commas. s_max: the SR scale
    that t = 1 stands for. HR is the level with t = 0.
    """

    levels: list[dict[str, Any]]
    validate: str
    s_max: float
    source: str
    licence: str
    root: str = "."

    def __post_init__(self) -> None:
        knots = self.knots
        times = [level.t for level in knots]
        if len(times) < 2 or times[0] != 0.0 or any(a >= b for a, b in pairwise(times)):
            raise UsageError(
                f"data.levels must start with HR at t = 0 and rise strictly in t, got t = {times}"
            )
        if not 1 < self.s_max < float("inf"):
            raise UsageError(f"data.s_max must be above 1, got {self.s_max}")

    @property
    def knots(self) -> list[LevelFiles]:
        return [read(LevelFiles, level, "data.levels") for level in self.levels]


@dataclass(frozen=True)
class StageSettings:
    """Optimiser and sampling of one stage; the defaults are the published ones of the RAE.

    lr rises over `warmup` steps, then falls as a cosine to `lr_end` at `steps`. `patch` is in
    pixels, a multiple of 64. `validate_every` and `save_every` are in steps.
    """

    section: ClassVar[str] = "rae"
    steps: int = 200_000
    batch: int = 8
    patch: int = 256
    lr: float = 1e-4
    lr_end: float = 1e-7
    warmup: int = 5_000
    betas: tuple[float, ...] = (0.5, 0.9)
    seed: int = 0
    validate_every: int = 5_000
    save_every: int = 1_000

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validate_every", "save_every"):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"{self.section}.{name} must be a whole number from 1, got "
                    f"{getattr(self, name)}"
                )
        if self.patch < 64 or self.patch % 64:
            raise UsageError(f"{self.section}.patch must be a multiple of 64, got {self.patch}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(
                f"{self.section}.betas must be two numbers in [0, 1), got {list(self.betas)}"
            )
        if not 0 < self.lr_end <= self.lr < 1:
            raise UsageError(
                f"{self.section}: 0 < lr_end <= lr < 1 is needed, got {self.lr_end} and {self.lr}"
            )
        if self.warmup < 0 or self.seed < 0:
            raise UsageError(
                f"{self.section}: warmup and seed must be 0 or more, got {self.warmup}, {self.seed}"
            )


@dataclass(frozen=True)
class LFMSettings(StageSettings):
    """The velocity's own choices beside the optimiser's.

    latent_loss: `plain` (published MSE) or `normalized` (divided by the variance of z').
    perceptual: `lpips-vgg|lpips-alex|lpips-squeeze` (published: VGG, weight 0.1) or `none`.
    endpoint: `none` (published) or `l1`, the L1 distance between the picture decoded from the
    extrapolation to the next knot and that knot's picture; with two knots the extrapolation is
    z_t + v * (1 - t).
    """

    section: ClassVar[str] = "lfm"
    steps: int = 400_000
    batch: int = 16
    lr: float = 2e-4
    warmup: int = 0
    betas: tuple[float, ...] = (0.9, 0.999)
    latent_loss: str = "plain"
    perceptual: str = "lpips-vgg"
    perceptual_weight: float = 0.1
    endpoint: str = "none"
    endpoint_weight: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (
            ("latent_loss", ("plain", "normalized")),
            ("perceptual", ("none", "lpips-vgg", "lpips-alex", "lpips-squeeze")),
            ("endpoint", ("none", "l1")),
        ):
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"lfm.{name} must be one of {', '.join(choices)}; got {getattr(self, name)!r}"
                )


@dataclass(frozen=True)
class TrainRecipe:
    """A whole training recipe."""

    name: str
    data: DataSettings
    model: ModelConfig = field(default_factory=ModelConfig)
    rae: StageSettings = field(default_factory=StageSettings)
    lfm: LFMSettings = field(default_factory=LFMSettings)


def train_recipe(values: dict[str, Any]) -> TrainRecipe:
    """Check a recipe's mapping; raises UsageError naming the key that is wrong."""
    known = ("kind", "name", "data", "model", "rae", "lfm")
    unknown = sorted(map(str, set(values) - set(known)))
    if unknown:
        raise UsageError(f"a training recipe has no key {unknown[0]!r}; it has {', '.join(known)}")
    if not isinstance(values.get("name"), str):
        raise UsageError("a training recipe needs a name")
    return TrainRecipe(
        name=values["name"],
        data=read(DataSettings, values.get("data"), "data"),
        model=ModelConfig.from_dict(values.get("model", {})),
        rae=override(StageSettings(), values.get("rae"), "rae"),
        lfm=override(LFMSettings(), values.get("lfm"), "lfm"),
    )
