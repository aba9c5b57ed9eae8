"""PSNR against its definition, and the oracle blur against blurs of a known sigma."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from skimage import data

from degflow_pipe.metrics.blur import best_gaussian
from degflow_pipe.metrics.fidelity import psnr

HR = np.ascontiguousarray(data.astronaut()[100:228, 150:278])


def test_equal_pictures_are_infinitely_near() -> None:
    assert psnr(HR, HR.copy()) == math.inf


@pytest.mark.parametrize("difference, expected", [(1, 48.1308), (10, 28.1308), (255, 0.0)])
def test_psnr_of_a_constant_difference(difference: int, expected: float) -> None:
    a = np.zeros((8, 9, 3), np.uint8)
    b = np.full_like(a, difference)
    assert psnr(a, b) == pytest.approx(expected, abs=1e-3)
    assert psnr(b, a) == psnr(a, b)


def test_psnr_counts_every_pixel_and_channel() -> None:
    a = np.full((10, 10, 3), 200, np.uint8)
    b = a.copy()
    b[3, 4, 1] = 215  # one of 300 values is off by 15: a mean squared error of 0.75
    assert psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 0.75), abs=1e-9)


def test_psnr_refuses_pictures_of_two_shapes() -> None:
    with pytest.raises(ValueError, match=r"\(128, 128, 3\) and \(128, 127, 3\)"):
        psnr(HR, HR[:, 1:])


@pytest.mark.parametrize("sigma", [0.6, 1.3, 2.7, 4.5])
def test_the_best_gaussian_is_the_one_that_was_given(sigma: float) -> None:
    found, score = best_gaussian(HR, cv2.GaussianBlur(HR, (0, 0), sigma))
    assert found == pytest.approx(sigma, abs=0.1)
    assert score > 45
    assert score > psnr(HR, cv2.GaussianBlur(HR, (0, 0), sigma)) + 10
