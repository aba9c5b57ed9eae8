"""What `evaluate` returns; its JSON and figures.json have these fields by their names."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from degflow_pipe.checkpoint.verdict import Verdict
from degflow_pipe.metrics.residual_figures import Residual


@dataclass(frozen=True)
class Spread:
    """A figure over scenes, in the figure's own unit; std: deviation of the population."""

    mean: float
    std: float
    min: float
    max: float


@dataclass(frozen=True)
class AgainstHR:
    """One LR against HR, means over scenes.

    psnr_to_hr: dB. noise: deviation at the flat places of the real LR, grey levels, see
    `noise_divergence`. power: of the LR by band, grey levels squared; coherence: with HR by band, 0
    to 1, of all scenes together (see `spectrum.PooledCoherence`); both of the green channel.
    """

    psnr_to_hr: float
    noise: float
    power: list[float]
    coherence: list[float]


@dataclass(frozen=True)
class LevelFigures:
    """One level of the real pairs.

    held_out: whether the level is no knot. candidates: by candidate and figure. Figures against the
    real LR: psnr and psnr_y in dB, 120 for equal pictures; ssim and ssim_y, 1 at most; noise_kl in
    nats, see `noise_divergence`; spectrum, a mean difference of log10 power; perceptual, where it
    was asked for. bands: middles of the bands, cycles a pixel. against_hr: of `real`, `generated`
    and, where the checkpoint has noise, `noisy`.
    """

    t: float
    held_out: bool
    candidates: dict[str, dict[str, Spread]]
    bands: list[float]
    against_hr: dict[str, AgainstHR]


@dataclass(frozen=True)
class Curve:
    """PSNR in dB of generated pictures to HR at levels t, means over scenes."""

    t: list[float]
    psnr_to_hr: list[float]


@dataclass(frozen=True)
class BlurOfScale:
    """Equivalent blur of generated pictures at scales s: sigma in pixels, means over scenes."""

    s: list[float]
    sigma: list[float]


@dataclass(frozen=True)
class Sweep:
    """One figure of generated pictures at levels t against one real LR; best: the t of its best."""

    t: list[float]
    values: list[float]
    best: float


@dataclass(frozen=True)
class OfScene:
    """One held-out scene. psnr: by level, of `generated` to the real LR, the whole picture, in dB,
    120 for equal ones. crop: y and x in pixels of the top left corner of its pictures in `crops`;
    empty where there are none.
    """

    scene: str
    psnr: dict[str, float]
    crop: list[int]


@dataclass(frozen=True)
class Evaluation:
    """Generated against real LR of held-out scenes.

    scenes: their names; by_scene: figures of each. perceptual: kind of the distance. evaluations:
    of v for a picture, all levels together. levels, sweep and residual: by name of the level; sweep
    further by figure, and empty where it was not asked for, as residual is. verdict: on the
    checkpoint by these scenes and
    what `calibrate` measured; not_kept: why these figures are not in config.json, empty where they
    are. checkpoint: its id; source, licence: of the pairs, as the checkpoint or the recipe says.
    """

    scenes: list[str]
    perceptual: str
    evaluations: int
    levels: dict[str, LevelFigures]
    curve: Curve
    blur: BlurOfScale
    sweep: dict[str, dict[str, Sweep]]
    residual: dict[str, Residual]
    verdict: Verdict
    not_kept: str = ""
    by_scene: list[OfScene] = field(default_factory=list)
    checkpoint: str = ""
    source: str = ""
    licence: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
