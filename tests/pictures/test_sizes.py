"""Sizes on the way to an LR of HR / S, and the camera's own pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degflow_pipe.errors import UsageError
from degflow_pipe.pictures.sizes import on_own_pixels, seen_by_camera, sizes_at
from degflow_pipe.simulation.camera import enlarge


@given(
    side=st.integers(64, 4096),
    sr_scale=st.floats(1.05, 4).map(lambda s: round(s, 2)),
    share=st.floats(0, 1),
    most=st.floats(1.5, 4),
)
def test_what_a_camera_is_shown_has_whole_pixels_and_a_level_that_it_has(
    side: int, sr_scale: float, share: float, most: float
) -> None:
    asked = 1 + share * (min(sr_scale, most) - 1)
    sizes = sizes_at(side, sr_scale, asked, most)
    assert sizes.lr <= sizes.seen <= sizes.hr <= side
    assert sizes.camera_scale <= most + 1e-6
    # The nearest level of whole pixels: less than one of them off.
    assert abs(sizes.camera_scale - asked) <= 1 / sizes.lr
    if sr_scale == int(sr_scale):
        assert sizes.hr == sr_scale * sizes.lr and side - sizes.hr < sr_scale
    else:
        assert sizes.hr == side
        # Less than a pixel of LR is left over.
        assert -1e-5 < sizes.effective_scale - sr_scale < sr_scale / sizes.lr + 1e-5


@pytest.mark.parametrize(
    ("side", "sr_scale", "camera", "why"),
    [
        (256, 2, 2.9, "x2 cannot be had of a camera's level x2.9"),
        (63, 4, 2, "would be an LR of 15"),
        (256, 1, 1, "`sr_scale` must be above 1"),
        (256, 99, 2, "`sr_scale` must be above 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused(
    side: int, sr_scale: float, camera: float, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        sizes_at(side, sr_scale, camera, 2.9)


def test_a_camera_is_shown_hr_itself_where_its_level_is_the_scale() -> None:
    hr = np.arange(96 * 96 * 3, dtype=np.uint8).reshape(96, 96, 3)
    sizes = sizes_at(96, 2.0, 2.0, 2.9)
    assert np.array_equal(seen_by_camera(hr, sizes, sizes), hr)


@pytest.mark.parametrize("s", [1.5, 2.0, 2.9])
def test_an_enlarged_picture_comes_back_to_its_own_pixels(s: float) -> None:
    """White noise, the hardest there is, to within 40 dB; an antialiased reduction gives 30."""
    rng = np.random.default_rng(0)
    own = rng.normal(128, 20, (80, 80, 3)).clip(0, 255).astype(np.uint8)
    side = 64
    large = enlarge(own, (round(side * s),) * 2, round(side * s) / side)
    back = on_own_pixels(large, (side, side))
    error = back[4:-4, 4:-4].astype(float) - own[8:72, 8:72][4:-4, 4:-4]
    assert 10 * np.log10(255**2 / np.mean(error**2)) > 40
