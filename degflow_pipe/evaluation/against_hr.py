"""How LR of many scenes stand to their HR."""

from __future__ import annotations

import numpy as np

from degflow_pipe.evaluation.results import AgainstHR
from degflow_pipe.metrics import spectrum
from degflow_pipe.metrics.fidelity import EQUAL, psnr
from degflow_pipe.metrics.noise_divergence import noise_level

BANDS = 10
"""Of frequency."""


class AgainstHRRows:
    """Figures of one kind of LR against HR, scene by scene."""

    def __init__(self) -> None:
        self._psnr: list[float] = []
        self._noise: list[float] = []
        self._power: list[np.ndarray] = []
        self._coherence = spectrum.PooledCoherence()

    def add(self, hr: np.ndarray, lr: np.ndarray, flat: np.ndarray) -> None:
        """hr, lr: (H, W, 3) uint8; flat: (H, W) bool, see `noise_level`."""
        self._psnr.append(min(psnr(lr, hr), EQUAL))
        self._noise.append(noise_level(lr, flat))
        self._power.append(spectrum.power(lr, BANDS))
        self._coherence.add(hr, lr)

    def result(self) -> AgainstHR:
        return AgainstHR(
            psnr_to_hr=float(np.mean(self._psnr)),
            noise=float(np.mean(self._noise)),
            power=np.mean(self._power, axis=0).tolist(),
            coherence=self._coherence.by_band(BANDS).tolist(),
        )
