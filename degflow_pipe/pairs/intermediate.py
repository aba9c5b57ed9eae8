"""Physical intermediates: what a lens would give between two knots of one scene.

The decoder of the published method sees latents of knots alone, so between them it switches from
one knot's sharpness to the next one's, here and there at different t. Showing it pictures of
between mends that. Pairs have none, so they are made of the pair itself: a lens's blur width grows
about linearly with the scale s, so of the blur that leads from knot a to knot b, a picture at s has
the variance that s² has on the way from s_a² to s_b².
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from degflow_pipe.metrics.blur import best_gaussian
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.pictures.arrays import to_picture

MARGIN = 8
"""Pixels at the edges of an intermediate that are not to be trusted: its blur ends there."""


def variance_share(s: float, s_a: float, s_b: float) -> float:
    """Share of the blur variance from scale s_a to s_b that a picture at s has; in [0, 1]."""
    return (s**2 - s_a**2) / (s_b**2 - s_a**2)


def intermediate(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """The picture between two aligned ones of a scene, a being the sharper.

    a, b: (H, W, 3) uint8; share: of the blur variance, in [0, 1]. The blur is the Gaussian that
    best turns a into b, narrowed to the share; of what it leaves over in b (noise, contrast, a
    kernel that is no Gaussian) the same share is added. Returns (H, W, 3) float32 in [0, 255],
    unbounded where b - blur leads out of it; a at share 0 and b at 1, up to the blur's sampling.
    """
    sigma, _ = best_gaussian(a, b)
    sharp = a.astype(np.float32)
    left_over = b.astype(np.float32) - cv2.GaussianBlur(sharp, (0, 0), sigma)
    narrowed = sigma * math.sqrt(share)
    # OpenCV takes a sigma of 0 for one to be worked out; a hundredth of a pixel blurs nothing.
    return cv2.GaussianBlur(sharp, (0, 0), max(narrowed, 0.01)) + share * left_over


def between_knots(knots: Tensor, t: float, data: DataSettings) -> Tensor:
    """The intermediate at t of one scene, from the two of its knots around t.

    knots: (K, 3, H, W) float in [-1, 1]; t: from 0 to the last knot's. Returns (3, H, W), nominally
    in [-1, 1].
    """
    levels = data.knots
    right = next(i for i, knot in enumerate(levels) if i and t <= knot.t)
    s, s_a, s_b = (data.scale_of_t(x) for x in (t, levels[right - 1].t, levels[right].t))
    a, b = (to_picture(x.add(1).mul(0.5)) for x in (knots[right - 1], knots[right]))
    picture = intermediate(a, b, variance_share(s, s_a, s_b))
    return torch.from_numpy(picture).permute(2, 0, 1).to(knots.device).div(127.5).sub(1)


def mean_error(pictures: Tensor, targets: Tensor, between: np.ndarray) -> Tensor:
    """Mean squared error of (B, 3, H, W); of samples that are `between`, inside the MARGIN."""
    error = (pictures - targets).square()
    inside = error[..., MARGIN:-MARGIN, MARGIN:-MARGIN].mean((1, 2, 3))
    trusted = torch.from_numpy(between).to(error.device)
    return torch.where(trusted, inside, error.mean((1, 2, 3))).mean()
