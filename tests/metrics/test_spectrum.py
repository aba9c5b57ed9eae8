"""Spectra of noise whose power is known, and coherence of what is and is not related."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage import data

from degflow_pipe.errors import DataError
from degflow_pipe.metrics.spectrum import (
    PooledCoherence,
    centres,
    coherence,
    power,
    spectrum_distance,
)

PHOTO = np.ascontiguousarray(data.astronaut())


def noise(seed: int, sigma: float = 20.0, side: int = 512) -> np.ndarray:
    values = 128 + sigma * np.random.default_rng(seed).standard_normal((side, side, 3))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def test_white_noise_has_its_variance_in_every_band() -> None:
    found = power(noise(0), 16)
    assert found.shape == (16,)
    assert found == pytest.approx(400.0, rel=0.12)


def test_a_wave_is_in_its_band_alone() -> None:
    wave = 128 + 60 * np.sin(2 * np.pi * 0.2 * np.arange(512))
    picture = np.repeat(np.tile(np.rint(wave), (512, 1))[..., None], 3, axis=2).astype(np.uint8)
    bands = power(picture, 16)
    hit = int(np.argmin(np.abs(centres(16) - 0.2)))
    assert np.argmax(bands) == hit
    assert bands[hit] > 100 * np.max(np.delete(bands, hit))
    assert power(picture.transpose(1, 0, 2), 16) == pytest.approx(bands)


def test_blurred_noise_falls_as_the_blur_does() -> None:
    sigma = 1.0
    ratio = power(cv2.GaussianBlur(noise(1), (0, 0), sigma), 16) / power(noise(1), 16)
    assert np.all(np.diff(ratio[:10]) < 0)
    expected = np.exp(-((2 * np.pi * sigma * centres(16)) ** 2))
    assert ratio[:8] == pytest.approx(expected[:8], rel=0.1)


def test_brightness_is_in_no_band() -> None:
    brighter = np.clip(PHOTO, 20, 200) + 40
    assert power(brighter) == pytest.approx(power(np.clip(PHOTO, 20, 200)), rel=1e-9)
    assert power(np.full((128, 128, 3), 90, np.uint8)) == pytest.approx(0.0, abs=1e-12)


def test_centres_split_half_a_cycle_evenly() -> None:
    assert centres(4) == pytest.approx([0.0625, 0.1875, 0.3125, 0.4375])


def test_a_picture_is_coherent_with_itself_and_not_with_noise() -> None:
    assert coherence(PHOTO, PHOTO, 16) == pytest.approx(1.0)
    strangers = coherence(noise(0), noise(1), 16)
    assert strangers.shape == (16,)
    assert np.all(strangers < 0.05)  # 49 tiles
    assert np.all(strangers > 0)


def test_a_filter_keeps_coherence_and_noise_lowers_it() -> None:
    picture = noise(0)
    shifted = np.roll(picture, 1, axis=1)
    blurred = cv2.GaussianBlur(picture, (0, 0), 0.7)
    assert np.all(coherence(picture, blurred, 16) > 0.97)
    assert np.all(coherence(picture, shifted, 16) > 0.9)
    # Noise of equal power: half of the sum is explained.
    both = np.clip(picture.astype(int) + noise(1) - 128, 0, 255).astype(np.uint8)
    assert np.mean(coherence(picture, both, 16)) == pytest.approx(0.5, abs=0.05)


def test_no_power_is_no_coherence() -> None:
    flat = np.full((256, 256, 3), 90, np.uint8)
    assert np.all(coherence(flat, flat) == 0)


def test_the_distance_of_spectra_is_in_decades() -> None:
    assert spectrum_distance(PHOTO, PHOTO) == 0
    # Twice the amplitude is four times the power.
    assert spectrum_distance(noise(0, 20), noise(0, 10)) == pytest.approx(np.log10(4), abs=0.01)
    assert spectrum_distance(noise(0, 10), noise(1, 20)) == pytest.approx(np.log10(4), abs=0.05)
    mild, strong = (cv2.GaussianBlur(PHOTO, (0, 0), sigma) for sigma in (0.6, 2.0))
    assert 0 < spectrum_distance(mild, PHOTO) < spectrum_distance(strong, PHOTO)


def test_power_below_that_of_rounding_does_not_count() -> None:
    flat = np.full((256, 256, 3), 90, np.uint8)
    one = flat.copy()
    one[7, 9] += 1
    assert spectrum_distance(flat, one) == 0


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(DataError, match=r"128 x 128 pixels or more, got \(127, 512\)"):
        power(PHOTO[:127])
    with pytest.raises(DataError, match=r"9 tiles.*got \(192, 256\)"):
        coherence(PHOTO[:192, :256], PHOTO[:192, :256])
    with pytest.raises(ValueError, match="one shape"):
        coherence(PHOTO, PHOTO[1:])
    for bands in (0, 33):
        with pytest.raises(ValueError, match=f"bands must be 1 to 32, got {bands}"):
            power(PHOTO, bands)
    assert np.all(np.isfinite(power(PHOTO, 32)))


def test_pooled_coherence_of_one_pair_is_its_own() -> None:
    pooled = PooledCoherence()
    pooled.add(PHOTO, PHOTO)
    assert pooled.by_band(16) == pytest.approx(1.0)
    pooled = PooledCoherence()
    pooled.add(PHOTO, noise(1))
    assert pooled.by_band(16) == pytest.approx(coherence(PHOTO, noise(1), 16))


def test_pooled_coherence_is_that_of_where_the_power_is() -> None:
    """Of calm scenes without anything in common and one that is a copy, which has the power."""
    pooled, each = PooledCoherence(), []
    for seed in range(4):
        calm = (noise(seed) // 16, noise(seed + 10) // 16)
        pooled.add(*calm)
        each.append(coherence(*calm, 16))
    pooled.add(noise(20), noise(20))
    each.append(coherence(noise(20), noise(20), 16))
    assert np.mean(each) < 0.4 and np.all(pooled.by_band(16) > 0.9)
    strangers = PooledCoherence()
    for seed in range(4):
        strangers.add(noise(seed), noise(seed + 10))
    alone = coherence(noise(0), noise(10), 16)
    assert np.mean(strangers.by_band(16)) < 0.5 * np.mean(alone), "chance falls with their number"
