"""Kernels that differ from place to place: what a camera's alignment and sharpening leave open.

The expected LR is HR under the camera's mean kernel. A real LR is shifted a little here and sharper
there, which changes slowly over the picture and runs along its edges. To second order the
difference is a weighted sum of the LR's derivatives; the weights are Gaussian fields, smooth over
LENGTHS pixels, drawn once.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np

from degflow_pipe.noise.nodes import DERIVATIVES, LENGTHS
from degflow_pipe.noise.numbers import unit_spectrum

ORDERS = tuple(len(name) - 1 for name in DERIVATIVES)
RING = 4
"""Nodes around a part that its blur reads: four sigma."""
FINEST = LENGTHS[-1]
SMOOTHING = np.array([3, 10, 3], np.float32) / 16
"""Scharr's, both ways, before a derivative: they would enlarge the finest detail too much."""
_HERE, _SLOPE, _BEND = (np.array(one, np.float32) for one in ([1], [-0.5, 0, 0.5], [1, -2, 1]))
STEPS = (
    (_SLOPE, _HERE),
    (_HERE, _SLOPE),
    (_BEND, _HERE),
    (_HERE, _BEND),
    (_SLOPE, _SLOPE),
)
"""Of each of DERIVATIVES: what a row and a column of pixels are multiplied with."""


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


def sides_of(sides: tuple[int, int]) -> tuple[int, int]:
    """How many of the finest nodes weigh the derivatives of a picture of these sides: a node more
    than it covers, both ways, between which enlarging leaves no rim."""
    rows, columns = (-(-side // FINEST) + 2 for side in sides)
    return rows, columns


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
