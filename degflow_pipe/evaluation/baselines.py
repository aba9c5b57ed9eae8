"""What one would do without a learned degradation: HR to LR of the same size, by hand.

The `_style` functions are written from the papers, with their published ranges; they are not the
papers' code. Like real aligned pairs, all give LR enlarged to the size of HR.

Inside, x is (H, W, 3) float32 RGB in [0, 1], and sides are (height, width) in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from PIL import Image

from degflow_pipe.metrics import blur
from degflow_pipe.pictures.arrays import shrunk, size_at

Baseline = Callable[[np.ndarray, np.ndarray | None, float, np.random.Generator], np.ndarray]
"""(hr, real, scale, rng) to LR. hr, real and LR: (H, W, 3) uint8; real: the real LR, which only
oracles look at; scale: the SR scale s from 1, H/s being the size of the small LR."""

Span = tuple[float, float]

JPEG: Span = (30, 95)
"""JPEG qualities, of both papers."""

INTERPOLATIONS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)


def bicubic(
    hr: np.ndarray, real: np.ndarray | None, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """HR shrunk by s with antialiasing and enlarged again, both bicubic; nothing is random."""
    return _enlarged(shrunk(hr, size_at(hr, scale)), hr)


def best_gaussian(
    hr: np.ndarray, real: np.ndarray | None, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """The Gaussian blur of HR nearest to the real LR, chosen with that in sight (oracle)."""
    if real is None:
        raise ValueError("best_gaussian is an oracle: it needs the real LR")
    sigma, _ = blur.best_gaussian(hr, real)
    return cv2.GaussianBlur(hr, (0, 0), sigma)


@dataclass(frozen=True)
class _Order:
    """One of Real-ESRGAN's two rounds of blur, resize and noise."""

    blur: float
    """Probability of the blur."""
    sigma: Span
    """Of the blur kernels, pixels."""
    resize: tuple[float, float, float]
    """Probabilities of enlarging, shrinking and neither."""
    factors: Span
    noise: Span
    """Standard deviation of Gaussian noise, grey levels."""
    poisson: Span
    """Strength of Poisson noise; 1 is that of 255 photons for white."""


_FIRST = _Order(1.0, (0.2, 3.0), (0.2, 0.7, 0.1), (0.15, 1.5), (1, 30), (0.05, 3.0))
_SECOND = _Order(0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2), (1, 25), (0.05, 2.5))


def real_esrgan_style(
    hr: np.ndarray, real: np.ndarray | None, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Second-order degradation of Wang, Xie, Dong, Shan, *Real-ESRGAN*, ICCVW 2021.

    Blur, resize, noise and JPEG, twice; the second JPEG comes before or after the shrinking to the
    small LR and a last sinc filter. Ranges are the paper's and, for resizing, its release's. HR is
    not sharpened beforehand, since the pairs' HR is given.
    """
    small = size_at(hr, scale)
    x = hr.astype(np.float32) / 255
    x = _jpeg(_round_of(x, hr.shape[:2], _FIRST, rng), rng)
    x = _round_of(x, small, _SECOND, rng)
    jpeg_first = rng.random() < 0.5
    if jpeg_first:
        x = _jpeg(x, rng)
    x = _resized(x, small, int(rng.choice(INTERPOLATIONS)))
    if rng.random() < 0.8:
        x = _filtered(x, _sinc(rng))
    if not jpeg_first:
        x = _jpeg(x, rng)
    return _enlarged(_to_bytes(x), hr)


def bsrgan_style(
    hr: np.ndarray, real: np.ndarray | None, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Shuffled degradation of Zhang, Liang, Van Gool, Timofte, *BSRGAN*, ICCV 2021.

    An isotropic and an anisotropic blur, shrinking, Gaussian noise, and at times JPEG (0.75) and
    camera noise (0.25), in random order; JPEG once more at the end. Blur widths are published for
    s = 2 and 4 and go linearly with s here. Ours: camera noise (see `_camera`), and no shrinking by
    2 beforehand, which is for s = 4.
    """
    small = size_at(hr, scale)
    steps: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda x: _filtered(x, _gaussian(rng, (0.1, 2.0 + 0.2 * scale))),
        lambda x: _filtered(x, _two_axes(rng, (0.5, 4.0 + scale))),
        lambda x: _shrink(x, small, rng),
        lambda x: _noise_of_channels(x, rng),
    ]
    if rng.random() < 0.75:
        steps.append(lambda x: _jpeg(x, rng))
    if rng.random() < 0.25:
        steps.append(lambda x: _camera(x, rng))
    x = hr.astype(np.float32) / 255
    for i in rng.permutation(len(steps)):
        x = steps[i](x)
    return _enlarged(_to_bytes(_jpeg(x, rng)), hr)


