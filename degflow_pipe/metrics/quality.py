"""How good a photo is as HR, by itself: sharp to its pixels, free of JPEG blocks, clipping, noise.

All but clipping is measured on tiles of 64 pixels, at most 16 x 16 of them, spread evenly over the
photo: so a large one costs no more than a small one, and the same photo has the same figures.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from degflow_pipe.metrics.grids import BLOCK
from degflow_pipe.metrics.spectrum import hann_window
from degflow_pipe.pictures.arrays import middle
from degflow_pipe.quality import Quality

TILE = 64
"""Side of a tile in pixels; a photo with a shorter side has no figure but `clipped`."""
TILES = 16
"""Tiles along a side, at most."""
FINE = 0.3
"""Cycles a pixel, both ways, above which detail is fine: an enlargement by x1.7 and more has none
there, and by x1.5 little."""
LEAST_DETAIL = 0.25
"""Of a tile, in grey levels (see `patches.Patch.detail`), below which a tile is flat and does not
tell how sharp the photo is."""
STEP = 8.0
"""Grey levels at which a step is cut off: the edges of things are higher than those of blocks."""
CALM = 16
"""Side in pixels of the places in which noise is measured."""


def quality_of(photo: np.ndarray) -> Quality:
    """All figures of a photo (H, W, 3) uint8 RGB, rounded as they are stored and compared."""
    share = clipped(photo)
    if min(photo.shape[:2]) < TILE:
        return Quality(clipped=round(share, 5))
    tiles = spread(photo)
    sharp = sharpness(tiles)
    return Quality(
        sharpness=None if sharp is None else round(sharp, 3),
        blockiness=round(blockiness(tiles), 3),
        clipped=round(share, 5),
        noise=None if (found := noise(tiles)) is None else round(found, 3),
    )


def spread(photo: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 to its (N, 64, 64, 3) tiles, which begin at multiples of 8 pixels."""
    rows, columns = (_starts(length) for length in photo.shape[:2])
    return np.stack([photo[y : y + TILE, x : x + TILE] for y in rows for x in columns])


def telling(photo: np.ndarray, figure: str) -> np.ndarray:
    """The piece of a photo (H, W, 3) uint8 that shows best what a figure is about: (64, 64, 3).

    The calmest for noise, of those with the fewest clipped pixels; the one with most clipped pixels
    for clipping; else the one with most detail. What there is of a photo that is smaller.
    """
    if min(photo.shape[:2]) < TILE:
        return middle(photo, TILE)
    tiles = spread(photo)
    shares = np.array([clipped(tile) for tile in tiles])
    if figure == "clipped":
        return tiles[int(np.argmax(shares))]
    detail = _detail(tiles[..., 1].astype(np.float64))
    if figure == "noise":
        return tiles[int(np.lexsort((detail, shares))[0])]
    return tiles[int(np.argmax(detail))]


def _detail(green: np.ndarray) -> np.ndarray:
    """(N, 64, 64) to (N,): see `patches.Patch.detail`, here of green."""
    down, right = (np.abs(np.diff(green, axis=axis)).mean((1, 2)) for axis in (1, 2))
    return down + right


def _starts(length: int) -> list[int]:
    count = min(length // TILE, TILES)
    last = (length - TILE) // BLOCK
    return [i * last // max(count - 1, 1) * BLOCK for i in range(count)]


def sharpness(tiles: np.ndarray) -> float | None:
    """Root of the power near the sampling limit where there is most detail, in grey levels.

    tiles: (N, 64, 64, 3) uint8. Of green, by averaged periodograms under a Hann window (Welch 1967,
    "The use of fast Fourier transform for the estimation of power spectra"), the mean where both
    frequencies are above 0.3 cycles a pixel, in the quarter of the tiles with the most detail: that
    a photo is as sharp as its sharpest places is from Vu and Chandler 2012, "A fast wavelet-based
    algorithm for global and local image sharpness estimation". Both frequencies, because the edges
    of JPEG blocks, and what bicubic interpolation lets through, lie along one axis. White noise of
    deviation s adds s squared to its square: it counts as detail. None where all tiles are flat.
    """
    green = tiles[..., 1].astype(np.float64)
    detail = _detail(green)
    most = np.argsort(-detail, kind="stable")[: max(len(tiles) // 4, 1)]
    most = most[detail[most] >= LEAST_DETAIL]
    if not len(most):
        return None
    window = hann_window(TILE)
    found = green[most]
    found -= found.mean((1, 2), keepdims=True)  # or the window would spread it
    power = np.mean(np.abs(np.fft.fft2(found * window)) ** 2, axis=0) / np.sum(window**2)
    fine = np.abs(np.fft.fftfreq(TILE)) > FINE
    return math.sqrt(float(np.mean(power[np.ix_(fine, fine)])))


def blockiness(tiles: np.ndarray) -> float:
    """How much higher the steps of luma are along the grid of 8 pixels than beside it, grey levels.

    tiles: (N, 64, 64, 3) uint8. After Wang, Sheikh and Bovik 2002, "No-reference perceptual quality
    assessment of JPEG compressed images", whose blockiness is the mean step across the borders of
    blocks; here less that of the two steps beside it, which detail raises as much. A cropped photo
    has its grid anywhere, so each of the 8 places is tried, and the strongest is told less the next
    strongest: an enlarged photo has steps at every second place. The mean of both directions.
    """
    luma = np.stack([cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY) for tile in tiles]).astype(np.float32)
    return (_grid(luma) + _grid(luma.transpose(0, 2, 1))) / 2


def _grid(luma: np.ndarray) -> float:
    steps = np.abs(np.diff(luma, axis=2))
    over = steps[..., 1:-1] - (steps[..., :-2] + steps[..., 2:]) / 2
    columns = np.clip(over, -STEP, STEP).mean((0, 1), dtype=np.float64)
    places = sorted(float(np.mean(columns[k::BLOCK])) for k in range(BLOCK))
    return max(places[-1] - places[-2], 0.0)


def clipped(photo: np.ndarray) -> float:
    """Share of the pixels of (H, W, 3) uint8 with a channel at 0 or 255: light that the camera, or
    whoever developed the photo, cut off. A plain count.
    """
    inside = cv2.countNonZero(cv2.inRange(photo, (1, 1, 1), (254, 254, 254)))
    return 1 - inside / (photo.shape[0] * photo.shape[1])


def noise(tiles: np.ndarray) -> float | None:
    """Standard deviation of the noise of green in grey levels.

    tiles: (N, 64, 64, 3) uint8. By the difference of two Laplacians (Immerkaer 1996, "Fast noise
    variance estimation"), which flat and sloping places do not answer to, in squares of 16 pixels,
    of which the calmest tenth counts, as texture answers to it too. Squares with clipped pixels are
    left out; None where there are no others. White noise is found to some 10 %; what a camera or
    JPEG made smooth counts for less.
    """
    green = tiles[..., 1]
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    found = np.stack([cv2.filter2D(tile, cv2.CV_32F, mask) for tile in green]) / 6
    whole = (green > 0) & (green < 255)
    used = [_squares(plane) for plane in (found**2, whole)]
    calm = np.sqrt(used[0].mean(1, dtype=np.float64)[used[1].all(1)])
    return float(np.quantile(calm, 0.1)) if len(calm) else None


def _squares(planes: np.ndarray) -> np.ndarray:
    """(N, 64, 64) to (M, 256)."""
    n, k = len(planes), TILE // CALM
    return planes.reshape(n, k, CALM, k, CALM).swapaxes(2, 3).reshape(-1, CALM * CALM)
