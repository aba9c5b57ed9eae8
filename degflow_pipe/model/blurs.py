"""Gaussian blurs of a picture, from sharp to soft: what the heads of `MIXING` mix.

A camera's LR is HR behind a lens: locally a weighted sum of HR's blurs, plus what is smooth. A
decoder that computes the weights at half size cannot draw detail of its own, so none of HR's leaks
into an LR that a lens would have kept it from.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SIGMAS = (0.0, 0.6, 0.9, 1.3, 1.8, 2.5, 3.5, 5.0)
"""Widths in pixels; of a lens they grow by about one with each step of s."""
MIDDLE = 4
"""Index of the blur that the others are weighed against."""


def blurs(x: Tensor) -> Tensor:
    """All SIGMAS of a picture (B, 3, H, W): (B, K, 3, H, W), borders repeated outward."""
    return torch.stack([x, *(blurred(x, sigma) for sigma in SIGMAS[1:])], dim=1)


def compared(stack: Tensor) -> tuple[Tensor, Tensor]:
    """The middle blur (B, 3, H, W), and what the others differ from it by, (B, K - 1, 3, H, W).

    stack: (B, K, 3, H, W) as `blurs` gives it.
    """
    middle = stack[:, MIDDLE]
    others = torch.cat([stack[:, :MIDDLE], stack[:, MIDDLE + 1 :]], dim=1)
    return middle, others - middle[:, None]


def mix(middle: Tensor, others: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of blurs: the middle one plus weights times what the others differ from it by.

    middle, others: as `compared` gives them; weights: (B, 3 * (K - 1), H, W), of any size and
    sign, the middle blur's being 1 less their sum. Returns (B, 3, H, W).
    """
    mixed = middle
    for k, weight in enumerate(weights.split(3, dim=1)):
        mixed = torch.addcmul(mixed, weight, others[:, k])
    return mixed


def blurred(x: Tensor, sigma: float) -> Tensor:
    """A picture (B, C, H, W) by a Gaussian of sigma pixels, borders repeated outward."""
    radius = math.ceil(3.5 * sigma)
    half = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(radius + 1)]
    weights = [weight / (2 * sum(half) - 1) for weight in half]
    x = F.pad(x, (radius, radius, radius, radius), mode="replicate")
    for axis in (3, 2):
        # Shifted sums take less than half the time of convolutions of one channel on a CPU.
        length = x.shape[axis] - 2 * radius
        blurred = x.narrow(axis, radius, length) * weights[0]
        for i, weight in enumerate(weights[1:], start=1):
            sides = x.narrow(axis, radius - i, length) + x.narrow(axis, radius + i, length)
            blurred = blurred.add_(sides, alpha=weight)
        x = blurred
    return x
