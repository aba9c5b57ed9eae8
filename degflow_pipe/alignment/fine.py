"""The warp that all tiles agree on: their shifts, each as certain as its detail, joined by a smooth
model in a few rounds, each of which reads the LR anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from degflow_pipe.alignment.model import fitted
from degflow_pipe.alignment.tiles import Tiles, block_sums, solve
from degflow_pipe.alignment.warp import Warp, spline_of

EXTRA = (2.0, 0.0, 0.0, 0.0, 0.0)
"""Blur, in pixels of HR over a third of the scale, that both get in each round at least: a first
warp may lie off by more than what is sharp allows to see."""
FLOOR = 0.03
"""Pixels of HR that no tile's shift is better known than: its detail is not what was assumed."""
DONE = 0.01
"""Pixels of HR: rounds end when no tile is moved by more."""
LEAST_TILES = 6


@dataclass(frozen=True)
class Fine:
    """warp; sigma: of the Gaussian, in pixels of HR, that makes HR as blurred as the LR; tiles: as
    they lie after the last round; weights: (T,) how far each was believed; before: (T, 2) shifts
    at the first warp, of the tiles that could be used then, else NaN.
    """

    warp: Warp
    sigma: float
    tiles: Tiles
    weights: np.ndarray
    rounds: int


class NoFit(Exception):
    """Why no smooth warp could be found, in one line."""


def fine(hr: np.ndarray, lr: np.ndarray, first: Warp) -> Fine:
    """hr, lr: (H, W) uint8 grey; first: the warp to start from. Raises NoFit."""
    spline = spline_of(lr)
    warp = first
    scale = warp.scale
    sigma = 0.5 * scale
    for number, extra in enumerate(EXTRA):
        tiles = solve(block_sums(hr, spline, warp, sigma, extra * max(scale / 3, 0.5)), scale)
        if tiles.usable.sum() < LEAST_TILES:
            raise NoFit(
                f"only {tiles.usable.sum()} of {len(tiles.usable)} tiles of 96 pixels have detail "
                f"that both show"
            )
        warp, weights, moved = _updated(warp, tiles)
        if not extra:
            sigma = _sigma(sigma, tiles, weights, scale)
        if moved < DONE and not extra:
            break
    tiles = solve(block_sums(hr, spline, warp, sigma), scale)
    return Fine(warp, sigma, tiles, weights, number + 1)


def _sigma(sigma: float, tiles: Tiles, weights: np.ndarray, scale: float) -> float:
    believed = weights > 0.3
    lacking = float(np.median(tiles.blur[believed])) if believed.any() else 0.0
    return float(np.sqrt(np.clip(sigma**2 + lacking, 0.01, (2 * scale) ** 2)))


def _updated(warp: Warp, tiles: Tiles) -> tuple[Warp, np.ndarray, float]:
    """The warp that the tiles ask for, their weights, and pixels of HR that it was moved by."""
    usable = tiles.usable
    middles = tiles.middles[usable]
    ahead = warp.jacobians(middles)
    off = -np.einsum("tij,tj->ti", ahead, tiles.shift[usable])
    covariance = np.linalg.inv(tiles.certainty[usable] + 1e-9 * np.eye(2)) + FLOOR**2 * np.eye(2)
    certainty = np.linalg.inv(ahead @ covariance @ ahead.transpose(0, 2, 1))
    made, weights = fitted(warp, middles, off, certainty)
    every = np.zeros(len(usable))
    every[usable] = weights
    change = np.linalg.solve(ahead, (made.at(middles) - warp.at(middles))[..., None])[..., 0]
    return made, every, float(np.hypot(*change.T).max())
