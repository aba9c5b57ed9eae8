"""What one would do without a learned degradation: HR to LR of the same size, by hand.

The `_style` functions are written from the papers, with their published ranges; they are not the
papers' code: their steps are those of `degradation_steps`. Like real aligned pairs, all give LR
enlarged to the size of HR.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from degflow_pipe.evaluation import degradation_steps as steps
from degflow_pipe.evaluation.degradation_steps import Span
from degflow_pipe.metrics import blur
from degflow_pipe.pairs.intermediate import variance_share
from degflow_pipe.pictures.arrays import shrunk, size_at

Baseline = Callable[[np.ndarray, np.ndarray | None, float, np.random.Generator], np.ndarray]
"""(hr, real, scale, rng) to LR. hr, real and LR: (H, W, 3) uint8; real: the real LR, which only
oracles look at; scale: the SR scale s from 1, H/s being the size of the small LR."""


def bicubic(
    hr: np.ndarray, real: np.ndarray | None, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """HR shrunk by s with antialiasing and enlarged again, both bicubic; nothing is random."""
    return steps.enlarged(shrunk(hr, size_at(hr, scale)), hr)


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
    x = steps.jpeg(_round_of(x, hr.shape[:2], _FIRST, rng), rng)
    x = _round_of(x, small, _SECOND, rng)
    jpeg_first = rng.random() < 0.5
    if jpeg_first:
        x = steps.jpeg(x, rng)
    x = steps.resized(x, small, int(rng.choice(steps.INTERPOLATIONS)))
    if rng.random() < 0.8:
        x = steps.filtered(x, steps.sinc_kernel(rng))
    if not jpeg_first:
        x = steps.jpeg(x, rng)
    return steps.enlarged(steps.to_bytes(x), hr)


def bsrgan_style(
    hr: np.ndarray, real: np.ndarray | None, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """Shuffled degradation of Zhang, Liang, Van Gool, Timofte, *BSRGAN*, ICCV 2021.

    An isotropic and an anisotropic blur, shrinking, Gaussian noise, and at times JPEG (0.75) and
    camera noise (0.25), in random order; JPEG once more at the end. Blur widths are published for
    s = 2 and 4 and go linearly with s here. Ours: `camera_noise`, and no shrinking by 2 beforehand,
    which is for s = 4.
    """
    small = size_at(hr, scale)
    chain: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda x: steps.filtered(x, steps.gaussian_kernel(rng, (0.1, 2.0 + 0.2 * scale))),
        lambda x: steps.filtered(x, steps.two_axes_kernel(rng, (0.5, 4.0 + scale))),
        lambda x: steps.shrink_somehow(x, small, rng),
        lambda x: steps.gaussian_noise(x, rng),
    ]
    if rng.random() < 0.75:
        chain.append(lambda x: steps.jpeg(x, rng))
    if rng.random() < 0.25:
        chain.append(lambda x: steps.camera_noise(x, rng))
    x = hr.astype(np.float32) / 255
    for i in rng.permutation(len(chain)):
        x = chain[i](x)
    return steps.enlarged(steps.to_bytes(steps.jpeg(x, rng)), hr)


def _round_of(
    x: np.ndarray, base: tuple[int, ...], order: _Order, rng: np.random.Generator
) -> np.ndarray:
    """Blur, resize to a random multiple of the sides `base`, noise."""
    if rng.random() < order.blur:
        sinc = rng.random() < 0.1
        kernel = steps.sinc_kernel(rng) if sinc else steps.any_kernel(rng, order.sigma)
        x = steps.filtered(x, kernel)
    way = rng.choice(3, p=order.resize)
    low, high = ((1.0, order.factors[1]), (order.factors[0], 1.0), (1.0, 1.0))[way]
    factor = rng.uniform(low, high)
    sides = (max(round(base[0] * factor), 1), max(round(base[1] * factor), 1))
    x = steps.resized(x, sides, int(rng.choice(steps.INTERPOLATIONS)))
    grey = rng.random() < 0.4
    if rng.random() < 0.5:
        shape = (*x.shape[:2], 1 if grey else 3)
        noise = rng.uniform(*order.noise) / 255 * rng.standard_normal(shape, np.float32)
    else:
        clean = steps.grey(x) if grey else x
        noise = rng.uniform(*order.poisson) * (rng.poisson(clean * 255.0) / 255.0 - clean)
    return np.clip(x + noise, 0, 1).astype(np.float32)


BASELINES: dict[str, Baseline] = {
    "bicubic": bicubic,
    "best_gaussian": best_gaussian,
    "real_esrgan_style": real_esrgan_style,
    "bsrgan_style": bsrgan_style,
}


def blend(a: np.ndarray, b: np.ndarray, weight: float) -> np.ndarray:
    """a (1 - weight) + b weight of two uint8 pictures, rounded."""
    return np.rint(a * (1 - weight) + b.astype(np.float64) * weight).astype(np.uint8)


def gaussians_between(
    hr: np.ndarray, knots: tuple[np.ndarray, np.ndarray], scales: tuple[float, float, float]
) -> dict[str, np.ndarray]:
    """HR blurred for a scale between those of two real pictures; scales: its own and theirs."""
    s, s_a, s_b = scales
    low, high = (0.0 if p is hr else blur.best_gaussian(hr, p)[0] for p in knots)
    share = variance_share(s, s_a, s_b)
    sigmas = {
        "gaussian_line": low + (high - low) * (s - s_a) / (s_b - s_a),
        "gaussian_lens": math.sqrt(low**2 + share * (high**2 - low**2)),
    }
    return {name: cv2.GaussianBlur(hr, (0, 0), sigma) for name, sigma in sigmas.items()}
