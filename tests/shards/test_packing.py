"""Sizes of pairs, picture formats, and the settings of a data set."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from degflow_pipe.errors import UsageError
from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.pictures.formats import parse_format
from degflow_pipe.shards.layout import ShardSettings
from degflow_pipe.shards.packing import Packing, pack

PHOTO = np.ascontiguousarray(data.astronaut()[60:188, 150:278])


@pytest.mark.parametrize("scale", [1.0, 1.7, 4.0])
def test_lr_of_the_same_size_is_left_alone(scale: float) -> None:
    packing = pack(64, scale, "same", "refuse")
    assert (packing.hr, packing.lr, packing.effective_scale) == (64, 64, 1.0)
    hr, lr = packing.apply(PHOTO[:64, :64], PHOTO[64:, 64:])
    assert np.array_equal(hr, PHOTO[:64, :64])
    assert np.array_equal(lr, PHOTO[64:, 64:])


@pytest.mark.parametrize("scale, lr", [(1.0, 64), (1.6, 40), (2.0, 32), (2.56, 25), (4.0, 16)])
@pytest.mark.parametrize("uneven", ["refuse", "crop"])
def test_a_scale_that_divides_the_patch_crops_nothing(scale: float, lr: int, uneven: str) -> None:
    packing = pack(64, scale, "native", uneven)
    assert packing == Packing(64, lr)
    assert packing.effective_scale == scale


def test_a_scale_of_six_decimals_still_divides() -> None:
    assert pack(192, 1.333333, "native", "refuse") == Packing(192, 144)


def test_a_scale_that_does_not_divide_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"64 at scale 1.7 would be 37.65 pixels.*`uneven` crop"):
        pack(64, 1.7, "native", "refuse")


@given(patch=st.sampled_from([64, 128, 192, 256]), scale=st.floats(1, 8))
def test_crop_takes_the_nearest_ratio_that_an_eighth_less_of_hr_allows(
    patch: int, scale: float
) -> None:
    scale = round(scale, 6)
    packing = pack(patch, scale, "native", "crop")
    assert patch * 7 / 8 <= packing.hr <= patch
    assert 1 <= packing.lr <= packing.hr
    assert packing.effective_scale == round(packing.hr / packing.lr, 6)
    best = min(
        abs(hr / lr - scale)
        for hr in range(patch * 7 // 8, patch + 1)
        for lr in range(1, hr + 1)
        if abs(hr / lr - scale) < 0.5 or lr == 1
    )
    assert abs(packing.hr / packing.lr - scale) <= best + 1e-5


def test_native_lr_is_an_antialiased_reduction_of_the_cropped_pair() -> None:
    hr, lr = Packing(120, 40).apply(PHOTO, 255 - PHOTO)
    assert np.array_equal(hr, PHOTO[:120, :120])
    mean = (255 - PHOTO[:120, :120]).reshape(40, 3, 40, 3, 3).mean(axis=(1, 3))
    assert lr.shape == (40, 40, 3)
    assert psnr(lr, mean.round().astype(np.uint8)) > 28


def test_reduction_does_not_alias() -> None:
    """Lines one pixel wide become grey; picking every fourth pixel would keep them."""
    lines = np.zeros((64, 64, 3), np.uint8)
    lines[:, ::2] = 255
    _, lr = Packing(64, 16).apply(lines, lines)
    assert np.abs(lr[:, 2:-2].astype(int) - 127).max() <= 8


@pytest.mark.parametrize("text, kind", [("png", "PNG"), ("webp", "WEBP")])
def test_lossless_formats_give_the_pixels_back(text: str, kind: str) -> None:
    coded = parse_format(text).encode(PHOTO)
    with Image.open(io.BytesIO(coded)) as image:
        assert image.format == kind
        assert np.array_equal(image.convert("RGB"), PHOTO)


def test_jpeg_keeps_more_at_a_higher_quality() -> None:
    found = []
    for quality in (1, 30, 90, 100):
        coded = parse_format(f"jpeg:{quality}").encode(PHOTO)
        with Image.open(io.BytesIO(coded)) as image:
            assert image.format == "JPEG"
            found.append((len(coded), psnr(np.asarray(image), PHOTO)))
    assert found == sorted(found)
    assert found[-1][1] > 38 > 25 > found[0][1]


@pytest.mark.parametrize("text", ["png", "webp", "jpeg:90"])
def test_equal_pictures_have_equal_bytes(text: str) -> None:
    assert parse_format(text).encode(PHOTO) == parse_format(text).encode(PHOTO.copy())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PNG",
        "gif",
        "jpeg",
        "jpeg:",
        "jpeg:0",
        "jpeg:101",
        "jpeg:-5",
        "jpeg:9.5",
        "jpeg:x",
        "jpeg:²",
        "webp:5",
    ],
)
def test_an_unknown_format_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="`picture_format` must be png, ppm, webp or jpeg:QUALITY"):
        parse_format(text)


@pytest.mark.parametrize(
    "options, reason",
    [
        ({"name": ""}, "`name` must be lower-case"),
        ({"name": "Data"}, "`name` must be lower-case.*'Data'"),
        ({"name": "a.b"}, "`name` must be"),
        ({"name": "a/b"}, "`name` must be"),
        ({"name": ".hidden"}, "`name` must be"),
        ({"name": "a\n"}, "`name` must be"),
        ({"shard_size": 0}, "`shard_size` must be 1"),
        ({"layout": "rows"}, "`layout` must be pairs or grouped, got 'rows'"),
        ({"lr_size": "small"}, "`lr_size` must be same or native"),
        ({"uneven": "round"}, "`uneven` must be refuse or crop"),
        ({"picture_format": "gif"}, "`picture_format` must be"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        ShardSettings(**options)
