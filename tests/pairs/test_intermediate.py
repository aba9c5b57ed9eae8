"""Pictures made to stand between two knots of a pair."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.pairs.intermediate import MARGIN, intermediate, variance_share

SHARP = np.ascontiguousarray(data.astronaut()[80:208, 160:288])


def lens(sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(SHARP, (0, 0), sigma)


def inside(picture: np.ndarray) -> np.ndarray:
    grey = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    return grey[MARGIN:-MARGIN, MARGIN:-MARGIN]


@pytest.mark.parametrize("s", [2.4, 3.0, 3.6])
def test_a_lens_that_blurs_with_the_scale_is_met(s: float) -> None:
    # The blur of scale s has a sigma of 0.6 s, of which SHARP has seen none.
    a, true, b = lens(1.2), lens(0.6 * s), lens(2.4)
    found = intermediate(a, b, variance_share(s, 2.0, 4.0))
    blend = (a.astype(np.float32) + b) / 2
    assert psnr(inside(found), inside(true)) > 48
    assert psnr(inside(found), inside(true)) > psnr(inside(blend), inside(true)) + 3


def test_the_ends_are_the_knots() -> None:
    a, b = lens(0.8), lens(2.0)
    assert psnr(inside(intermediate(a, b, 0.0)), inside(a)) > 60
    assert psnr(inside(intermediate(a, b, 1.0)), inside(b)) > 60


def test_what_the_blur_leaves_over_comes_by_its_share() -> None:
    a, b = lens(0.8), lens(2.0)
    brighter = np.clip(b.astype(int) + 40, 0, 255).astype(np.uint8)
    means = [intermediate(a, brighter, share).mean() for share in (0.0, 0.25, 1.0)]
    whole = means[2] - means[0]
    assert whole > 20
    assert (means[1] - means[0]) / whole == pytest.approx(0.25, abs=0.02)


@given(st.floats(1, 4), st.floats(1.1, 4), st.floats(0, 1))
def test_shares_rise_from_0_to_1(s_a: float, ratio: float, part: float) -> None:
    s_b = s_a * ratio
    s = s_a + part * (s_b - s_a)
    share = variance_share(s, s_a, s_b)
    assert -1e-9 <= share <= part + 1e-9  # variance grows later than the scale
    assert variance_share(s_a, s_a, s_b) == 0
    assert variance_share(s_b, s_a, s_b) == pytest.approx(1)
