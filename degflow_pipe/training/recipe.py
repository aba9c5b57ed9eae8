"""What a training recipe says: data, model, and the settings of both stages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from degflow_pipe.choices import Distance, Endpoint, LatentLoss, TrainingPrecision, check_choice
from degflow_pipe.errors import UsageError
from degflow_pipe.model.config import ModelConfig
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.settings import AtMost, override, read, shown


@dataclass(frozen=True)
class StageSettings:
    """Optimiser and sampling of one stage; the defaults are the published ones of the RAE.

    lr rises over `warmup` steps, then falls as a cosine to `lr_end` at `steps`. `patch` is in
    pixels, a multiple of 64. `batch` is that of one step over all processes; `accumulate` parts of
    it are computed one after the other. `clip`: largest norm of the gradient, 0 for none. `ema`:
    decay of the mean of the weights that is validated and kept, 0 for the weights themselves.
    `precision`: `fp32`, `bf16` or `fp16` (mixed). `validate_every`, `save_every` and `log_every`
    are in steps. `start`: a checkpoint folder, or a shipped one's name, whose weights of this stage
    training starts from; empty for random ones.
    """

    section: ClassVar[str] = "rae"
    start: str = ""
    steps: int = 200_000
    batch: Annotated[int, AtMost(4096)] = 8
    patch: Annotated[int, AtMost(4096)] = 256
    lr: float = 1e-4
    lr_end: float = 1e-7
    warmup: int = 5_000
    betas: tuple[float, ...] = (0.5, 0.9)
    seed: Annotated[int, AtMost(10**18)] = 0
    accumulate: int = 1
    clip: float = 0.0
    ema: float = 0.0
    precision: TrainingPrecision = "fp32"
    validate_every: int = 5_000
    save_every: int = 1_000
    log_every: int = 100

    def __post_init__(self) -> None:
        for name in (
            "steps",
            "batch",
            "accumulate",
            "validate_every",
            "save_every",
            "log_every",
        ):
            if getattr(self, name) < 1:
                raise UsageError(
                    f"`{name}` must be a whole number from 1, got {getattr(self, name)}"
                )
        if self.patch < 64 or self.patch % 64:
            raise UsageError(f"`patch` must be a multiple of 64, got {self.patch}")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(f"`betas` must be two numbers in [0, 1), got {list(self.betas)}")
        if not 0 < self.lr_end <= self.lr < 1:
            raise UsageError(
                f"`lr_end` and `lr` must hold 0 < lr_end <= lr < 1, got {self.lr_end} and {self.lr}"
            )
        if self.batch % self.accumulate:
            raise UsageError(
                f"`batch` must be a multiple of `accumulate`, got "
                f"{self.batch} and {self.accumulate}"
            )
        if not 0 <= self.clip < float("inf"):
            raise UsageError(f"`clip` must be 0 or more, got {self.clip}")
        if not 0 <= self.ema < 1:
            raise UsageError(f"`ema` must be in [0, 1), got {self.ema}")
        check_choice("precision", self.precision, TrainingPrecision)
        for name in ("warmup", "seed"):
            if getattr(self, name) < 0:
                raise UsageError(f"`{name}` must be 0 or more, got {getattr(self, name)}")


@dataclass(frozen=True)
class RAESettings(StageSettings):
    """The autoencoder's own choice beside the optimiser's.

    between: share of the samples whose latent is one between knots, on the spline at a random t,
    held against `intermediate` of the knots around it; 0 (published) trains on knots alone.
    """

    between: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.between <= 1:
            raise UsageError(f"`between` must be in [0, 1], got {self.between}")


@dataclass(frozen=True)
class LFMSettings(StageSettings):
    """The velocity's own choices beside the optimiser's.

    latent_loss: `plain` (published MSE) or `normalized` (divided by the variance of z').
    perceptual: `lpips-vgg` (published, weight 0.1), `lpips-alex`, `lpips-squeeze`, `stlpips-vgg`,
    `stlpips-alex` or `none`.
    endpoint: `none` (published) or `l1`, the L1 distance between the picture decoded from the
    extrapolation to the next knot and that knot's picture; with two knots the extrapolation is
    z_t + v * (1 - t).
    """

    section: ClassVar[str] = "lfm"
    steps: int = 400_000
    batch: Annotated[int, AtMost(4096)] = 16
    lr: float = 2e-4
    warmup: int = 0
    betas: tuple[float, ...] = (0.9, 0.999)
    latent_loss: LatentLoss = "plain"
    perceptual: Distance = "lpips-vgg"
    perceptual_weight: float = 0.1
    endpoint: Endpoint = "none"
    endpoint_weight: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("latent_loss", self.latent_loss, LatentLoss)
        check_choice("perceptual", self.perceptual, Distance)
        check_choice("endpoint", self.endpoint, Endpoint)


@dataclass(frozen=True)
class JointSettings(StageSettings):
    """Stage 3, ours: velocity and decoder together.

    between: share of the samples that are held against an intermediate at a random t.
    """

    section: ClassVar[str] = "joint"
    steps: int = 20_000
    betas: tuple[float, ...] = (0.9, 0.999)
    between: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.between <= 1:
            raise UsageError(f"`between` must be in [0, 1], got {self.between}")


@dataclass(frozen=True)
class TrainRecipe:
    """A whole training recipe."""

    name: str
    data: DataSettings
    model: ModelConfig = field(default_factory=ModelConfig)
    rae: RAESettings = field(default_factory=RAESettings)
    lfm: LFMSettings = field(default_factory=LFMSettings)
    joint: JointSettings = field(default_factory=JointSettings)


def train_recipe(values: dict[str, Any]) -> TrainRecipe:
    """Check a recipe's mapping; raises UsageError naming the key that is wrong."""
    known = ("kind", "name", "data", "model", "rae", "lfm", "joint")
    unknown = sorted(map(str, set(values) - set(known)))
    if unknown:
        raise UsageError(
            f"a training recipe has no key {shown(unknown[0])}; it has {', '.join(known)}"
        )
    name = values.get("name")
    # Training goes to a folder of that name by default.
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+ -]{0,63}", name):
        raise UsageError(
            f"a training recipe needs a name of 1 to 64 letters, digits, spaces, '_', '.', '+' or "
            f"'-', got {shown(name)}"
        )
    recipe = TrainRecipe(
        name=name,
        data=read(DataSettings, values.get("data"), "data"),
        model=ModelConfig.from_dict(values.get("model", {})),
        rae=override(RAESettings(), values.get("rae"), "rae"),
        lfm=override(LFMSettings(), values.get("lfm"), "lfm"),
        joint=override(JointSettings(), values.get("joint"), "joint"),
    )
    from degflow_pipe.model.limits import check_size  # loads torch, which a wrong key needs not

    check_size(recipe.model)
    return recipe
