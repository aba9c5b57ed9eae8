"""Kernels that differ from place to place: what a camera's alignment and sharpening leave open.

The expected LR is HR under the camera's mean kernel. A real LR is shifted a little here and sharper
there, which changes slowly over the picture and runs along its edges. To second order the
difference is a weighted sum of the LR's derivatives; the weights are Gaussian fields, smooth over
LENGTHS pixels. Pictures are (H, W, 3) RGB in grey levels, 0 to 255.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

DERIVATIVES = ("dx", "dy", "dxx", "dyy", "dxy")
ORDERS = tuple(len(name) - 1 for name in DERIVATIVES)
LENGTHS = (64, 16, 4)
"""Pixels between the nodes of a weight's coarse, middle and fine part."""
RING = 4
"""Nodes around a part that its blur reads: four sigma."""
SMOOTHING = np.array([3, 10, 3], np.float32) / 16
"""Scharr's, both ways, before a derivative: they would enlarge the finest detail too much."""


def derivatives(picture: np.ndarray) -> np.ndarray:
    """DERIVATIVES of (H, W, C) float32, a grey level a pixel (squared for the second): (5, ...)."""
    slope, keep, bend = (np.array(v, np.float32) for v in ([-0.5, 0, 0.5], [0, 1, 0], [1, -2, 1]))
    ways = ((slope, keep), (keep, slope), (bend, keep), (keep, bend), (slope, slope))
    smooth = cv2.sepFilter2D(picture, cv2.CV_32F, SMOOTHING, SMOOTHING)
    return np.stack([cv2.sepFilter2D(smooth, cv2.CV_32F, x, y) for x, y in ways])


def correlation(length: int, distance: float) -> float:
    """Of a weight's part with itself at a distance in pixels."""
    return float(np.exp(-((distance / (2 * length)) ** 2)))


def drawn(variances: np.ndarray, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The difference to a picture, (H, W, 3) float32: a random kernel at each place.

    variances: (5, 3, 3, 3), of each derivative and length the covariance of the weights of R, G, B.
    """
    height, width = picture.shape[:2]
    nodes = _weights(variances, (height, width), rng)
    found = np.zeros(picture.shape, np.float32)
    for i, derivative in enumerate(derivatives(picture.astype(np.float32))):
        # One derivative's at a time, as products with every fifteenth number are slow.
        derivative *= _enlarged(nodes[..., i, :], LENGTHS[-1], height, width)
        found += derivative
    return found


def _weights(variances: np.ndarray, sides: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Weights of the derivatives at the finest nodes, (h, w, 5, 3) float32: each part is enlarged
    and the next added."""
    values, axes = np.linalg.eigh(variances)
    roots = axes * np.sqrt(np.maximum(values, 0))[..., None, :]
    # A blur of one node leaves 1 / (4 pi) of white noise's variance, straight lines between nodes
    # that are correlated by exp(-1 / 4) a third less the more of it each way, on the average.
    roots *= np.sqrt(4 * np.pi) * 3 / (2 + np.exp(-0.25))
    count, found = len(DERIVATIVES), None
    for i, length in enumerate(LENGTHS):
        # Two nodes more than the picture covers: enlarging leaves the rim of the coarser part.
        height, width = (-(-side // length) + 2 for side in sides)
        white = rng.standard_normal((height + 2 * RING, width + 2 * RING, 3 * count), np.float32)
        smooth = cv2.GaussianBlur(white, (0, 0), 1.0)[RING:-RING, RING:-RING]
        # By torch, as the fields are: its products keep to its one thread.
        mixed = torch.block_diag(*torch.from_numpy(roots[:, i]).float()).T
        part = (torch.from_numpy(smooth.reshape(-1, 3 * count)) @ mixed).numpy()
        part = part.reshape(height, width, 3 * count)
        if found is not None:
            part += _enlarged(found, LENGTHS[i - 1] // length, height, width)
        found = part
    assert found is not None
    return found.reshape(*found.shape[:2], count, 3)


def _enlarged(part: np.ndarray, times: int, height: int, width: int) -> np.ndarray:
    """A coarse (h, w, C) brought to `times` its size, of which the first rows and columns stay."""
    large = cv2.resize(np.ascontiguousarray(part), None, fx=times, fy=times)
    return large[:height, :width]