BASELINES: dict[str, Baseline] = {
    "bicubic": bicubic,
    "best_gaussian": best_gaussian,
    "real_esrgan_style": real_esrgan_style,
    "bsrgan_style": bsrgan_style,
}


# Sizes


def _enlarged(small: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """uint8 to the sides of HR, bicubic."""
    size = (hr.shape[1], hr.shape[0])
    return np.array(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))


def _resized(x: np.ndarray, sides: tuple[int, int], interpolation: int) -> np.ndarray:
    # Without antialiasing, as in both papers; bicubic overshoots.
    return np.clip(cv2.resize(x, sides[::-1], interpolation=interpolation), 0, 1)


def _shrink(x: np.ndarray, small: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """To the small LR: nearest, bilinear, bicubic, or by a in [1/2, s] first and then the rest."""
    smooth = INTERPOLATIONS[1:]
    kind = rng.integers(4)
    if kind == 0:
        return _resized(x, small, cv2.INTER_NEAREST_EXACT)
    if kind < 3:
        return _resized(x, small, smooth[kind - 1])
    a = rng.uniform(0.5, max(x.shape[0] / small[0], 1.0))
    between = (max(round(x.shape[0] / a), 1), max(round(x.shape[1] / a), 1))
    x = _resized(x, between, int(rng.choice(smooth)))
    return _resized(x, small, int(rng.choice(smooth)))


# Real-ESRGAN's round


def _round_of(
    x: np.ndarray, base: tuple[int, ...], order: _Order, rng: np.random.Generator
) -> np.ndarray:
    """Blur, resize to a random multiple of the sides `base`, noise."""
    if rng.random() < order.blur:
        x = _filtered(x, _sinc(rng) if rng.random() < 0.1 else _any_kernel(rng, order.sigma))
    way = rng.choice(3, p=order.resize)
    low, high = ((1.0, order.factors[1]), (order.factors[0], 1.0), (1.0, 1.0))[way]
    factor = rng.uniform(low, high)
    sides = (max(round(base[0] * factor), 1), max(round(base[1] * factor), 1))
    x = _resized(x, sides, int(rng.choice(INTERPOLATIONS)))
    grey = rng.random() < 0.4
    if rng.random() < 0.5:
        shape = (*x.shape[:2], 1 if grey else 3)
        noise = rng.uniform(*order.noise) / 255 * rng.standard_normal(shape, np.float32)
    else:
        clean = _grey(x) if grey else x
        noise = rng.uniform(*order.poisson) * (rng.poisson(clean * 255.0) / 255.0 - clean)
    return np.clip(x + noise, 0, 1).astype(np.float32)


def _any_kernel(rng: np.random.Generator, sigma: Span) -> np.ndarray:
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


def _sinc(rng: np.random.Generator) -> np.ndarray:
    """A circular low-pass filter of random cutoff, which rings as over-sharpened photos do."""
    side = _side(rng)
    cutoff = rng.uniform(math.pi / (3 if side < 13 else 5), math.pi)
    y, x = np.mgrid[:side, :side] - side // 2
    r = np.hypot(x, y)
    r[side // 2, side // 2] = 1e-6  # its limit there is finite
    bessel = torch.special.bessel_j1(torch.from_numpy(cutoff * r)).numpy()
    return _unit(cutoff * bessel / (2 * math.pi * r))


# BSRGAN's steps


def _gaussian(rng: np.random.Generator, sigma: Span) -> np.ndarray:
    width = rng.uniform(*sigma)
    return _unit(np.exp(-_ellipse(rng, width, width) / 2))


def _two_axes(rng: np.random.Generator, variances: Span) -> np.ndarray:
    first, second = np.sqrt(rng.uniform(*variances, size=2))
    return _unit(np.exp(-_ellipse(rng, first, second) / 2))


def _noise_of_channels(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
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


def _camera(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
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


# Steps of both


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


def _filtered(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return np.clip(cv2.filter2D(x, -1, kernel, borderType=cv2.BORDER_REFLECT_101), 0, 1)


def _grey(x: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]


def _jpeg(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    quality = round(rng.uniform(*JPEG))
    bgr = cv2.cvtColor(_to_bytes(x), cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert ok, f"OpenCV could not encode a {x.shape} picture as JPEG"
    back = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert back is not None, "OpenCV could not decode its own JPEG"
    return cv2.cvtColor(back, cv2.COLOR_BGR2RGB).astype(np.float32) / 255


def _to_bytes(x: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(x, 0, 1) * 255).astype(np.uint8)
