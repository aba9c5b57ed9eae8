"""What is left is taken apart: what was put in is found, and told from what was not."""

from __future__ import annotations

import json
from dataclasses import asdict

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data

from degflow_pipe.metrics import grids, spectrum
from degflow_pipe.metrics import residual as r

BANDS = 10
PHOTO = np.ascontiguousarray(data.astronaut())
SMOOTH = cv2.GaussianBlur(PHOTO, (0, 0), 1.5)
TAME = SMOOTH // 2 + 60
"""No noise is cut off in it."""
INNER = slice(64, -64)
"""Where a picture that is moved by its spectrum does not ring from its ends."""
GREY = np.full((512, 512, 3), 128, np.uint8)


def noise(std: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, std, PHOTO.shape)


def to_bytes(picture: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(picture, 0, 255)).astype(np.uint8)


def jpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    ok, coded = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, quality))
    assert ok
    return cv2.imdecode(coded, cv2.IMREAD_COLOR)


def enlarged(picture: np.ndarray, side: int) -> np.ndarray:
    return np.array(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def moved(picture: np.ndarray, down: float, right: float) -> np.ndarray:
    """Shifted by its spectrum, float64; the picture is taken as periodic."""
    height, width = picture.shape[:2]
    y, x = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    turn = np.exp(-2j * np.pi * (y * down + x * right))[..., None]
    return np.fft.ifft2(np.fft.fft2(picture, axes=(0, 1)) * turn, axes=(0, 1)).real


def shares(expected: np.ndarray, real: np.ndarray, side: int = r.TILE) -> dict[str, float]:
    energies = r.taken_apart(expected, real, side).energies
    return dict(zip(r.PARTS, -np.diff(energies) / energies[0], strict=True))


# Transfer


@pytest.mark.parametrize("sigma", [0.6, 1.0])
def test_the_transfer_of_a_blur_is_that_of_its_kernel(sigma: float) -> None:
    # White, as a photo has too little at the highest frequencies to measure anything there.
    hr = to_bytes(128 + noise(30))
    kernel = cv2.getGaussianKernel(15, sigma)
    lr = to_bytes(cv2.filter2D(hr.astype(np.float64), -1, kernel @ kernel.T))
    place = np.zeros((128, 128))
    place[:15, :15] = kernel @ kernel.T
    wanted = spectrum.by_band(np.abs(np.fft.fft2(place)), BANDS)
    found = spectrum.transfer(hr, lr, BANDS)
    np.testing.assert_allclose(found.real, wanted, atol=0.03)
    np.testing.assert_allclose(found.magnitude, wanted, atol=0.03)
    np.testing.assert_allclose(found.coherent, wanted**2 * 900, rtol=0.25, atol=1)


def test_a_shift_keeps_the_magnitude_and_turns_the_phase() -> None:
    hr = to_bytes(128 + noise(30))
    found = spectrum.transfer(hr, np.roll(hr, 1, axis=1), BANDS)
    assert np.min(found.magnitude) > 0.9
    assert found.real[0] > 0.95 and abs(found.real[-1]) < 0.4


def test_detail_of_hr_beyond_real_lr_is_a_leak() -> None:
    hr = to_bytes(128 + noise(30))
    real = cv2.GaussianBlur(hr, (0, 0), 2.0)
    scenes = [r.of_scene(hr, real, made, None, 2.0, BANDS) for made in (real, hr)]
    none, all_of_it = (r.over_scenes([scene], BANDS) for scene in scenes)
    np.testing.assert_allclose(none.leak, 0, atol=1e-9)
    assert none.ratio[0] == pytest.approx(1)
    assert min(all_of_it.leak[4:]) > 0.9
    assert all_of_it.ratio[2] > 1.5


def test_a_ratio_is_not_given_where_real_lr_hardly_knows_hr() -> None:
    hr, other = (to_bytes(128 + noise(30, seed)) for seed in (1, 2))
    found = r.over_scenes([r.of_scene(hr, other, hr, None, 2.0, BANDS)], BANDS)
    assert None in found.ratio
    json.dumps(asdict(found), allow_nan=False)


# Parts


def test_a_tone_of_tiles_is_found_as_such() -> None:
    tones = np.random.default_rng(0).normal(0, 6, (8, 8, 3))
    real = SMOOTH + np.kron(tones - tones.mean((0, 1)), np.ones((64, 64, 1)))
    found = shares(SMOOTH, real)
    assert found["tile tone"] == pytest.approx(1, abs=1e-6)
    assert found["picture tone"] == pytest.approx(0, abs=1e-6)


def test_a_tone_of_the_picture_is_none_of_its_tiles() -> None:
    found = shares(SMOOTH, SMOOTH + np.array([3.0, -2.0, 1.0]))
    assert found["picture tone"] == pytest.approx(1, abs=1e-6)


def test_a_contrast_is_found_with_its_size() -> None:
    mean = np.mean(SMOOTH, axis=(0, 1))
    real = mean + 1.1 * (SMOOTH - mean)
    apart = r.taken_apart(SMOOTH, real)
    assert apart.contrast == pytest.approx(1.1)
    assert apart.energies[3] < 1e-9 * apart.energies[0]
    assert shares(SMOOTH, real)["contrast"] > 0.1


@pytest.mark.parametrize(("down", "right"), [(0.0, 0.2), (-0.15, 0.1)])
def test_a_shift_is_found_with_its_size_and_direction(down: float, right: float) -> None:
    expected, real = SMOOTH[INNER, INNER], moved(SMOOTH, down, right)[INNER, INNER]
    apart = r.taken_apart(expected, real)
    assert shares(expected, real)["shift"] > 0.9
    assert (apart.dy, apart.dx) == pytest.approx((down, right), abs=0.02)
    assert apart.shift == pytest.approx(np.hypot(down, right), rel=0.1)


def test_tiles_that_move_apart_show_in_their_shift_alone() -> None:
    expected, real, right = (moved(SMOOTH, 0, dx)[INNER, INNER] for dx in (0, -0.2, 0.2))
    columns = np.arange(384) // 64 % 2 == 0
    real[:, columns] = right[:, columns]
    apart = r.taken_apart(expected, real)
    assert abs(apart.dx) < 0.1
    assert apart.shift == pytest.approx(0.2, rel=0.1)
    assert shares(expected, real)["shift"] > 0.9


@pytest.mark.parametrize("sign", [1, -1])
def test_more_and_less_blur_are_found_by_their_variance(sign: int) -> None:
    pair = (SMOOTH.astype(np.float64), cv2.GaussianBlur(SMOOTH.astype(np.float64), (0, 0), 0.5))
    expected, real = pair[::sign]
    apart = r.taken_apart(expected, real)
    # A kernel of sampled values has 0.22 where a Gaussian has 0.25.
    assert sign * apart.blur == pytest.approx(0.23, abs=0.05)
    assert apart.energies[5] < 0.05 * apart.energies[0]
    assert apart.energies[5] < 0.3 * apart.energies[4]


def test_energies_fall_to_what_is_left() -> None:
    real = (moved(SMOOTH, 0.1, 0.1) * 1.05 + noise(3))[INNER, INNER]
    for side in (r.TILE, r.FINE_TILE):
        apart = r.taken_apart(SMOOTH[INNER, INNER], real, side)
        assert np.all(np.diff(apart.energies) < 0)
        assert np.mean(apart.left**2) == pytest.approx(apart.energies[-1])
        assert apart.energies[-1] == pytest.approx(9, rel=0.1)


def test_flat_tiles_have_no_shift() -> None:
    apart = r.taken_apart(GREY, GREY + noise(2))
    assert apart.shift == apart.dx == apart.blur == 0
    assert apart.energies[-1] == pytest.approx(4, rel=0.02)


def test_pictures_of_two_shapes_are_a_bug() -> None:
    with pytest.raises(ValueError, match="one shape"):
        r.taken_apart(SMOOTH, SMOOTH[:300])


# Noise


def test_gaussian_noise_is_found_with_its_deviation_and_form() -> None:
    left = r.taken_apart(TAME, to_bytes(TAME + noise(4))).left
    found = r.noise_figures(TAME, left, BANDS)
    np.testing.assert_allclose(found["power"], 16, rtol=0.1)
    for place in ("calm", "busy"):
        assert found[place]["square"] == pytest.approx(16, rel=0.1)
        assert found[place]["kurtosis"] == pytest.approx(3, abs=0.15)


def test_noise_that_is_alike_in_all_channels_is_grey() -> None:
    own = noise(4)
    for added, grey in ((own, 1 / 3), (np.repeat(own[..., :1], 3, axis=2), 1.0)):
        scene = r.of_scene(TAME, to_bytes(TAME + added), TAME, None, 2.0, BANDS)
        found = r.over_scenes([scene], BANDS).noise.real
        assert [p.grey for p in (found.calm, found.busy)] == pytest.approx([grey] * 2, rel=0.05)


def test_a_shift_runs_along_edges_and_noise_does_not() -> None:
    expected = TAME[INNER, INNER]
    shift = moved(TAME, 0.3, 0.3)[INNER, INNER] - expected
    assert r.along_edges(expected, shift) < 0.3
    assert r.along_edges(expected, noise(4)[INNER, INNER]) == pytest.approx(1, abs=0.05)


def test_heavy_tails_are_no_gaussian() -> None:
    wild = np.random.default_rng(0).laplace(0, 3, PHOTO.shape)
    found = r.noise_figures(SMOOTH, r.taken_apart(SMOOTH, SMOOTH + wild).left, BANDS)
    assert found["calm"]["kurtosis"] > 5
    assert r.kurtosis(np.zeros(9)) == 0


def test_noise_that_goes_with_brightness_and_one_that_goes_with_edges() -> None:
    ramp = np.repeat(np.linspace(20, 235, 512).astype(np.uint8)[None], 512, axis=0)
    ramp = np.repeat(ramp[..., None], 3, axis=2)
    ramp[256:] = to_bytes(ramp[256:] + 60.0 * (np.indices((256, 512)).sum(0) // 8 % 2)[..., None])
    size = (
        np.where(ramp[..., :1] < 128, 2.0, 5.0)
        * np.where(np.arange(512) < 256, 1, 3)[:, None, None]
    )
    scene = r.of_scene(ramp, to_bytes(ramp + noise(1) * size), ramp, None, 2.0, BANDS)
    found = r.over_scenes([scene], BANDS).noise
    assert found.real.std[1] == pytest.approx(2, rel=0.1)
    assert found.real.std[-2] == pytest.approx(5, rel=0.1)
    assert found.real.busy.std > 2 * found.real.calm.std
    assert found.drawn is found.ratio is None


# Grids


def test_jpeg_blocks_show_at_their_place_and_nowhere_else() -> None:
    coded = jpeg(SMOOTH, 60)
    for place, picture in ((0, coded), (5, coded[3:, 3:])):
        for ratios in grids.blockiness(picture).values():
            assert int(np.argmax(ratios)) == place and ratios[place] > 1.2
    for ratios in grids.blockiness(SMOOTH).values():
        np.testing.assert_allclose(ratios, 1, atol=0.06)


def test_enlarged_blocks_show_at_their_period() -> None:
    scale = 1200 / 512
    found = [grids.grid_line(enlarged(p, 1200), 8 * scale) for p in (jpeg(PHOTO, 40), PHOTO)]
    assert found[0] > 1.7 * found[1]


def test_a_mosaic_shows() -> None:
    noisy = to_bytes(128 + noise(10))
    raw = noisy[..., 1]
    demosaiced = cv2.cvtColor(raw, cv2.COLOR_BAYER_RGGB2RGB)
    np.testing.assert_allclose(grids.mosaic(noisy), 1, atol=0.05)
    found = np.array(grids.mosaic(demosaiced))
    assert np.max(found) > 1.3 and np.min(found) < 0.7
    assert np.mean(found) == pytest.approx(1)
    # One pixel further the places change over.
    np.testing.assert_allclose(grids.mosaic(demosaiced[:, 1:]), found[[1, 0, 3, 2]], atol=0.02)


# Scenes


def test_the_difference_is_amplified_about_grey() -> None:
    real = GREY.copy()
    real[0, 0] = (130, 118, 255)
    shown = r.residual_picture(real, GREY)
    assert shown[0, 0].tolist() == [144, 48, 255] and shown[1, 1].tolist() == [128] * 3


def test_drawn_noise_stands_beside_the_real_one() -> None:
    real, noisy = (to_bytes(TAME + noise(4, seed)) for seed in (1, 2))
    scenes = [r.of_scene(PHOTO, real, TAME, noisy, 2.0, BANDS)] * 2
    found = r.over_scenes(scenes, BANDS)
    np.testing.assert_allclose(found.noise.ratio, 1, rtol=0.1)
    assert set(found.bands) == {"real", "generated", "noisy"}
    for by_side in (found.parts, found.fine_parts, found.fit, found.noise.sides):
        assert set(by_side) == {"real", "drawn"}
    alike = found.fine_parts["real"].shares, found.fine_parts["drawn"].shares
    assert alike[0]["shift"] == pytest.approx(alike[1]["shift"], rel=0.3)
    half = r.over_scenes([r.of_scene(PHOTO, real, TAME, TAME, 2.0, BANDS)], BANDS)
    np.testing.assert_allclose(half.noise.ratio, 0, atol=1e-6)


def test_figures_are_means_over_scenes() -> None:
    tones = (np.array([2.0, 0, 0]), np.array([-4.0, 0, 0]))
    scenes = [r.of_scene(PHOTO, to_bytes(TAME + t), TAME, None, 2.0, BANDS) for t in tones]
    tone = r.over_scenes(scenes, BANDS).tone
    assert tone.difference == pytest.approx([-1, 0, 0])
    assert tone.scene_rms == pytest.approx([10**0.5, 0, 0])
    assert tone.tile_std == pytest.approx([0, 0, 0])
