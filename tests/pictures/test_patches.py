"""The grid of patches, and the measures that drop flat and repeated ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from degflow_pipe.errors import PhotoError, UsageError
from degflow_pipe.pictures.patches import Patch, check_grid, check_size, crop_patches, starts


def patch_of(pixels: np.ndarray) -> Patch:
    return Patch(pixels, 0, 0)


def numbered(height: int, width: int) -> np.ndarray:
    """A picture whose every pixel differs: its number in three bytes."""
    number = np.arange(height * width).reshape(height, width)
    return np.stack([number & 255, number >> 8 & 255, number >> 16], axis=2).astype(np.uint8)


@given(patch=st.integers(1, 40), extra=st.integers(0, 100), stride=st.integers(1, 60))
def test_starts_stay_inside_rise_and_reach_the_far_edge(
    patch: int, extra: int, stride: int
) -> None:
    length = patch + extra
    found = starts(length, patch, stride)
    assert found == sorted(set(found))
    assert found[0] == 0
    assert length - patch - min(stride, patch) / 4 < found[-1] <= length - patch
    assert found[:-1] == list(range(0, (len(found) - 1) * stride, stride))


@pytest.mark.parametrize(
    "length, stride, wanted",
    [
        (257, 256, [0]),
        (319, 256, [0]),
        (320, 256, [0, 64]),
        (512, 256, [0, 256]),
        (300, 32, [0, 32, 44]),
        (295, 32, [0, 32]),
        (600, 1000, [0, 344]),
    ],
)
def test_the_border_patch_is_a_quarter_of_a_stride_away_at_least(
    length: int, stride: int, wanted: list[int]
) -> None:
    assert starts(length, 256, stride) == wanted


@given(
    patch=st.integers(1, 12),
    height=st.integers(0, 30),
    width=st.integers(0, 30),
    stride=st.integers(1, 12),
)
def test_every_pixel_but_a_quarter_stride_of_border_is_in_a_patch(
    patch: int, height: int, width: int, stride: int
) -> None:
    stride = min(stride, patch)
    photo = numbered(patch + height, patch + width)
    covered = np.zeros(photo.shape[:2], bool)
    for found in crop_patches(photo, patch, stride):
        window = slice(found.y, found.y + patch), slice(found.x, found.x + patch)
        assert np.array_equal(found.pixels, photo[window])
        assert found.pixels.shape == (patch, patch, 3)
        covered[window] = True
    border = (min(stride, patch) - 1) // 4
    assert covered[: len(covered) - border, : covered.shape[1] - border].all()


def test_patches_come_row_by_row_and_do_not_share_memory() -> None:
    photo = numbered(100, 90)
    found = list(crop_patches(photo, 64, 64))
    assert [(p.y, p.x) for p in found] == [(0, 0), (0, 26), (36, 0), (36, 26)]
    photo[:] = 0
    assert all(p.pixels.flags["C_CONTIGUOUS"] for p in found)


def test_a_flat_patch_has_no_detail() -> None:
    assert patch_of(np.full((8, 8, 3), 77, np.uint8)).detail == 0


def test_detail_is_the_mean_step_between_neighbours() -> None:
    ramp = np.repeat(np.arange(0, 32, 2, np.uint8)[None, :, None], 16, axis=0).repeat(3, axis=2)
    assert patch_of(ramp).detail == 2  # steps of 2 across, none down
    checks = np.indices((16, 16)).sum(axis=0)[:, :, None].repeat(3, axis=2) % 2
    assert patch_of((checks * 50).astype(np.uint8)).detail == 100  # 50 across and 50 down


def test_detail_grows_with_contrast() -> None:
    photo = data.chelsea()[50:114, 100:164].astype(float)
    details = [
        patch_of((128 + (photo - 128) * contrast).round().astype(np.uint8)).detail
        for contrast in (0, 0.1, 0.3, 0.6, 1)
    ]
    assert details[0] == 0
    assert details == sorted(details)
    assert details[-1] > 5 * details[1] > 0


@given(st.integers(0, 8 * 8 * 3 - 1), st.integers(1, 255))
def test_equal_pixels_have_equal_digests_and_others_do_not(place: int, change: int) -> None:
    pixels = numbered(8, 8)
    other = pixels.copy()
    assert Patch(pixels, 0, 0).digest == Patch(other, 5, 7).digest
    other.reshape(-1)[place] ^= change
    assert Patch(pixels, 0, 0).digest != Patch(other, 0, 0).digest
    assert len(Patch(pixels, 0, 0).digest) == 32


def test_a_wrong_patch_or_stride_is_refused() -> None:
    check_grid(128, 1, 64)
    for patch in (0, -64, 32, 65, 100):
        with pytest.raises(UsageError, match=f"`patch` must be a multiple of 64.*got {patch}"):
            check_grid(patch, 64, 64)
    for stride in (0, -1):
        with pytest.raises(UsageError, match=f"`stride` must be 1 pixel at least, got {stride}"):
            check_grid(64, stride, 64)


def test_a_photo_smaller_than_the_patch_is_refused() -> None:
    check_size(numbered(64, 64), 64, "a.png")
    for shape in ((63, 100), (100, 63)):
        with pytest.raises(PhotoError, match=f"a.png: {shape[1]} x {shape[0]} pixels, smaller"):
            check_size(numbered(*shape), 64, "a.png")
