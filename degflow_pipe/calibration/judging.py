"""What the training scenes say of a checkpoint: figures for its verdict."""

from __future__ import annotations

import cv2
import numpy as np

from degflow_pipe.alignment.check import checked
from degflow_pipe.alignment.fine import NoFit
from degflow_pipe.checkpoint.verdict import OnTraining
from degflow_pipe.metrics.blur import BLUR_SIDE, best_gaussian
from degflow_pipe.metrics.fidelity import EQUAL, psnr
from degflow_pipe.pictures.arrays import middle

LEAST_TILES = 10
"""Tiles of 48 pixels that tell how far a pair lies off; fewer tell that it is no pair."""


def shift_of(hr: np.ndarray, lr: np.ndarray) -> float | None:
    """Pixels that the middle of LR lies off its HR, both (H, W, 3) uint8, median over tiles; None
    where they have too little in common to tell."""
    grey, grey_lr = (cv2.cvtColor(middle(p, BLUR_SIDE), cv2.COLOR_RGB2GRAY) for p in (hr, lr))
    try:
        found = checked(grey, grey_lr, "HR", "LR")
    except NoFit:
        return None
    return found.shift[0] if found.tiles >= LEAST_TILES else None


class OfTraining:
    """Gathered scene by scene."""

    def __init__(self) -> None:
        self._shifts: list[float] = []
        self._pairs = self._unmatched = 0
        self._above: list[float] = []

    def add(self, hr: np.ndarray, expected: np.ndarray, real: np.ndarray) -> None:
        """One knot of one scene, all (H, W, 3) uint8; expected: generated without noise."""
        _, of_gaussian = best_gaussian(hr, real)
        self._above.append(min(psnr(expected, real), EQUAL) - min(of_gaussian, EQUAL))
        self._pairs += 1
        shift = shift_of(hr, real)
        if shift is None:
            self._unmatched += 1
        else:
            self._shifts.append(shift)

    def found(self, scenes: int, blurs: np.ndarray) -> OnTraining:
        """blurs: (L,) pixels, of generated levels as they rise in t, means over scenes."""
        fall = float((np.maximum.accumulate(blurs) - blurs).max())
        return OnTraining(
            scenes=scenes,
            shift=round(float(np.median(self._shifts)), 4) if self._shifts else None,
            unmatched=round(self._unmatched / self._pairs, 4),
            above_gaussian=round(float(np.mean(self._above)), 4),
            fall=round(fall / max(float(blurs.max()), 1e-9), 4),
        )
