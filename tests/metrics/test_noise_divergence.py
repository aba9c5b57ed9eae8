"""Divergence of noise: near 0 for like noise, larger the more the strengths differ."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from skimage import data

from degflow_pipe.errors import DataError
from degflow_pipe.metrics.noise_divergence import flat_places, noise_kl, noise_level, residual

# Smoothed, so that all its noise is what the tests add; tones from 40 to 215.
CLEAN = 40 + cv2.GaussianBlur(data.astronaut(), (0, 0), 2.0).astype(np.float64) * (175 / 255)


def noisy(sigma: float, seed: int) -> np.ndarray:
    noise = sigma * np.random.default_rng(seed).standard_normal(CLEAN.shape)
    return np.clip(np.rint(CLEAN + noise), 0, 255).astype(np.uint8)


def test_like_noise_does_not_diverge() -> None:
    assert noise_kl(noisy(4, 1), noisy(4, 1)) == 0
    assert 0 <= noise_kl(noisy(4, 1), noisy(4, 2)) < 0.002


def test_noise_that_differs_more_diverges_more() -> None:
    real = noisy(4, 0)
    stronger = [noise_kl(noisy(sigma, 1), real) for sigma in (4, 5, 7, 12)]
    weaker = [noise_kl(noisy(sigma, 1), real) for sigma in (4, 3, 2, 0.5)]
    assert stronger == sorted(stronger) and weaker == sorted(weaker)
    assert stronger[1] > 0.01 and weaker[1] > 0.01


def test_gaussian_noise_diverges_by_the_closed_form() -> None:
    real, made = 4.0, 6.0
    expected = math.log(made / real) + real**2 / (2 * made**2) - 0.5  # KL of N(0, 4) from N(0, 6)
    assert noise_kl(noisy(made, 1), noisy(real, 0)) == pytest.approx(expected, rel=0.15)
    other_way = math.log(real / made) + made**2 / (2 * real**2) - 0.5
    assert noise_kl(noisy(real, 1), noisy(made, 0)) == pytest.approx(other_way, rel=0.15)


def test_empty_bins_and_outliers_stay_finite() -> None:
    wild = np.random.default_rng(0).integers(0, 2, CLEAN.shape, np.uint8) * 255
    assert 1 < noise_kl(wild, noisy(1, 0)) < 20
    assert 1 < noise_kl(noisy(0, 0), noisy(20, 0)) < 20


def test_the_level_is_most_of_the_noise_and_says_which_is_the_noisier() -> None:
    flat = flat_places(noisy(4, 0))
    # 5 x 5, sigma 1: 1 - 2 g0 + sum of g squared of white noise's variance is left.
    line = cv2.getGaussianKernel(5, 1.0)
    kernel = line @ line.T
    left = math.sqrt(1 - 2 * kernel[2, 2] + np.sum(kernel**2))
    assert noise_level(noisy(4, 0), flat) == pytest.approx(4 * left, rel=0.05)
    assert noise_level(noisy(8, 0), flat) == pytest.approx(8 * left, rel=0.05)


def test_the_residual_of_a_slope_is_nothing() -> None:
    slope = np.repeat(np.tile(np.arange(100, dtype=np.uint8), (40, 1))[..., None], 3, axis=2)
    inside = residual(slope)[2:-2, 2:-2]
    assert inside.dtype == np.float32
    assert np.abs(inside).max() < 1e-4


@pytest.mark.parametrize("period", [5, 8, 16])
def test_flat_places_are_flat_and_neither_black_nor_white(period: int) -> None:
    real = 128 + np.random.default_rng(0).standard_normal((300, 512, 3))
    real[:, 256:] += (20 * np.sin(2 * np.pi * np.arange(256) / period))[:, None]
    real[:50], real[50:100] = 0, 255
    flat = flat_places(np.clip(np.rint(real), 0, 255).astype(np.uint8))
    assert flat.shape == (300, 512) and flat.dtype == bool
    assert not flat[:98].any()
    # Crests of the texture, where its gradient is zero, are not flat either.
    assert not flat[:, 256:].any()
    assert flat.sum() == pytest.approx(0.25 * 200 * 512, rel=0.1)


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(DataError, match="neither black nor white, got 0 of 16384"):
        noise_kl(*[np.zeros((128, 128, 3), np.uint8)] * 2)
    with pytest.raises(ValueError, match="one shape"):
        noise_kl(noisy(1, 0)[1:], noisy(1, 0))
