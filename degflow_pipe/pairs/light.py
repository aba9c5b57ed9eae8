"""An LR in its HR's light, where exposure, white balance or tone differed between the two shots."""

from __future__ import annotations

import cv2
import numpy as np

from degflow_pipe.alignment.light import robust_terms

BLOCK = 24
"""Pixels of HR on a side of the blocks whose means are compared: a blur changes those little."""
DARK, BRIGHT = 4, 250
"""Grey levels beyond which a pixel counts as clipped."""
CLIPPED = 0.1
"""Share of a block's pixels that may be."""
LEAST_BLOCKS = 8
"""Blocks that tell of a channel's light."""
PRIOR = np.array([1 / 0.3**2, 1 / 32.0**2])
"""Certainties of a gain of 1 and an offset of 0 grey levels."""


def in_light_of(hr: np.ndarray, lr: np.ndarray) -> np.ndarray:
    """The LR with a gain and an offset for each channel that bring it nearest to HR's tones.

    hr: (H, W, 3) uint8; lr: (h, w, 3) uint8 of the same scene, as large or smaller. Returns
    (h, w, 3) uint8. What differs for another reason, as it has moved, counts for little. A channel
    that tells too little of it, or comes no nearer, is left as it is.
    """
    clipped = [_means((p < DARK) | (p > BRIGHT), hr) for p in (hr, lr)]
    whole = (clipped[0] < CLIPPED) & (clipped[1] < CLIPPED)
    wanted, found = _means(hr, hr), _means(lr, hr)
    made = lr.astype(np.float32)
    for channel in range(3):
        target, source = wanted[..., channel], found[..., channel]
        used = whole[..., channel]
        if used.sum() < LEAST_BLOCKS:
            continue
        design = np.stack([source[used], np.ones(used.sum())], axis=1)
        (gain, offset), _ = robust_terms(design, target[used], np.array([1.0, 0.0]), PRIOR)
        lit = np.clip(gain * source + offset, 0, 255)
        if np.abs(target - lit).mean() < np.abs(target - source).mean():
            made[..., channel] = gain * made[..., channel] + offset
    return np.clip(np.rint(made), 0, 255).astype(np.uint8)


def _means(picture: np.ndarray, hr: np.ndarray) -> np.ndarray:
    """(rows, columns, 3) float64 means over blocks of BLOCK pixels of HR, whatever the size."""
    rows, columns = (max(round(side / BLOCK), 1) for side in hr.shape[:2])
    means = cv2.resize(picture.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    return means.astype(np.float64)
