"""Fits how a camera's kernel differs from place to place: `model.kernels`, on training pairs.

Real LR minus the expected one is a sum of derivatives times smooth weights, and noise. The product
of two of its pixels at a distance is then, on the average, the covariance of the weights at that
distance times the product of the derivatives; the noise of the two pixels has little in common. So
least squares of the one on the other gives the covariances, whatever the noise. A weight is looked
at along the edges that it acts on, where its derivative keeps its sign.
"""

from __future__ import annotations

from itertools import combinations_with_replacement

import cv2
import numpy as np

from degflow_pipe.noise.by_opencv import derivatives, local
from degflow_pipe.noise.kernels import correlation
from degflow_pipe.noise.nodes import DERIVATIVES, LENGTHS

TONE_SIGMA = 6.0
"""Pixels; what is slower is tone, which no kernel changes."""
EVERY = 2
"""Of the pixels each way, how many make one that is looked at."""
CALM = 4.0
"""Grey levels squared that a product of two calm pixels spreads by, beside their contrasts."""
LEAST = 0.01
"""Of a part's variance, on the average of the colours: what is smaller may be chance."""
COLOURS = list(combinations_with_replacement(range(3), 2))
COUNT = len(DERIVATIVES)


class KernelFit:
    """Gathers the normal equations of all pictures: for each way, length and pair of colours."""

    def __init__(self) -> None:
        shape = (2, len(LENGTHS), len(COLOURS))
        self.normal = np.zeros((*shape, COUNT + 2, COUNT + 2))
        self.moment = np.zeros((*shape, COUNT + 2))

    def add(self, expected: np.ndarray, real: np.ndarray) -> None:
        """expected, real: (H, W, 3) in [0, 255]."""
        expected = expected.astype(np.float32)
        left = _fast(real.astype(np.float32) - expected)
        ways = [_fast(way) for way in derivatives(expected)]
        contrast = local(expected)[1]
        for axis in (0, 1):
            for i, length in enumerate(LENGTHS):
                if expected.shape[axis] <= length:
                    continue
                here, there = _apart(axis, length)
                spread = contrast[here] * contrast[there]
                noise = [np.sqrt(spread), np.ones_like(spread)]
                for j, colours in enumerate(COLOURS):
                    products = [_product(plane, here, there, colours) for plane in (left, *ways)]
                    rows = np.stack([*products, *noise]).reshape(COUNT + 3, -1) / (
                        CALM + spread.ravel()
                    )
                    # In the precision of the sums, as they run over a million of pixels.
                    sums = rows[1:].astype(np.float64) @ rows.T.astype(np.float64)
                    self.normal[axis, i, j] += sums[:, 1:]
                    self.moment[axis, i, j] += sums[:, 0]

    def fitted(self) -> np.ndarray:
        """`variances` of `kernels.roots_of`: (5, 3, 3, 3)."""
        found = np.linalg.pinv(self.normal, rcond=1e-9, hermitian=True) @ self.moment[..., None]
        down, across = found[..., :COUNT, 0]
        # (5, lengths, colours): dx and dxx along columns, dy and dyy along rows, dxy both ways.
        both = (down + across) / 2
        along = np.stack([(down, across, down, across, both)[i][..., i] for i in range(COUNT)])
        at = np.zeros((COUNT, len(LENGTHS), 3, 3))
        for j, (a, b) in enumerate(COLOURS):
            at[..., a, b] = at[..., b, a] = along[..., j]
        shares = np.array([[correlation(part, d) for part in LENGTHS] for d in LENGTHS])
        parts = np.einsum("pd,kdab->kpab", np.linalg.inv(shares), at)
        parts[np.trace(parts, axis1=2, axis2=3) / 3 < LEAST] = 0
        values, axes = np.linalg.eigh(parts)
        # A direction whose variance came out below 0 is not there.
        return np.einsum("kpax,kpx,kpbx->kpab", axes, np.maximum(values, 0), axes)


def _fast(plane: np.ndarray) -> np.ndarray:
    """(H, W, 3) without what is slower than TONE_SIGMA."""
    return np.asarray(plane - cv2.GaussianBlur(plane, (0, 0), TONE_SIGMA))


def _apart(axis: int, distance: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Every other pixel of a picture, and those at a distance from them along an axis."""
    free = slice(None, None, EVERY)
    here, there = slice(0, -distance, EVERY), slice(distance, None, EVERY)
    return ((here, free), (there, free)) if axis == 0 else ((free, here), (free, there))


def _product(
    plane: np.ndarray,
    here: tuple[slice, ...],
    there: tuple[slice, ...],
    colours: tuple[int, int],
) -> np.ndarray:
    """Of two colours of (H, W, 3) at two places, the one way and the other."""
    a, b = colours
    one, other = plane[here], plane[there]
    if a == b:
        return np.asarray(one[..., a] * other[..., a])
    return np.asarray((one[..., a] * other[..., b] + one[..., b] * other[..., a]) / 2)
