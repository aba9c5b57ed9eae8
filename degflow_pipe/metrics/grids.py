"""Traces that a camera leaves on a grid of pixels: JPEG blocks, and demosaicing."""

from __future__ import annotations

import cv2
import numpy as np

BLOCK = 8
"""Side of a JPEG block in pixels."""


def blockiness(picture: np.ndarray) -> dict[str, list[float]]:
    """Steps of luma at each of the 8 places that a grid of 8 pixels may have, over those elsewhere.

    picture: (H, W, 3) uint8, sides of 16 or more. Returns 8 ratios `horizontal` (steps from column
    x - 1 to x, by x modulo 8) and 8 `vertical`; JPEG blocks from the corner show at place 0, and
    a picture without blocks has about 1 everywhere.
    """
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    found = {}
    for name, plane in (("horizontal", luma), ("vertical", luma.T)):
        steps = _steps(plane)
        at = [float(np.mean(steps[(k - 1) % BLOCK :: BLOCK])) for k in range(BLOCK)]
        others = [(sum(at) - own) / (BLOCK - 1) for own in at]
        found[name] = [own / max(rest, 1e-9) for own, rest in zip(at, others, strict=True)]
    return found


def grid_line(picture: np.ndarray, period: float) -> float:
    """How strongly the steps of luma come and go with a period, as the grid of an enlarged JPEG.

    picture: (H, W, 3) uint8; period: pixels. The strongest amplitude within 5 % of the period,
    horizontally or vertically, over the mean step. Never 0: compare it with that of HR.
    """
    luma = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float64)
    strongest = 0.0
    for plane in (luma, luma.T):
        # The logarithm keeps a few strong edges from hiding the grid.
        steps = np.log(_steps(plane) + 0.1)
        slow = cv2.GaussianBlur(steps[None], (0, 0), period, borderType=cv2.BORDER_REFLECT)[0]
        place = np.arange(len(steps))
        for tried in np.linspace(0.95, 1.05, 101) * period:
            wave = np.exp(-2j * np.pi * place / tried)
            strongest = max(strongest, float(2 * abs(np.mean((steps - slow) * wave))))
    return strongest


def _steps(plane: np.ndarray) -> np.ndarray:
    """(H, W) to the mean size of the step from each column to the next, (W - 1,)."""
    return np.mean(np.abs(np.diff(plane, axis=1)), axis=0)


def mosaic(picture: np.ndarray) -> list[float]:
    """Power of the finest detail of green at each of the 4 places of a 2 x 2 grid, over their mean.

    picture: (H, W, 3) uint8. In the order of rows; all are about 1 where no mosaic shows.
    """
    green = picture[..., 1].astype(np.float64)
    fine = (green - cv2.blur(green, (3, 3)))[1:-1, 1:-1] ** 2
    # The first row and column are gone, so that place (0, 0) begins at 1.
    at = [float(np.mean(fine[1 - y :: 2, 1 - x :: 2])) for y in (0, 1) for x in (0, 1)]
    return [power / max(float(np.mean(at)), 1e-9) for power in at]
