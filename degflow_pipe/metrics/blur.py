"""How blurred a picture is beside another: the Gaussian that best turns the one into the other."""

from __future__ import annotations

import math

import cv2
import numpy as np

from degflow_pipe.metrics.fidelity import psnr

BLUR_SIDE = 512
"""Side in pixels of the middle of a picture that its equivalent blur is measured on."""


def best_gaussian(hr: np.ndarray, lr: np.ndarray) -> tuple[float, float]:
    """The single Gaussian blur of HR nearest to LR in PSNR, chosen with the LR in sight (oracle).

    hr, lr: (H, W, 3) uint8. Returns (sigma in pixels, PSNR in dB); sigma is found to 0.01 px by a
    geometric grid from 0.2 to 5.7 and a golden-section search around its best.
    """

    def score(sigma: float) -> float:
        return psnr(cv2.GaussianBlur(hr, (0, 0), sigma), lr)

    # By hand, as SciPy's bounded search fits parabolas: OpenCV rounds the taps of a kernel, so the
    # score goes in steps, and it ends up to 0.04 px beside the best.
    grid = [0.2 * 1.25**i for i in range(16)]
    best = max(range(len(grid)), key=lambda i: score(grid[i]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    ratio = (math.sqrt(5) - 1) / 2
    while high - low > 0.01:
        a, b = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, b) if score(a) >= score(b) else (a, high)
    sigma = (low + high) / 2
    return sigma, score(sigma)


def equivalent_blur(hr: np.ndarray, lr: np.ndarray) -> float:
    """Sigma in pixels of the Gaussian that best turns HR into LR; 0 for equal pictures.

    hr, lr: (H, W, 3) uint8. BLUR_SIDE pixels of a picture's middle are enough to measure it on.
    """
    return 0.0 if np.array_equal(hr, lr) else best_gaussian(hr, lr)[0]
