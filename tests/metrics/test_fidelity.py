"""SSIM against scikit-image's, luma against BT.601's corners."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.metrics import structural_similarity

from degflow_pipe.errors import DataError
from degflow_pipe.metrics.fidelity import luma, psnr, psnr_luma, ssim, ssim_luma

HR = np.ascontiguousarray(data.astronaut()[100:228, 150:270])
PUBLISHED = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def noisy(picture: np.ndarray, sigma: float, seed: int) -> np.ndarray:
    noise = sigma * np.random.default_rng(seed).standard_normal(picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(11, 40),
    width=st.integers(11, 40),
    sigma=st.floats(0, 60),
    seed=st.integers(0, 2**32 - 1),
)
def test_ssim_is_that_of_scikit_image(height: int, width: int, sigma: float, seed: int) -> None:
    a = np.ascontiguousarray(HR[:height, :width])
    b = noisy(a, sigma, seed)
    expected = structural_similarity(a, b, data_range=255, channel_axis=-1, **PUBLISHED)
    assert ssim(a, b) == pytest.approx(expected, abs=1e-9)
    assert ssim(b, a) == pytest.approx(expected, abs=1e-9)


def test_ssim_of_luma_is_that_of_scikit_image_on_luma() -> None:
    b = cv2.GaussianBlur(HR, (0, 0), 1.2)
    expected = structural_similarity(luma(HR), luma(b), data_range=255, **PUBLISHED)
    assert ssim_luma(HR, b) == pytest.approx(expected, abs=1e-9)
    assert abs(ssim_luma(HR, b) - ssim(HR, b)) > 1e-4


def test_equal_pictures() -> None:
    assert ssim(HR, HR.copy()) == pytest.approx(1.0, abs=1e-12)
    assert ssim_luma(HR, HR.copy()) == pytest.approx(1.0, abs=1e-12)
    assert psnr_luma(HR, HR.copy()) == math.inf


@pytest.mark.parametrize(
    "colour, expected",
    [
        ((0, 0, 0), 16.0),
        ((255, 255, 255), 235.0),
        ((255, 0, 0), 81.481),
        ((0, 255, 0), 144.553),
        ((0, 0, 255), 40.966),
    ],
)
def test_luma_of_colours(colour: tuple[int, int, int], expected: float) -> None:
    y = luma(np.full((2, 3, 3), colour, np.uint8))
    assert y.shape == (2, 3) and y.dtype == np.float64
    assert y == pytest.approx(expected, abs=1e-9)


def test_psnr_of_luma_sees_a_grey_difference_at_studio_range() -> None:
    a = np.full((8, 9, 3), 100, np.uint8)
    b = a + 10
    # 219 of 255 levels are left of a grey difference.
    assert psnr_luma(a, b) == pytest.approx(psnr(a, b) + 20 * math.log10(255 / 219), abs=1e-9)


def test_pictures_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(128, 120, 3\) and \(128, 119, 3\)"):
        ssim(HR, HR[:, 1:])
    with pytest.raises(ValueError, match="one shape"):
        psnr_luma(HR, HR[:, 1:])
    with pytest.raises(DataError, match=r"11 x 11 pixels or more, got \(10, 120\)"):
        ssim(HR[:10], HR[:10])
