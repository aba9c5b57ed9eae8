"""Where the LR of the same HR patches may come from.

A source gives the LR of a crop: most of them hold the LR of every patch, at one level or several;
hand-made degradations that are random are drawn anew for every crop, as their trainers do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from degflow_pipe.evaluation import baselines
from degflow_pipe.noise.drawing import added
from degflow_pipe.noise.model import NoiseModel

MARGIN = 32
"""Pixels around a crop that a degradation drawn for it sees, and that are cut off again."""


@dataclass(frozen=True)
class Place:
    """One crop: number of the patch, top left corner and side in pixels."""

    patch: int
    y: int
    x: int
    side: int

    def cut(self, patch: np.ndarray) -> np.ndarray:
        return patch[self.y : self.y + self.side, self.x : self.x + self.side]


Source = Callable[[Place, np.random.Generator], np.ndarray]
"""The LR of a crop, (side, side, 3) uint8."""


def held(
    lr: np.ndarray, t: list[float], noise: NoiseModel | None, place: Place, rng: np.random.Generator
) -> np.ndarray:
    """LR that is there: lr (N, T, P, P, 3) uint8 at levels t, one of which is drawn."""
    level = int(rng.integers(len(t)))
    crop = place.cut(lr[place.patch, level])
    return crop if noise is None else added(crop, t[level], noise, int(rng.integers(2**63)))


def drawn(
    hr: np.ndarray,
    degrade: baselines.Baseline,
    scale: float,
    place: Place,
    rng: np.random.Generator,
) -> np.ndarray:
    """LR made for this crop alone: hr (N, P, P, 3) uint8."""
    y, x = max(place.y - MARGIN, 0), max(place.x - MARGIN, 0)
    below, right = place.y + place.side + MARGIN, place.x + place.side + MARGIN
    lr = degrade(hr[place.patch, y:below, x:right], None, scale, rng)
    return Place(0, place.y - y, place.x - x, place.side).cut(lr)


def by_hand(name: str, hr: np.ndarray, real: np.ndarray, scale: float) -> Source:
    """`bicubic`, `gaussian`, `esrgan_style` or `bsrgan_style`; hr, real: (N, P, P, 3) uint8."""
    if name == "esrgan_style":
        return partial(drawn, hr, baselines.real_esrgan_style, scale)
    if name == "bsrgan_style":
        return partial(drawn, hr, baselines.bsrgan_style, scale)
    if name == "gaussian":
        sigma = best_sigma(hr, real)
        lr = [cv2.GaussianBlur(patch, (0, 0), sigma) for patch in hr]
    else:
        rng = np.random.default_rng(0)  # bicubic draws nothing
        lr = [baselines.bicubic(patch, None, scale, rng) for patch in hr]
    return partial(held, np.stack(lr)[:, None], [1.0], None)


def best_sigma(hr: np.ndarray, real: np.ndarray) -> float:
    """The one Gaussian for all patches, in pixels to 2 %: least squared error against real LR."""

    def error(sigma: float) -> float:
        return float(
            sum(
                np.square(cv2.GaussianBlur(a, (0, 0), sigma).astype(np.float32) - b).mean()
                for a, b in zip(hr[:64], real[:64], strict=True)
            )
        )

    return float(min(np.geomspace(0.3, 8, 160), key=error))
