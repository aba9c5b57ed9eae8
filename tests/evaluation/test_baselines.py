"""Hand-made degradations: their size and seeds, and that they degrade more at larger scales."""

from __future__ import annotations

from collections import Counter
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from degflow_pipe.evaluation import degradation_steps as steps
from degflow_pipe.evaluation.baselines import BASELINES, bicubic, bsrgan_style, real_esrgan_style
from degflow_pipe.metrics.fidelity import psnr

HR = np.ascontiguousarray(data.astronaut()[60:187, 150:301])  # odd sides
REAL = cv2.GaussianBlur(HR, (0, 0), 1.3)
RANDOM = ["real_esrgan_style", "bsrgan_style"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("scale", [1.0, 1.7, 2.9, 4.0])
def test_lr_is_a_picture_of_the_size_of_hr(name: str, scale: float) -> None:
    before = HR.copy()
    for seed in range(4):
        lr = BASELINES[name](HR, REAL, scale, rng(seed))
        assert lr.shape == HR.shape and lr.dtype == np.uint8
        assert psnr(lr, HR) > 12
    assert np.array_equal(HR, before)


@pytest.mark.parametrize("name", RANDOM)
def test_a_seed_is_a_picture(name: str) -> None:
    pictures = [BASELINES[name](HR, None, 2.9, rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize("name", ["bicubic", *RANDOM])
def test_a_larger_scale_degrades_more(name: str) -> None:
    def mean(scale: float) -> float:
        return float(
            np.mean([psnr(BASELINES[name](HR, None, scale, rng(i)), HR) for i in range(12)])
        )

    assert mean(1.2) > mean(2.4) + 0.5 > mean(4.8) + 1.0


def test_bicubic_at_scale_1_is_hr() -> None:
    assert np.array_equal(bicubic(HR, None, 1.0, rng()), HR)


def test_bicubic_does_not_alias() -> None:
    stripes = np.zeros((120, 120, 3), np.uint8)
    stripes[:, ::2] = 255
    lr = bicubic(stripes, None, 3.0, rng())
    assert np.abs(lr[10:-10, 10:-10].astype(int) - 127).max() < 8


def test_the_oracle_finds_the_blur_and_needs_the_real_picture() -> None:
    lr = BASELINES["best_gaussian"](HR, REAL, 2.9, rng())
    assert psnr(lr, REAL) > 45
    with pytest.raises(ValueError, match="needs the real LR"):
        BASELINES["best_gaussian"](HR, None, 2.9, rng())


@pytest.mark.parametrize("name", ["bicubic", *RANDOM])
@pytest.mark.parametrize("scale", [0.5, float("nan"), float("inf")])
def test_a_scale_below_1_is_refused(name: str, scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be 1 or more"):
        BASELINES[name](HR, None, scale, rng())


def calls(monkeypatch: pytest.MonkeyPatch, degrade: Any) -> Counter[str]:
    """What a degradation asks of OpenCV and torch over 40 seeds."""
    counts: Counter[str] = Counter()

    def counted(name: str, call: Any) -> Any:
        def run(*args: Any, **named: Any) -> Any:
            mosaic = name == "cvtColor" and args[1] == cv2.COLOR_BAYER_RGGB2RGB
            counts["mosaic" if mosaic else name] += 1
            return call(*args, **named)

        return run

    with monkeypatch.context() as patch:
        for name in ("imencode", "filter2D", "resize", "cvtColor"):
            patch.setattr(cv2, name, counted(name, getattr(cv2, name)))
        patch.setattr(torch.special, "bessel_j1", counted("sinc", torch.special.bessel_j1))
        for seed in range(40):
            degrade(HR[:40, :40], None, 2.0, rng(seed))
    return counts


def test_steps_run_as_often_as_published(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = calls(monkeypatch, real_esrgan_style)
    assert twice["imencode"] == 80, "JPEG twice"
    assert twice["resize"] == 120, "in each round, and to the small LR"
    # 0.8 of the last filters and a tenth of the blurs are sincs; the second blur is at 0.8.
    assert 28 <= twice["sinc"] <= 48
    assert 40 + 50 <= twice["filter2D"] <= 40 + 80
    assert twice["mosaic"] == 0
    shuffled = calls(monkeypatch, bsrgan_style)
    assert 60 <= shuffled["imencode"] <= 79, "JPEG at the end, and at 0.75 before"
    assert shuffled["filter2D"] == 80, "two blurs"
    assert 3 <= shuffled["mosaic"] <= 18, "camera noise at 0.25"
    assert 40 < shuffled["resize"] < 60, "one way in four shrinks twice"


@pytest.mark.parametrize("seed", range(20))
def test_kernels_are_odd_centred_and_keep_brightness(seed: int) -> None:
    kernels = [
        steps.any_kernel(rng(seed), (0.2, 3.0)),
        steps.sinc_kernel(rng(seed)),
        steps.two_axes_kernel(rng(seed), (0.5, 8.0)),
        steps.gaussian_kernel(rng(seed), (0.1, 2.8)),
    ]
    for kernel in kernels:
        assert kernel.shape[0] == kernel.shape[1] and kernel.shape[0] in range(7, 22, 2)
        assert np.sum(kernel) == pytest.approx(1)
        assert kernel == pytest.approx(kernel[::-1, ::-1])
        assert np.argmax(kernel) == kernel.size // 2


def test_the_sinc_passes_low_frequencies_and_stops_high_ones() -> None:
    for seed in range(10):
        kernel = steps.sinc_kernel(rng(seed))
        if kernel.shape[0] < 15:
            continue
        gain = np.abs(np.fft.fft2(kernel, (128, 128)))
        cutoff = rng_cutoff(seed)
        radius = 2 * np.pi * np.hypot(*np.meshgrid(np.fft.fftfreq(128), np.fft.fftfreq(128)))
        assert np.mean(gain[radius < 0.6 * cutoff]) == pytest.approx(1, abs=0.12)
        assert np.mean(gain[radius > cutoff + 0.6]) < 0.1


def rng_cutoff(seed: int) -> float:
    """The cutoff that `sinc_kernel` draws from this seed, in radians a pixel, for sides from 13."""
    generator = rng(seed)
    generator.integers(3, 11)
    return generator.uniform(np.pi / 5, np.pi)


def test_camera_noise_keeps_colours_and_grows_coarse() -> None:
    colour = np.full((96, 96, 3), (0.7, 0.4, 0.2), np.float32)
    made = steps.camera_noise(colour, rng(3))
    assert np.mean(made, axis=(0, 1)) == pytest.approx([0.7, 0.4, 0.2], abs=0.02)
    red = made[8:-8, 8:-8, 0] - np.mean(made[8:-8, 8:-8, 0])
    assert np.std(red) > 1e-3
    # Demosaicing ties neighbours together.
    assert np.mean(red[:, 1:] * red[:, :-1]) > 0.2 * np.mean(red**2)
