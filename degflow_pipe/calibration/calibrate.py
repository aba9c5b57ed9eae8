"""calibrate: which level is which scale, and the noise, measured on the training pairs.

A level asked for by scale should have that scale's blur. The equivalent blur of a picture is the
sigma of the Gaussian that best turns HR into it. Between two scales that there are pairs for its
square is taken to go as s², as a lens's does: measured on a simulated camera at s = 1.1 ... 4, the
sigma is 0.91 sqrt(s² - 1) within 4 % from s = 1.3 up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from degflow_pipe.calibration.judging import OfTraining
from degflow_pipe.calibration.noise_fit import NoiseFit
from degflow_pipe.calibration.results import Calibrated
from degflow_pipe.checkpoint.calibration import Calibration
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import own_checkpoint, read_info, write_judged
from degflow_pipe.checkpoint.verdict import Judged
from degflow_pipe.errors import DataError
from degflow_pipe.folders import locked
from degflow_pipe.metrics.blur import BLUR_SIDE, equivalent_blur
from degflow_pipe.noise.model import LEAST_SIDE, NoiseModel
from degflow_pipe.pairs.intermediate import variance_share
from degflow_pipe.pairs.pairs import Pairs, find_scenes
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.pictures.arrays import middle, to_picture, to_tensor
from degflow_pipe.pictures.sizes import at_own_pixels
from degflow_pipe.progress import Progress, Silent

STEPS = 20
"""Equal steps of t that the blur of generated LR is measured at."""
BLUR_SCENES = 12
"""Scenes that blurs, and what the verdict needs, are measured on: their means vary little."""
NOISE_SCENES = 60
"""Scenes, at most, that noise is measured on, evenly spread: their tiles take about a gigabyte."""


def calibrate(
    checkpoint: str,
    data: DataSettings,
    root: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> Calibrated:
    """Measure scales and noise on the training scenes and write them into the checkpoint.

    All levels with pairs serve as known scales, the knots for the noise. Raises DataError for wrong
    pairs, and where the blur of real or generated LR does not grow with the level, UsageError for a
    shipped checkpoint by name, FileError where another process is writing to the folder.
    """
    folder = own_checkpoint(checkpoint)
    read_info(folder)  # a folder that is no checkpoint is not locked
    with locked(folder):
        return _calibrate(folder, data, root, device, progress or Silent())


def _calibrate(
    folder: Path, data: DataSettings, root: Path, device: str, progress: Progress
) -> Calibrated:
    model = DegFlow.load(str(folder), device)
    pairs = Pairs(find_scenes(data, root)[0], data)
    every = max(len(pairs.scenes) // BLUR_SCENES, 1)
    every_noise = -(-len(pairs.scenes) // NOISE_SCENES)
    levels = np.linspace(0, 1, STEPS + 1)
    judging = OfTraining()
    made: list[list[float]] = []
    real: list[list[float]] = []
    fits = {level.t: NoiseFit() for level in data.knots[1:]}
    own_fits = {t: NoiseFit() for t in fits}
    with progress.task("calibrate", len(pairs.scenes), counts="scenes") as task:
        for i, scene in enumerate(pairs.scenes):
            pictures = pairs.pictures(scene)
            hr = pictures[0]
            assert hr is not None
            to_fit, to_judge = (i % one_in == 0 for one_in in (every_noise, every))
            for t, expected, lr in _knots(model, pairs, pictures) if to_fit or to_judge else ():
                if to_fit:
                    _add_noise(hr, expected, lr, data.scale_of_t(t), (fits[t], own_fits[t]))
                if to_judge:
                    judging.add(hr, to_picture(expected), lr)
            if to_judge:
                made.append(generated_blurs(model, hr, levels.tolist()))
                real.append(_real_blurs(pictures))
            task.advance()
    mean_blurs = np.mean(made, axis=0)
    # As a rising curve: what falls back is held.
    blurs = np.column_stack([levels, np.maximum.accumulate(mean_blurs)])
    found = _calibration(data, np.nanmean(real, axis=0), blurs, (fits, own_fits))
    # What `evaluate` found was found with the noise until now.
    judged = Judged(judging.found(len(pairs.scenes), mean_blurs))
    info = write_judged(folder, replace(read_info(folder), calibration=found, judged=judged))
    return Calibrated(
        checkpoint=str(folder),
        id=info.id,
        scenes=len(pairs.scenes),
        scales=found.scales,
        noise=found.noise.digest,
        noise_t=list(fits),
        own_noise=found.own_digest,
        verdict=info.verdict,
    )


def _calibration(
    data: DataSettings,
    sigma_known: np.ndarray,
    blurs: np.ndarray,
    fits: tuple[dict[float, NoiseFit], dict[float, NoiseFit]],
) -> Calibration:
    """sigma_known: (L,) pixels, of the pairs; blurs: (T, 2), t and pixels; fits: see `_add_noise`,
    by t."""
    s_of_pairs = [data.scale_of_t(level.t) for level in data.pair_levels]
    onset = _onset(blurs, min(fits[0]))
    found = Calibration(_scales(s_of_pairs, sigma_known, blurs), _noise(fits[0], onset, blurs))
    if not all(fit.residuals for fit in fits[1].values()):
        return found
    # In the camera's own pixels blurs are smaller by the scale.
    own = np.maximum.accumulate([sigma / found.scale_of_t(t) for t, sigma in blurs])
    own_noise = _noise(fits[1], onset, np.column_stack([blurs[:, 0], own]))
    return replace(found, own_noise=own_noise)


def _noise(fits: dict[float, NoiseFit], onset: list[list[float]], blurs: np.ndarray) -> NoiseModel:
    knots = [fit.fitted(t) for t, fit in fits.items()]
    return NoiseModel(knots, onset, np.round(blurs, 4).tolist())


def _knots(
    model: DegFlow, pairs: Pairs, pictures: list[np.ndarray | None]
) -> Iterator[tuple[float, Tensor, np.ndarray]]:
    """t, expected LR (3, H, W) in [0, 1] and real LR of each knot of a training scene but HR."""
    hr = pictures[0]
    assert hr is not None
    reals = {level.t: lr for level, lr in zip(pairs.levels, pictures, strict=True)}
    t = [level.t for level in pairs.data.knots[1:]]
    for place, expected in zip(t, model.degrade(to_tensor(hr), t, "none")[0], strict=True):
        lr = reals[place]
        assert lr is not None  # a training scene has every knot
        yield place, expected, lr


def _add_noise(
    hr: np.ndarray, expected: Tensor, lr: np.ndarray, s: float, fits: tuple[NoiseFit, NoiseFit]
) -> None:
    """fits: of LR of HR's size, and of LR on the camera's own pixels."""
    made = expected.mul(255).movedim(0, -1).cpu().numpy()
    fits[0].add(made, lr)
    if min(hr.shape[:2]) >= LEAST_SIDE * s:
        fits[1].add(*(at_own_pixels(picture, s) for picture in (made, lr)))


def generated_blurs(model: DegFlow, picture: np.ndarray, levels: list[float]) -> list[float]:
    """Equivalent blur in pixels of what is generated of an HR picture, (H, W, 3) uint8, at levels.

    The first level is 0, and so is its blur.
    """
    hr = middle(picture, BLUR_SIDE)
    z, skips = model.encode(to_tensor(hr))
    pictures = model.levels(z, levels[1:], skips).pictures
    return [0.0, *(equivalent_blur(hr, to_picture(lr)[0]) for lr in pictures)]


def _real_blurs(pictures: list[np.ndarray | None]) -> list[float]:
    """Of each level, NaN where the scene lacks it."""
    assert pictures[0] is not None
    hr, *others = (None if p is None else middle(p, BLUR_SIDE) for p in pictures)
    assert hr is not None
    return [0.0, *(np.nan if p is None else equivalent_blur(hr, p) for p in others)]


def _scales(s_known: list[float], sigma_known: np.ndarray, blurs: np.ndarray) -> list[list[float]]:
    """[s, t] by equal blur, at STEPS equal steps of s; see the module for the law between."""
    rising = blurs[:, 1]
    if not np.all(np.diff(sigma_known) > 0) or rising[-1] <= 0:
        raise DataError(
            f"the blur of the pairs does not grow with the scale: {np.round(sigma_known, 2)} "
            f"pixels at s = {s_known}"
        )
    keep = np.concatenate([[True], np.diff(rising) > 0])
    table = []
    for s in np.linspace(1, s_known[-1], STEPS + 1):
        right = next(i for i, known in enumerate(s_known) if i and s <= known + 1e-9)
        share = variance_share(s, s_known[right - 1], s_known[right])
        low, high = sigma_known[right - 1] ** 2, sigma_known[right] ** 2
        sigma = np.sqrt(low + share * (high - low))
        table.append([float(s), float(np.interp(sigma, rising[keep], blurs[keep, 0]))])
    # t = 1 is the last scale by definition; the ends are exact.
    table[0][1], table[-1][1] = 0.0, 1.0
    return [[round(s, 6), round(t, 6)] for s, t in _strictly_rising(table)]


def _strictly_rising(table: list[list[float]]) -> list[list[float]]:
    kept = [table[0]]
    for s, t in table[1:-1]:
        if kept[-1][1] < t < 1:
            kept.append([s, t])
    return [*kept, table[-1]]


def _onset(blurs: np.ndarray, first: float) -> list[list[float]]:
    """Share of the first knot's noise by t: that of white noise in HR that the blur has taken."""
    taken = np.array([_white_noise_taken(sigma) for sigma in blurs[:, 1]])
    at_knot = float(np.interp(first, blurs[:, 0], taken))
    t = np.unique([*blurs[blurs[:, 0] < first, 0], first])
    share = np.interp(t, blurs[:, 0], taken) / max(at_knot, 1e-9)
    return [
        [round(float(a), 6), round(float(min(b, 1.0)), 4)] for a, b in zip(t, share, strict=True)
    ]


def _white_noise_taken(sigma: float) -> float:
    """Share of the power of white noise that a Gaussian blur takes away, in [0, 1)."""
    taps = np.arange(-20, 21)
    kernel = np.exp(-(taps**2) / (2 * max(sigma, 1e-3) ** 2))
    kernel /= kernel.sum()
    return float(1 - np.sum(kernel**2) ** 2)
