"""Curves of PSNR, blur, noise and spectrum by level, of some patches and in some seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from degflow_pipe.errors import DataError
from degflow_pipe.metrics import spectrum
from degflow_pipe.metrics.blur import equivalent_blur
from degflow_pipe.metrics.fidelity import EQUAL, psnr
from degflow_pipe.metrics.noise_divergence import flat_places, noise_level
from degflow_pipe.reports.charts import curve
from degflow_pipe.reports.page import Chart

BANDS = 16


@dataclass
class Measured:
    """What patches of one set of levels gave, a list for each level; a patch that is too small, or
    too dark, for a figure is not in it.

    labels, x: of the levels, and where they stand in curves. axis: what x is.
    """

    labels: Sequence[str]
    x: Sequence[float]
    axis: str
    patches: int = 0
    decibels: list[list[float]] = field(default_factory=list)
    blurs: list[list[float]] = field(default_factory=list)
    noises: list[list[float]] = field(default_factory=list)
    powers: list[list[np.ndarray]] = field(default_factory=list)
    of_hr: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        for found in (self.decibels, self.blurs, self.noises, self.powers):
            found.extend([] for _ in self.labels)

    def add(self, hr: np.ndarray, levels: Sequence[np.ndarray]) -> None:
        """hr: (P, P, 3) uint8; levels: as many LR as there are labels, of HR's size or smaller.

        LR smaller than HR have a spectrum alone, in cycles of their own pixels.
        """
        self.patches += 1
        flat = _flat(hr)
        if (of_hr := _power(hr)) is not None:
            self.of_hr.append(of_hr)
        for i, lr in enumerate(levels):
            if (power := _power(lr)) is not None:
                self.powers[i].append(power)
            if lr.shape != hr.shape:
                continue
            self.decibels[i].append(min(psnr(lr, hr), EQUAL))
            self.blurs[i].append(equivalent_blur(hr, lr))
            if flat is not None:
                self.noises[i].append(noise_level(lr, flat))

    def charts(self) -> list[Chart]:
        """A curve for each figure that there is."""
        of = f"Mean of {self.patches} patches"
        drawn = [
            ("PSNR to HR", "dB", self.decibels, f"{of}: the lower, the more a level takes away."),
            ("Blur", "sigma, pixels", self.blurs, f"{of}: of the Gaussian that is nearest to LR."),
            (
                "Noise in calm places",
                "deviation, grey levels",
                self.noises,
                f"{of}, where HR is flat.",
            ),
        ]
        made = [
            curve(title, self.axis, up, {title: (self.x, _means(found))}, said=said)
            for title, up, found, said in drawn
            if all(found) and len(found) > 1
        ]
        if self.of_hr and all(self.powers):
            chosen = sorted({0, len(self.labels) // 2, len(self.labels) - 1})
            bands = spectrum.centres(BANDS).tolist()
            lines = {"HR": (bands, np.mean(self.of_hr, axis=0).tolist())} | {
                self.labels[i]: (bands, np.mean(self.powers[i], axis=0).tolist())
                for i in reversed(chosen)
            }
            said = f"{of}, green channel."
            title, up = "Spectrum", "power, grey levels²"
            made.append(curve(title, "cycles a pixel", up, lines, said=said, logarithmic=True))
        return made


def _means(found: list[list[float]]) -> list[float]:
    return [float(np.mean(values)) for values in found]


def _power(picture: np.ndarray) -> np.ndarray | None:
    return None if min(picture.shape[:2]) < spectrum.TILE else spectrum.power(picture, BANDS)


def _flat(hr: np.ndarray) -> np.ndarray | None:
    try:
        return flat_places(hr)
    except DataError:  # black, white or small: it tells nothing of noise
        return None
