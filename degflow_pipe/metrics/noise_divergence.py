"""How alike the noise of generated and real LR is, as a divergence of histograms.

The literature (Abdelhamed, Brubaker, Brown, *Noise Flow*, ICCV 2019) takes the noise as picture
minus clean picture. Real pairs have no clean LR, so here it is estimated:

- residual: picture minus its 5 x 5 Gaussian mean (sigma 1 px), in grey levels, each channel alone;
- flat places, chosen on the real LR: of the pixels whose green, smoothed with sigma 2 px, is from 8
  to 247 (noise is cut off nearer to black and white), the quarter with the least squared gradient
  around them (Gaussian mean, sigma 4 px);
- both pictures are measured at the same places, all three channels in one histogram: 65 bins one
  grey level wide, centred on -32 ... 32, the outer ones taking what lies beyond.

Limits: only noise finer than about 5 pixels is seen, and of that the residual keeps about three
quarters of the power where it is white, less where it is coarser; texture finer than about 5 pixels
cannot be told from noise, so it counts as flat and as noise; a histogram knows neither how noise
goes with brightness nor how neighbours and channels go together (for neighbours see `spectrum`).
"""

from __future__ import annotations

import cv2
import numpy as np

from degflow_pipe.errors import DataError

LARGEST = 32
"""Residuals beyond +-32 grey levels share the outer bins."""

LEAST_PIXELS = 1024
"""Flat pixels that a histogram is taken of at least."""


def noise_kl(generated: np.ndarray, real: np.ndarray) -> float:
    """KL(real || generated) of the noise histograms in nats: 0 for like noise.

    Both (H, W, 3) uint8 of one shape. One is added to every bin, so that empty ones stay finite.
    Raises DataError where the real picture has too few flat places.
    """
    if generated.shape != real.shape:
        raise ValueError(f"pictures of one shape are needed, got {generated.shape}, {real.shape}")
    flat = flat_places(real)
    q, p = (_histogram(residual(picture)[flat]) for picture in (generated, real))
    return float(np.sum(p * np.log(p / q)))


def noise_level(picture: np.ndarray, flat: np.ndarray) -> float:
    """Standard deviation of the residual at flat places, in grey levels.

    picture: (H, W, 3) uint8; flat: (H, W) bool. Says which of two pictures is the noisier, which
    the divergence does not.
    """
    return float(np.std(residual(picture)[flat]))


def residual(picture: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 minus its 5 x 5 Gaussian mean, float32 in grey levels."""
    x = picture.astype(np.float32)
    return x - cv2.GaussianBlur(x, (5, 5), 1.0)


def flat_places(real: np.ndarray) -> np.ndarray:
    """(H, W) bool: of the pixels not near black or white, the quarter with least gradient around.

    real: (H, W, 3) uint8. Raises DataError where that is less than 1024 pixels.
    """
    smooth = cv2.GaussianBlur(real[..., 1].astype(np.float32), (0, 0), 2.0)
    squared = cv2.Sobel(smooth, -1, 1, 0) ** 2 + cv2.Sobel(smooth, -1, 0, 1) ** 2
    # Around a pixel, or the crests of a texture would count as flat.
    gradient = cv2.GaussianBlur(squared, (0, 0), 4.0)
    usable = (smooth >= 8) & (smooth <= 247)
    if np.count_nonzero(usable) < 4 * LEAST_PIXELS:
        raise DataError(
            f"a noise histogram needs {4 * LEAST_PIXELS} pixels that are neither black nor white, "
            f"got {np.count_nonzero(usable)} of {usable.size}"
        )
    return usable & (gradient <= np.quantile(gradient[usable], 0.25))


def _histogram(residuals: np.ndarray) -> np.ndarray:
    """Any shape, grey levels, to 65 probabilities that sum to 1."""
    levels = np.clip(np.rint(residuals), -LARGEST, LARGEST).astype(int).ravel() + LARGEST
    counts = np.bincount(levels, minlength=2 * LARGEST + 1) + 1
    return counts / np.sum(counts)
