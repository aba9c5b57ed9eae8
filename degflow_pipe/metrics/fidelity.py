"""PSNR and SSIM, of RGB and of luma, as super-resolution papers report them."""

from __future__ import annotations

import math

import cv2
import numpy as np

from degflow_pipe.errors import DataError

EQUAL = 120.0
"""PSNR of equal pictures in dB, and the largest one: an infinite one would spoil means and JSON."""
WINDOW = 11
"""Side of the Gaussian window in pixels, sigma 1.5 (Wang et al. 2004)."""


def fidelity(picture: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """psnr and psnr_y in dB, at most EQUAL, ssim and ssim_y, of two (H, W, 3) uint8 pictures."""
    return {
        "psnr": min(psnr(picture, real), EQUAL),
        "ssim": ssim(picture, real),
        "psnr_y": min(psnr_luma(picture, real), EQUAL),
        "ssim_y": ssim_luma(picture, real),
    }


def luma(picture: np.ndarray) -> np.ndarray:
    """Y of BT.601 in studio range, as MATLAB's rgb2ycbcr gives it, but not rounded.

    picture: (H, W, 3) uint8 RGB. Returns (H, W) float64 from 16 (black) to 235 (white).
    """
    return 16.0 + picture.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255.0


def psnr_luma(a: np.ndarray, b: np.ndarray) -> float:
    """PSNR in dB of the lumas of two (H, W, 3) uint8 pictures, with 255 as peak as in the field.

    Infinite for equal pictures. No border is left out.
    """
    _same_shape(a, b)
    error = float(np.mean((luma(a) - luma(b)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two (H, W, 3) uint8 pictures, the mean of the three channels'.

    At most 1, which equal pictures have. Wang, Bovik, Sheikh, Simoncelli, *Image Quality
    Assessment*, IEEE TIP 2004: Gaussian window, biased variances, K1 0.01, K2 0.03, peak 255, only
    windows that lie whole in the picture. Raises DataError for sides below 11.
    """
    return _ssim(a.astype(np.float64), b.astype(np.float64))


def ssim_luma(a: np.ndarray, b: np.ndarray) -> float:
    """SSIM of the lumas of two (H, W, 3) uint8 pictures, with 255 as peak as in the field."""
    return _ssim(luma(a), luma(b))


def _ssim(a: np.ndarray, b: np.ndarray) -> float:
    """a, b: (H, W) or (H, W, C) float64, 0 to 255."""
    _same_shape(a, b)
    if min(a.shape[:2]) < WINDOW:
        raise DataError(
            f"SSIM needs pictures of {WINDOW} x {WINDOW} pixels or more, got {a.shape[:2]}"
        )
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_a, mean_b = _window_mean(a), _window_mean(b)
    var_a = _window_mean(a * a) - mean_a**2
    var_b = _window_mean(b * b) - mean_b**2
    covariance = _window_mean(a * b) - mean_a * mean_b
    top = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    bottom = (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return float(np.mean(top / bottom))


def _window_mean(x: np.ndarray) -> np.ndarray:
    """(H, W[, C]) to its Gaussian means at the places where the window fits: (H-10, W-10[, C])."""
    edge = WINDOW // 2
    return cv2.GaussianBlur(x, (WINDOW, WINDOW), 1.5)[edge:-edge, edge:-edge]


def _same_shape(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"pictures of one shape are needed, got {a.shape} and {b.shape}")


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB over all pixels and channels of two uint8 pictures.

    a, b: (H, W, 3) uint8. Infinite for equal pictures. Raises ValueError where shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"pictures of one shape are needed, got {a.shape} and {b.shape}")
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(255.0**2 / error)


def mean_psnr(found: dict[str, list[float]]) -> dict[str, float]:
    """`psnr_LEVEL`: the mean over scenes in dB; levels that no scene has are left out."""
    return {f"psnr_{name}": float(np.mean(values)) for name, values in found.items() if values}
