"""Aligning shots whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from degflow_pipe.alignment.align import Aligned, align
from degflow_pipe.alignment.coarse import NoMatch
from degflow_pipe.alignment.left import rectangles
from degflow_pipe.alignment.tiles import BLOCK
from tests.alignment import scenes


def photo(seed: int) -> np.ndarray:
    """(576, 768, 3): parts of photos of scikit-image, each another one."""
    every = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    row = [np.roll(every[(seed + i) % 4], 37 * seed, 1)[:288, :384] for i in range(4)]
    return np.concatenate([np.concatenate(row[:2], 1), np.concatenate(row[2:], 1)])


def used(found: Aligned, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool: pixels of HR in clean blocks."""
    made = np.zeros(shape[:2], bool)
    clean = np.kron(found.reasons == 0, np.ones((BLOCK, BLOCK), bool))
    made[: clean.shape[0], : clean.shape[1]] = clean
    return made


@pytest.mark.parametrize("seed", range(6))
def test_lr_lies_where_it_should(seed: int) -> None:
    made = scenes.shots(photo(seed), seed)
    found = align(made.hr, made.lr)
    places = found.warp.rows(0, made.hr.shape[0]) + _origin(found, made)
    rms, most = made.error(places, used(found, made.hr.shape))
    assert rms <= 0.1 and most <= 0.3
    assert abs(found.warp.scale / made.scale - 1) < 0.03
    assert (found.reasons == 0).mean() > 0.6


def _origin(found: Aligned, made: object) -> np.ndarray:
    """Of the part of the LR that was kept."""
    box = found.coarse.warp.box(made.lr.shape[:2])  # type: ignore[attr-defined]
    assert box is not None
    return np.array(box[:2], float)[:, None, None]


@pytest.mark.parametrize("seed", range(3))
def test_lr_has_hrs_light(seed: int) -> None:
    made = scenes.shots(photo(seed), seed, scale=2.0)
    found = align(made.hr, made.lr)
    height, width = made.hr.shape[:2]
    gains = found.light.gains(np.arange(height), np.arange(width))
    back = gains * (128 * made.light) + found.light.offset
    assert np.abs(back.mean((0, 1)) / 128 - 1).max() < 0.005


@pytest.mark.parametrize("seed", range(3))
def test_levels_near_each_other_do_not_make_an_offset_of_a_gain(seed: int) -> None:
    bright = 190 + photo(seed) // 4
    made = scenes.shots(bright, seed, scale=2.0)
    light = align(made.hr, made.lr).light
    gains = light.gains(*map(np.arange, made.hr.shape[:2]))
    assert not light.offset.any()
    assert np.abs((gains * made.light).mean((0, 1)) - 1).max() < 0.005


def test_a_veil_of_stray_light_is_an_offset() -> None:
    made = scenes.shots(photo(1), 1, scale=2.0)
    clear = align(made.hr, made.lr).light
    veiled = align(made.hr, np.minimum(made.lr, 235) + 20).light
    assert np.abs(veiled.offset / clear.gain[:, 0] + 20).max() < 2


@pytest.mark.parametrize("seed", range(3))
def test_what_moved_is_kept_out(seed: int) -> None:
    made = scenes.shots(photo(seed), seed, scale=2.5, moved=0.05)
    found = align(made.hr, made.lr)
    kept = used(found, made.hr.shape)
    assert kept[made.moved].mean() < 0.05
    assert kept.mean() > 0.5
    for top, left, bottom, right in rectangles(found.reasons == 0, 96, 4):
        assert kept[top:bottom, left:right].all()


def test_pairs_are_one_interpolation_of_the_lr_in_hrs_light() -> None:
    made = scenes.shots(photo(1), 1, scale=1.5)
    found = align(made.hr, made.lr)
    lr = found.picture(96, 96, 384, 480).astype(float)
    off = lr - made.hr[96:384, 96:480]
    assert np.abs(off.mean((0, 1))).max() < 1.0
    assert np.array_equal(found.picture(192, 96, 384, 480), lr[96:].astype(np.uint8))


def test_another_scene_is_told() -> None:
    with pytest.raises(NoMatch, match="another scene"):
        align(data.astronaut(), data.coffee())
    with pytest.raises(NoMatch, match="blurred"):
        align(data.astronaut(), np.full((300, 300, 3), 90, np.uint8))
