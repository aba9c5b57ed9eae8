"""Steps of degradations by hand: sizes, blur kernels, noise and JPEG, each with random settings.

x is (H, W, 3) float32 RGB in [0, 1] and a step gives such a picture; sides are (height, width) in
pixels. A kernel is (K, K) float64 of sum 1, K odd, from 7 to 21.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from PIL import Image

from degflow_pipe.pictures.formats import PictureFormat

Span = tuple[float, float]

JPEG: Span = (30, 95)
"""JPEG qualities, of both papers."""

INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


# Sizes


def enlarged(small: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """uint8 to the sides of HR, bicubic."""
    size = (hr.shape[1], hr.shape[0])
    return np.array(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))


def resized(x: np.ndarray, sides: tuple[int, int], interpolation: int) -> np.ndarray:
    """To these sides by one of OpenCV's interpolations."""
    # Without antialiasing, as in both papers; bicubic overshoots.
    return np.clip(cv2.resize(x, sides[::-1], interpolation=interpolation), 0, 1)


def shrink_somehow(x: np.ndarray, small: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """To the small LR: nearest, bilinear, bicubic, or by a in [1/2, s] first and then the rest."""
    smooth = INTERPOLATIONS[1:]
    kind = rng.integers(4)
    if kind == 0:
        return resized(x, small, cv2.INTER_NEAREST_EXACT)
    if kind < 3:
        return resized(x, small, smooth[kind - 1])
    a = rng.uniform(0.5, max(x.shape[0] / small[0], 1.0))
    between = (max(round(x.shape[0] / a), 1), max(round(x.shape[1] / a), 1))
    x = resized(x, between, int(rng.choice(smooth)))
    return resized(x, small, int(rng.choice(smooth)))


# Kernels


def any_kernel(rng: np.random.Generator, sigma: Span) -> np.ndarray:
    """Gaussian (0.7), generalised Gaussian (0.15) or plateau (0.15), isotropic or not."""
    kind = rng.choice(6, p=(0.45, 0.25, 0.12, 0.03, 0.12, 0.03))
    first = rng.uniform(*sigma)
    second = first if kind % 2 == 0 else rng.uniform(*sigma)
    q = _ellipse(rng, first, second)
    if kind < 2:
        return _unit(np.exp(-q / 2))
    if kind < 4:
        return _unit(np.exp(-(q ** rng.uniform(0.5, 4.0)) / 2))
    return _unit(1 / (1 + q ** rng.uniform(1.0, 2.0)))


def sinc_kernel(rng: np.random.Generator) -> np.ndarray:
    """A circular low-pass filter of random cutoff, which rings as over-sharpened photos do."""
    side = _side(rng)
    cutoff = rng.uniform(math.pi / (3 if side < 13 else 5), math.pi)
    y, x = np.mgrid[:side, :side] - side // 2
    r = np.hypot(x, y)
    r[side // 2, side // 2] = 1e-6  # its limit there is finite
    bessel = torch.special.bessel_j1(torch.from_numpy(cutoff * r)).numpy()
    return _unit(cutoff * bessel / (2 * math.pi * r))


def gaussian_kernel(rng: np.random.Generator, sigma: Span) -> np.ndarray:
    """Isotropic; sigma: its range in pixels."""
    width = rng.uniform(*sigma)
    return _unit(np.exp(-_ellipse(rng, width, width) / 2))


def two_axes_kernel(rng: np.random.Generator, variances: Span) -> np.ndarray:
    """A Gaussian of two widths at a random angle; variances: their range in square pixels."""
    first, second = np.sqrt(rng.uniform(*variances, size=2))
    return _unit(np.exp(-_ellipse(rng, first, second) / 2))


# Noise


def gaussian_noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise of 1 to 25 grey levels.

    Independent in each channel (0.4), grey (0.4), or with a random covariance of channels (0.2).
    """
    sigma = rng.uniform(1, 25) / 255
    kind = rng.random()
    noise = rng.standard_normal((*x.shape[:2], 1 if 0.4 <= kind < 0.8 else 3), np.float32)
    if kind >= 0.8:
        axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        noise = noise @ (axes * np.sqrt(rng.random(3))).T.astype(np.float32)
    return np.clip(x + np.float32(sigma) * noise, 0, 1)


def camera_noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shot and read noise of a sensor, coarsened by demosaicing.

    Linear light (gamma 2.2), RGGB mosaic, noise, bilinear demosaicing, gamma. Noise levels: Brooks
    et al., *Unprocessing Images for Learned Raw Denoising*, CVPR 2019.
    """
    linear = x**2.2
    raw = linear[..., 1].copy()
    raw[::2, ::2], raw[1::2, 1::2] = linear[::2, ::2, 0], linear[1::2, 1::2, 2]
    shot = math.exp(rng.uniform(math.log(1e-4), math.log(0.012)))
    read = math.exp(2.18 * math.log(shot) + 1.2 + 0.26 * rng.standard_normal())
    raw += np.sqrt(read + shot * raw) * rng.standard_normal(raw.shape, np.float32)
    counts = np.rint(np.clip(raw, 0, 1) * 65535).astype(np.uint16)
    linear = cv2.cvtColor(counts, cv2.COLOR_BAYER_RGGB2RGB).astype(np.float32) / 65535
    return linear ** np.float32(1 / 2.2)


# Kernels in common, and JPEG


def _side(rng: np.random.Generator) -> int:
    """Side of a kernel: 7, 9 ... 21."""
    return 2 * int(rng.integers(3, 11)) + 1


def _ellipse(rng: np.random.Generator, first: float, second: float) -> np.ndarray:
    """Squared distance from the middle of a (K, K) kernel, in sigmas, of random K and angle."""
    half = _side(rng) // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    angle = rng.uniform(0, math.pi)
    along = x * math.cos(angle) + y * math.sin(angle)
    across = y * math.cos(angle) - x * math.sin(angle)
    return (along / first) ** 2 + (across / second) ** 2


def _unit(kernel: np.ndarray) -> np.ndarray:
    return kernel / np.sum(kernel)


def filtered(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """x through a kernel, mirrored at its borders."""
    return np.clip(cv2.filter2D(x, -1, kernel, borderType=cv2.BORDER_REFLECT_101), 0, 1)


def grey(x: np.ndarray) -> np.ndarray:
    """The luma of x, (H, W, 1)."""
    return cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]


def jpeg(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """x after JPEG of a random quality."""
    quality = round(rng.uniform(*JPEG))
    coding = PictureFormat(f"jpeg:{quality}", "jpg", (cv2.IMWRITE_JPEG_QUALITY, quality))
    return coding.round_trip(to_bytes(x)).astype(np.float32) / 255


def to_bytes(x: np.ndarray) -> np.ndarray:
    """x as uint8."""
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
