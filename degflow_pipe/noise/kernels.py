"""Kernels that differ from place to place: what a camera's alignment and sharpening leave open.

The expected LR is HR under the camera's mean kernel. A real LR is shifted a little here and sharper
there, which changes slowly over the picture and runs along its edges. To second order the
difference is a weighted sum of the LR's derivatives; the weights are Gaussian fields, smooth over
LENGTHS pixels. Pictures are (B, 3, H, W) RGB in grey levels, 0 to 255.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from degflow_pipe.noise.fields import mirrored
from degflow_pipe.noise.nodes import DERIVATIVES, LENGTHS
from degflow_pipe.noise.numbers import Numbers

ORDERS = tuple(len(name) - 1 for name in DERIVATIVES)
RING = 4
"""Nodes around a part that its blur reads: four sigma."""
SMOOTHING = (3 / 16, 10 / 16)
"""Scharr's, both ways, before a derivative: they would enlarge the finest detail too much."""


def derivatives(pictures: Tensor) -> list[Tensor]:
    """DERIVATIVES of (B, C, H, W) float32, a grey level a pixel (squared for the second)."""
    x = mirrored(pictures, 1)
    for dim in (-1, -2):
        before, here, after = _thirds(x, dim)
        x = (before + after).mul_(SMOOTHING[0]).add_(here, alpha=SMOOTHING[1])
    x = mirrored(x, 1)
    (left, here, right), (above, middle, below) = _thirds(x, -1), _thirds(x, -2)
    slope = (right - left).mul_(0.5)
    inner, within = slice(1, -1), (..., slice(1, -1))
    dxx = (left + right).sub_(here, alpha=2)[..., inner, :]
    dyy = (above + below).sub_(middle, alpha=2)[within]
    up, _, down = _thirds(slope, -2)
    dy = (below - above).mul_(0.5)[within]
    return [slope[..., inner, :], dy, dxx, dyy, (down - up).mul_(0.5)]


def _thirds(x: Tensor, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """What lies before each inner place along an axis, there, and after it."""
    length = x.shape[dim] - 2
    before, here, after = (x.narrow(dim, i, length) for i in range(3))
    return before, here, after


def correlation(length: int, distance: float) -> float:
    """Of a weight's part with itself at a distance in pixels."""
    return float(np.exp(-((distance / (2 * length)) ** 2)))


def roots_of(variances: np.ndarray) -> Tensor:
    """What `drawn` makes weights of: (L, 5, 3, 3) float32, by length and derivative.

    variances: (5, L, 3, 3), of each derivative and length the covariance of the weights of R, G, B.
    """
    values, axes = np.linalg.eigh(variances)
    roots = axes * np.sqrt(np.maximum(values, 0))[..., None, :]
    # A blur of one node leaves 1 / (4 pi) of white noise's variance, straight lines between nodes
    # that are correlated by exp(-1 / 4) a third less the more of it each way, on the average.
    roots *= np.sqrt(4 * np.pi) * 3 / (2 + np.exp(-0.25))
    return torch.from_numpy(roots.swapaxes(0, 1).copy()).float()


def count(sides: tuple[int, int]) -> int:
    """Numbers that the weights of pictures of these sides are made of."""
    height, width = sides
    nodes = sum(_nodes(height, length) * _nodes(width, length) for length in LENGTHS)
    return 3 * len(DERIVATIVES) * nodes


def _nodes(side: int, length: int) -> int:
    """White nodes along an axis. Two more than the picture covers, as enlarging leaves the rim."""
    return -(-side // length) + 2 + 2 * RING


def drawn(roots: Tensor, pictures: Tensor, numbers: Numbers) -> Tensor:
    """The difference to pictures, (B, 3, H, W) float32: a random kernel at each place.

    roots: see `roots_of`, on the device of the pictures.
    """
    height, width = pictures.shape[-2:]
    nodes = _weights(roots, (height, width), numbers)
    # By OpenCV's way of enlarging, as the parts are: a node's own place is between pixels.
    large = F.interpolate(nodes, scale_factor=LENGTHS[-1], mode="bilinear", align_corners=False)
    weights = large[..., :height, :width].split(3, dim=1)
    found = torch.zeros_like(pictures)
    for derivative, weight in zip(derivatives(pictures), weights, strict=True):
        found.addcmul_(derivative, weight)
    return found


def _weights(roots: Tensor, sides: tuple[int, int], numbers: Numbers) -> Tensor:
    """Weights of the derivatives at the finest nodes, (B, 15, h, w) float32."""
    found = None
    for root, length in zip(roots, LENGTHS, strict=True):
        rows, columns = (_spread(side, length, roots.device) for side in sides)
        white = numbers.draw(len(DERIVATIVES), 3, rows.shape[1], columns.shape[1])
        coloured = (root @ white.flatten(3)).view_as(white)
        part = rows @ coloured @ columns.T
        found = part if found is None else found.add_(part)
    assert found is not None
    return found.flatten(1, 2)


@lru_cache(maxsize=64)
def _spread(side: int, length: int, device: torch.device) -> Tensor:
    """White nodes along one axis to a weight's part at the finest nodes, as one matrix.

    They are blurred by a node, then enlarged by straight lines, length by length.
    """
    white = np.eye(_nodes(side, length), dtype=np.float32)
    part = cv2.GaussianBlur(white, (1, 2 * RING + 1), 1.0)[RING:-RING]
    for coarse, fine in pairwise(LENGTHS):
        if coarse <= length:
            size = (part.shape[1], part.shape[0] * (coarse // fine))
            part = cv2.resize(part, size)[: -(-side // fine) + 2]
    return torch.from_numpy(np.ascontiguousarray(part)).to(device)
