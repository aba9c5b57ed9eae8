"""`light: hr`: what differed in exposure, white balance or tone is taken out of LR."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from degflow_pipe.errors import UsageError
from degflow_pipe.pairs.light import in_light_of
from degflow_pipe.pairs.pairs import Pairs, Scene
from degflow_pipe.pairs.settings import DataSettings

HR = np.ascontiguousarray(data.astronaut()[:384, :384])
SOFT = cv2.GaussianBlur(HR, (0, 0), 1.5)
LEVELS = [
    {"name": "HR", "t": 0.0, "files": "*_hr.png"},
    {"name": "LR", "t": 1.0, "files": "*_lr.png"},
]
DATA = DataSettings(4.0, "a test", "none", levels=LEVELS, enlarge="bicubic", light="hr")


def in_other_light(picture: np.ndarray, gains: list[float], offsets: list[float]) -> np.ndarray:
    lit = picture * np.array(gains) + np.array(offsets)
    return np.clip(np.rint(lit), 0, 255).astype(np.uint8)


@settings(max_examples=25, deadline=None)
@given(
    gains=st.lists(st.floats(0.75, 1.2), min_size=3, max_size=3),
    offsets=st.lists(st.floats(-12, 20), min_size=3, max_size=3),
    shrink=st.sampled_from([1, 2, 4]),
)
def test_gain_and_offset_are_taken_out(
    gains: list[float], offsets: list[float], shrink: int
) -> None:
    lr = cv2.resize(SOFT, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
    made = in_light_of(HR, in_other_light(lr, gains, offsets)).astype(float)
    middle = (lr > 40) & (lr < 200)  # clipped in neither light
    assert made.shape == lr.shape
    assert np.abs(made - lr)[middle].mean() < 2.0


def test_what_moved_is_not_taken_for_light() -> None:
    lr = in_other_light(SOFT, [0.9, 0.95, 1.05], [6, 0, -4])
    lr[:150, :150] = 230  # a sixth of it
    made = in_light_of(HR, lr).astype(float)
    assert np.abs(made - SOFT)[160:, 160:].mean() < 2.0


@pytest.mark.parametrize("level", [0, 128, 255])
def test_what_tells_nothing_is_left_as_it_is(level: int) -> None:
    """A scene without tones, and an LR of nothing."""
    flat = np.full_like(HR, level)
    assert np.array_equal(in_light_of(flat, flat), flat)
    assert in_light_of(HR, flat).shape == HR.shape
    small = HR[:40, :40]
    assert np.array_equal(in_light_of(small, small // 2), small // 2), "fewer than eight blocks"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """HR of 384 pixels, LR of 96 in another light."""
    small = cv2.resize(SOFT, (96, 96), interpolation=cv2.INTER_AREA)
    lit = in_other_light(small, [0.8, 0.9, 1.1], [10, 4, -3])
    for name, picture in (("hr", HR), ("lr", lit)):
        Image.fromarray(picture).save(tmp_path / f"a_{name}.png")
    return Scene("a", (tmp_path / "a_hr.png", tmp_path / "a_lr.png"))


def tones(picture: np.ndarray) -> np.ndarray:
    return picture.mean((0, 1))


def test_pairs_have_hr_light_at_every_size(scene: Scene) -> None:
    lit, own = (Pairs([scene], replace(DATA, light=light)) for light in ("hr", "own"))
    for _ in range(2):  # read, and kept
        as_large = lit.pictures(scene)[1]
        assert as_large is not None and as_large.shape == HR.shape
        assert np.abs(tones(as_large) - tones(HR)).max() < 1.5
    hr, small = lit.pair_at(scene, 1, 4)
    assert np.abs(tones(small) - tones(hr)).max() < 1.5
    assert np.abs(tones(own.pair_at(scene, 1, 4)[1]) - tones(HR)).max() > 10
    assert lit.fingerprint() != own.fingerprint(), "what is made of them is other"


def test_a_light_that_is_none() -> None:
    with pytest.raises(UsageError, match="`light` must be own or hr, got 'lr'"):
        replace(DATA, light="lr")
