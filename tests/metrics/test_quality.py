"""What a photo is like as HR: each figure against what was done to it, and against nothing else."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from skimage import data

from degflow_pipe.metrics.quality import quality_of, spread, telling
from degflow_pipe.quality import SUGGESTED, Limits, Quality

SHARP = [np.ascontiguousarray(data.coffee()[:384, :576]), data.astronaut()[:384], data.rocket()]


def enlarged(photo: np.ndarray, scale: float) -> np.ndarray:
    height, width = photo.shape[:2]
    piece = photo[: int(height / scale), : int(width / scale)]
    return cv2.resize(piece, (width, height), interpolation=cv2.INTER_CUBIC)


def jpeg(photo: np.ndarray, quality: int) -> np.ndarray:
    _, coded = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])


def noisy(photo: np.ndarray, sigma: float) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, sigma, photo.shape)
    return np.clip(np.round(photo + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("photo", SHARP, ids=["coffee", "astronaut", "rocket"])
@pytest.mark.parametrize(
    "change, beyond",
    [
        (lambda photo: photo, []),
        (lambda photo: enlarged(photo, 2), ["min_sharpness"]),
        (lambda photo: enlarged(photo, 3), ["min_sharpness"]),
        (lambda photo: jpeg(photo, 30), ["max_blockiness"]),
        (lambda photo: jpeg(photo, 30)[3:, 5:], ["max_blockiness"]),
        (lambda photo: noisy(photo, 8), ["max_noise"]),
    ],
    ids=["sharp", "x2", "x3", "jpeg", "cropped jpeg", "noisy"],
)
def test_what_was_done_to_a_photo_is_told(
    photo: np.ndarray, change: Callable[[np.ndarray], np.ndarray], beyond: list[str]
) -> None:
    found = SUGGESTED.failed(quality_of(change(photo)))
    assert [limit for limit in found if limit != "max_clipped"] == beyond


@pytest.mark.parametrize("sigma", [2, 5, 10])
def test_noise_is_its_standard_deviation(sigma: float) -> None:
    grey = np.tile(np.linspace(80, 170, 256)[:, None, None], (1, 256, 3))
    found = quality_of(noisy(grey, sigma))
    assert found.noise == pytest.approx(sigma, rel=0.12)
    assert found.sharpness == pytest.approx(sigma, rel=0.1)  # it counts as detail
    assert found.clipped == 0


def test_noise_is_not_told_where_all_is_clipped() -> None:
    checks = np.kron(np.indices((16, 16)).sum(0) % 2 * 255, np.ones((8, 8)))
    found = quality_of(np.repeat(checks[..., None], 3, axis=2).astype(np.uint8))
    assert found.noise is None and found.clipped == 1


def test_a_flat_photo_does_not_tell_how_sharp_it_is() -> None:
    assert quality_of(np.full((80, 90, 3), 90, np.uint8)) == Quality(None, 0, 0, 0)


def test_clipping_counts_pixels_with_any_channel_at_an_end() -> None:
    photo = np.full((100, 100, 3), 90, np.uint8)
    photo[:10, :, 0] = 255
    photo[-5:, :, 1] = 0
    photo[50] = 1
    photo[51] = 254
    assert quality_of(photo).clipped == 0.15


def test_a_small_photo_has_but_its_clipping() -> None:
    photo = np.zeros((63, 500, 3), np.uint8)
    assert quality_of(photo) == Quality(clipped=1)
    assert telling(photo, "noise").shape == (63, 64, 3)


@pytest.mark.parametrize("angle", [1, 2, 3])
def test_a_turned_or_mirrored_photo_has_the_same_figures(angle: int) -> None:
    photo = jpeg(SHARP[0], 50)
    first, turned = quality_of(photo), quality_of(np.rot90(photo, angle))
    for figure in ("sharpness", "blockiness", "clipped", "noise"):
        assert getattr(turned, figure) == pytest.approx(getattr(first, figure), rel=0.02)


def test_tiles_lie_evenly_and_on_the_grid_of_blocks() -> None:
    place = np.indices((1500, 70)).transpose(1, 2, 0)
    tiles = spread(np.dstack([place, place[..., :1]]))
    assert tiles.shape == (16, 64, 64, 3)
    tops = tiles[:, 0, 0, 0]
    assert not np.any(tops % 8) and tops[0] == 0 and tops[-1] > 1500 - 64 - 8
    assert set(np.diff(tops)) <= {88, 96} and np.all(tiles[:, 0, 0, 1] == 0)


def test_the_telling_piece_is_where_the_figure_is_seen() -> None:
    photo = np.full((128, 192, 3), 100, np.uint8)
    photo[:64, 64:128] = noisy(photo[:64, 64:128], 30)
    photo[64:, :64] = 255
    photo[64:, 64:128] = noisy(photo[64:, 64:128], 3)
    assert np.array_equal(telling(photo, "sharpness"), photo[:64, 64:128])
    assert np.array_equal(telling(photo, "blockiness"), photo[:64, 64:128])
    assert np.array_equal(telling(photo, "clipped"), photo[64:, :64])
    assert np.array_equal(telling(photo, "noise"), photo[:64, :64])


def test_a_figure_at_its_limit_or_unknown_is_not_beyond() -> None:
    limits = Limits(min_sharpness=1, max_noise=2)
    assert limits.failed(Quality(sharpness=1, noise=2, blockiness=99, clipped=1)) == []
    assert limits.failed(Quality()) == []
    assert limits.failed(Quality(sharpness=0.99, noise=2.01)) == ["min_sharpness", "max_noise"]
