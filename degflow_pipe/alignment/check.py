"""What misalignment is left in a pair that is aligned already."""

from __future__ import annotations

import cv2
import numpy as np

from degflow_pipe.alignment.fine import NoFit, fine
from degflow_pipe.alignment.results import PairChecked
from degflow_pipe.alignment.tiles import BETWEEN, WIDE, block_means, block_sums, solve
from degflow_pipe.alignment.warp import Warp, spline_of


def checked(hr: np.ndarray, lr: np.ndarray, hr_name: str, lr_name: str) -> PairChecked:
    """hr, lr: (H, W) uint8 grey, LR of one size with HR or smaller by a whole factor. Raises NoFit.

    A tile's shift is that of the warp which fits all tiles from where the pair puts them, and what
    the tile lies off that.
    """
    scale = hr.shape[0] / lr.shape[0]
    given = np.array(
        [[1 / scale, 0, (1 / scale - 1) / 2], [0, 1 / scale, (1 / scale - 1) / 2], [0, 0, 1]]
    )
    size = hr.shape[0], hr.shape[1]
    straight = Warp.of(given, size)
    large = cv2.resize(lr, size[::-1], interpolation=cv2.INTER_CUBIC) if scale > 1 else lr
    dx, dy = _shift(hr, large)
    start = Warp.of(given @ np.array([[1, 0, dx], [0, 1, dy], [0, 0, 1.0]]), size)
    # An LR of HR's size was blurred before it was enlarged; the noise is as wide as three pixels.
    found = fine(hr, lr, start, max(scale, 2.5))
    tiles = solve(
        block_sums(hr, spline_of(lr), found.warp, found.sigma), max(scale, 2.5), WIDE, BETWEEN
    )
    told = tiles.certain
    if not told.any():
        raise NoFit("no tile has the detail to tell its shift")
    middles = tiles.middles[told]
    moved = (found.warp.at(middles) - straight.at(middles)) * scale - tiles.shift[told]
    apart = np.hypot(*moved.T)
    return PairChecked(
        hr_name,
        lr_name,
        int(told.sum()),
        [round(float(v), 3) for v in (np.median(apart), np.quantile(apart, 0.9), apart.max())],
        [round(float(v), 3) for v in np.median(moved, axis=0)],
        round(float(np.median(tiles.doubt[told])), 3),
        _gain(hr, large),
        round(float(np.median(tiles.gain[told])), 4),
        round(found.sigma, 3),
    )


def _gain(hr: np.ndarray, lr: np.ndarray) -> float | None:
    """LR over HR in what is larger than a block, where neither is next to black or white; None
    where all is.
    """
    a, b = (block_means(p.astype(np.float32)) for p in (hr, lr))
    within = (a > 16) & (a < 240) & (b > 16) & (b < 240)
    return round(float(np.median(b[within] / a[within])), 4) if within.any() else None


def _shift(hr: np.ndarray, lr: np.ndarray) -> tuple[float, float]:
    """Pixels from HR to the LR by phase correlation; none where they have too little in common."""
    a, b = (cv2.GaussianBlur(p.astype(np.float32), (0, 0), 2.0) for p in (hr, lr))
    window = cv2.createHanningWindow((a.shape[1], a.shape[0]), cv2.CV_32F)
    (dx, dy), response = cv2.phaseCorrelate(a, b, window)
    return (dx, dy) if response > 0.05 and np.hypot(dx, dy) > 1.0 else (0.0, 0.0)
