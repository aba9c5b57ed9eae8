"""Where the LR of the same HR patches may come from.

A source gives the LR of a crop: most of them hold the LR of every patch, at one level or several;
hand-made degradations that are random are drawn anew for every crop, as their trainers do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from degflow_pipe.evaluation import baselines
from degflow_pipe.noise.drawing import added
from degflow_pipe.noise.model import NoiseModel
from degflow_pipe.pictures.arrays import shrunk

FITTED = 64
"""Patches that the one Gaussian is fitted on."""
MARGIN = 32
"""Pixels around a crop that a degradation drawn for it sees, and that are cut off again."""


@dataclass(frozen=True)
class Place:
    """One crop: number of the patch, top left corner and side in pixels of the LR."""

    patch: int
    y: int
    x: int
    side: int

    def cut(self, patch: np.ndarray) -> np.ndarray:
        return patch[self.y : self.y + self.side, self.x : self.x + self.side]

    def on_hr(self, sr_scale: int) -> Place:
        """The same in pixels of an HR that is so many times as large."""
        return Place(self.patch, *(sr_scale * n for n in (self.y, self.x, self.side)))


Source = Callable[[Place, np.random.Generator], np.ndarray]
"""The LR of a crop, (side, side, 3) uint8."""


def held(
    lr: np.ndarray,
    t: list[float],
    noise: NoiseModel | None,
    place: Place,
    rng: np.random.Generator,
    own: Sequence[float] = (),
) -> np.ndarray:
    """LR that is there: lr (N, T, p, p, 3) uint8 at levels t, one of which is drawn.

    own: by level, the share of HR's own noise, see `NoiseModel.drawn`; 1 where it is empty.
    """
    level = int(rng.integers(len(t)))
    crop = place.cut(lr[place.patch, level])
    if noise is None:
        return crop
    return added(crop, t[level], noise, int(rng.integers(2**63)), own[level] if own else 1.0)


def beside(
    first: Source, count: int, second: Source, place: Place, rng: np.random.Generator
) -> np.ndarray:
    """LR of two sources, whose patches are numbered one after the other: `count` of the first."""
    if place.patch < count:
        return first(place, rng)
    return second(replace(place, patch=place.patch - count), rng)


def drawn(
    hr: np.ndarray,
    degrade: baselines.Baseline,
    scale: float,
    sr_scale: int,
    place: Place,
    rng: np.random.Generator,
) -> np.ndarray:
    """LR made for this crop alone: hr (N, P, P, 3) uint8."""
    at = place.on_hr(sr_scale)
    y, x = max(at.y - MARGIN, 0), max(at.x - MARGIN, 0)
    below, right = at.y + at.side + MARGIN, at.x + at.side + MARGIN
    lr = degrade(hr[place.patch, y:below, x:right], None, scale, rng)
    cut = Place(0, at.y - y, at.x - x, at.side).cut(lr)
    return cut if sr_scale == 1 else shrunk(cut, (place.side, place.side))


def by_hand(name: str, hr: np.ndarray, sigma: float, scale: float, sr_scale: int = 1) -> Source:
    """`bicubic`, `gaussian`, `esrgan_style` or `bsrgan_style`.

    hr: (N, P, P, 3) uint8. sigma: of `gaussian`, in pixels; see `best_sigma`.
    """
    if name == "esrgan_style":
        return partial(drawn, hr, baselines.real_esrgan_style, scale, sr_scale)
    if name == "bsrgan_style":
        return partial(drawn, hr, baselines.bsrgan_style, scale, sr_scale)
    if name == "gaussian":
        lr = [_as_small(cv2.GaussianBlur(patch, (0, 0), sigma), sr_scale) for patch in hr]
    elif sr_scale > 1:
        lr = [_as_small(patch, sr_scale) for patch in hr]
    else:
        rng = np.random.default_rng(0)  # bicubic draws nothing
        lr = [baselines.bicubic(patch, None, scale, rng) for patch in hr]
    return partial(held, np.stack(lr)[:, None], [1.0], None)


def _as_small(picture: np.ndarray, sr_scale: int) -> np.ndarray:
    height, width = (side // sr_scale for side in picture.shape[:2])
    return picture if sr_scale == 1 else shrunk(picture, (height, width))


def best_sigma(hr: np.ndarray, real: np.ndarray) -> float:
    """The one Gaussian for all patches, in pixels to 2 %: least squared error against real LR,
    which may be smaller: then what it blurred is shrunk. hr, real: (N, P, P, 3) and (N, p, p, 3)
    uint8; it is fitted on FITTED of them, from the first to the last.
    """
    sr_scale = hr.shape[1] // real.shape[1]
    some = np.unique(np.linspace(0, len(hr) - 1, FITTED).round().astype(int))

    def error(sigma: float) -> float:
        return float(
            sum(
                np.square(
                    _as_small(cv2.GaussianBlur(a, (0, 0), sigma), sr_scale).astype(np.float32) - b
                ).mean()
                for a, b in zip(hr[some], real[some], strict=True)
            )
        )

    return float(min(np.geomspace(0.3, 8, 160), key=error))
