"""The warp that all tiles agree on: their shifts, each as certain as its detail, joined by a smooth
model in a few rounds, each of which reads the LR anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from degflow_pipe.alignment.model import Fitted, fitted
from degflow_pipe.alignment.tiles import Tiles, block_sums, solve
from degflow_pipe.alignment.warp import Warp, spline_of
from degflow_pipe.errors import DataError

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
    """warp; fitted: with what is not known of it; sigma: of the Gaussian, in pixels of HR, that
    makes HR as blurred as the LR; rounds: that it took.
    """

    warp: Warp
    fitted: Fitted
    sigma: float
    rounds: int


class NoFit(DataError):
    """Why no smooth warp could be found, in one line."""


def fine(hr: np.ndarray, lr: np.ndarray, first: Warp, scale: float = 0.0) -> Fine:
    """hr, lr: (H, W) uint8 grey; first: the warp to start from; scale: pixels of HR to
    one that the LR's camera had, where that is not what the warp says. Raises NoFit.
    """
    spline = spline_of(lr)
    warp = first
    scale = scale or warp.scale
    sigma = 0.5 * scale
    rounds = 0
    for extra in EXTRA:
        rounds += 1
        tiles = solve(block_sums(hr, spline, warp, sigma, extra * max(scale / 3, 0.5)), scale)
        if tiles.usable.sum() < LEAST_TILES:
            raise NoFit(
                f"only {tiles.usable.sum()} of {len(tiles.usable)} tiles of 48 pixels have detail "
                f"that both show"
            )
        found, moved = _updated(warp, tiles)
        warp = found.warp
        if not extra:
            sigma = _sigma(sigma, tiles.blur[tiles.usable][found.weights > 0.3], scale)
        if moved < DONE and not extra:
            break
    return Fine(warp, found, sigma, rounds)


def _sigma(sigma: float, blur: np.ndarray, scale: float) -> float:
    lacking = float(np.median(blur)) if len(blur) else 0.0
    return float(np.sqrt(np.clip(sigma**2 + lacking, 0.01, (2 * scale) ** 2)))


def _updated(warp: Warp, tiles: Tiles) -> tuple[Fitted, float]:
    """The warp that the tiles ask for, and pixels of HR that it was moved by at most."""
    usable = tiles.usable
    middles = tiles.middles[usable]
    ahead = warp.jacobians(middles)
    off = -np.einsum("tij,tj->ti", ahead, tiles.shift[usable])
    covariance = np.linalg.inv(tiles.certainty[usable] + 1e-9 * np.eye(2)) + FLOOR**2 * np.eye(2)
    certainty = np.linalg.inv(ahead @ covariance @ ahead.transpose(0, 2, 1))
    found = fitted(warp, middles, off, certainty)
    change = found.warp.at(middles) - warp.at(middles)
    moved = np.linalg.solve(ahead, change[..., None])[..., 0]
    return found, float(np.hypot(*moved.T).max())
