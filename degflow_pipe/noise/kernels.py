"""Kernels that differ from place to place: what a camera's alignment and sharpening leave open.

The expected LR is HR under the camera's mean kernel. A real LR is shifted a little here and sharper
there, which changes slowly over the picture and runs along its edges. To second order the
difference is a weighted sum of the LR's derivatives; the weights are Gaussian fields, smooth over
LENGTHS pixels. Pictures are (B, 3, H, W) RGB in grey levels, 0 to 255.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import cv2
import numpy as np
from torch import Tensor

from degflow_pipe.model.planes import enlarged
from degflow_pipe.noise.fields import mirrored
from degflow_pipe.noise.nodes import DERIVATIVES, LENGTHS
from degflow_pipe.noise.numbers import unit_spectrum
from degflow_pipe.noise.stock import Cuts, Stock, pieces

ORDERS = tuple(len(name) - 1 for name in DERIVATIVES)
RING = 4
"""Nodes around a part that its blur reads: four sigma."""
FINEST = LENGTHS[-1]
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


def roots_of(variances: np.ndarray) -> np.ndarray:
    """What `stock_of` makes weights of: (L, 5, 3, 3) float64, by length and derivative.

    variances: (5, L, 3, 3), of each derivative and length the covariance of the weights of R, G, B.
    """
    values, axes = np.linalg.eigh(variances)
    # The symmetric root: others depend on signs and axes that a library of algebra may choose.
    roots = (axes * np.sqrt(np.maximum(values, 0))[..., None, :]) @ axes.swapaxes(-1, -2)
    # A blur of one node leaves 1 / (4 pi) of white noise's variance, straight lines between nodes
    # that are correlated by exp(-1 / 4) a third less the more of it each way, on the average.
    roots *= np.sqrt(4 * np.pi) * 3 / (2 + np.exp(-0.25))
    return roots.swapaxes(0, 1)


def stock_of(name: str, variances: np.ndarray, side: int) -> np.ndarray:
    """Two realisations of the weights of the derivatives of R, G and B at the finest nodes of
    `side` pixels, (2, 5, 3, side / 4, side / 4) float32, periodic.

    name: another name, other weights. variances: (5, L, 3, 3), see `roots_of`; side: a multiple of
    the longest of LENGTHS.
    """
    nodes = side // FINEST
    found = np.zeros((2, len(DERIVATIVES), 3, nodes, nodes), np.float32)
    for root, length in zip(roots_of(variances), LENGTHS, strict=True):
        shape = (side // length, side // length)
        for realisation, own in enumerate(found):
            parts = np.empty((len(DERIVATIVES) * 3, nodes, nodes), np.float32)
            for i, part in enumerate(parts):
                spectrum = unit_spectrum(f"{name} {length} {realisation} {i}", shape)
                part[:] = _smooth(np.fft.irfft2(spectrum, shape), length, nodes)
            apart = _apart(parts).reshape(own.shape)
            own += np.einsum("dab,dbhw->dahw", root.astype(np.float32), apart)
    return found


def _apart(parts: np.ndarray) -> np.ndarray:
    """Parts (N, h, w) with nothing in common at the same place, each of its own mean square.

    There are few independent places in a long weight's part, so that two would have by chance.
    """
    flat = parts.reshape(len(parts), -1).astype(np.float64)
    together = flat @ flat.T / flat.shape[1]
    scales = np.sqrt(np.diag(together))
    values, axes = np.linalg.eigh(together / scales[:, None] / scales)
    apart = (axes / np.sqrt(values)) @ axes.T
    mixed = scales[:, None] * (apart @ (flat / scales[:, None]))
    return mixed.reshape(parts.shape).astype(np.float32)


def weights_of(stock: Stock, sides: tuple[int, int], cuts: Cuts) -> Tensor:
    """Pieces of a stock of weights, its values (2, 5, C, n, n), for a batch: (B, 5, C, h, w) of
    `sides_of` pictures of these sides."""
    plain = stock._replace(values=stock.values.flatten(1, 2))
    return pieces(plain, sides_of(sides), cuts).unflatten(1, stock.values.shape[1:3])


def sides_of(sides: tuple[int, int]) -> tuple[int, int]:
    """How many of the finest nodes weigh the derivatives of a picture of these sides: a node more
    than it covers, both ways, between which enlarging leaves no rim."""
    rows, columns = (-(-side // FINEST) + 2 for side in sides)
    return rows, columns


def add_to(noise: Tensor, weights: Tensor, powers: Sequence[float], pictures: Tensor) -> None:
    """Add the difference that a random kernel at each place makes to pictures, (B, C, H, W).

    weights: (B, 5, C, h, w) of `sides_of` the pictures, on their device. powers: what those of each
    derivative are multiplied with.
    """
    height, width = pictures.shape[-2:]
    inside = (..., slice(FINEST, FINEST + height), slice(FINEST, FINEST + width))
    parts = zip(derivatives(pictures), weights.unbind(1), powers, strict=True)
    for derivative, weight, power in parts:
        noise.addcmul_(derivative, enlarged(weight, FINEST)[inside], value=power)


def _smooth(white: np.ndarray, length: int, nodes: int) -> np.ndarray:
    """White nodes of a side, `length` pixels apart, to a weight's part at its finest nodes,
    (nodes, nodes), both periodic.

    They are blurred by a node, then enlarged by straight lines, length by length.
    """
    # A node more on each side than the blur reads, as enlarging leaves the rim.
    around = np.pad(white, RING + 1, mode="wrap")
    part = cv2.GaussianBlur(around, (2 * RING + 1,) * 2, 1.0)[RING:-RING, RING:-RING]
    for coarse, fine in pairwise(LENGTHS):
        if coarse <= length:
            part = cv2.resize(part, None, fx=coarse // fine, fy=coarse // fine)
    rim = slice(length // FINEST, length // FINEST + nodes)
    return part[rim, rim].astype(np.float32)
