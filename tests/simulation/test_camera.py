"""The simulated zoom camera: what its physics promise, on real photos and plain targets."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from skimage import data
from skimage.registration import phase_cross_correlation

from degflow_pipe.errors import UsageError
from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.pictures.sizes import on_own_pixels
from degflow_pipe.simulation.camera import ZoomCamera, demosaic

SCALES = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
CAMERA = ZoomCamera()
CLEAN = ZoomCamera(full_well=1e12, read_noise=0, jpeg_quality=100)
"""The same camera without noise, and with next to no loss in JPEG."""
PHOTOS = {
    "astronaut": np.ascontiguousarray(data.astronaut()[:300, 100:421]),
    "chelsea": data.chelsea(),
}
scales = st.integers(10, 60).map(lambda tenths: tenths / 10)


def shoot(hr: np.ndarray, s: float, camera: ZoomCamera = CLEAN, seed: int = 0) -> np.ndarray:
    return camera.shoot(hr, s, np.random.default_rng(seed))


def light(picture: np.ndarray, camera: ZoomCamera = CLEAN) -> np.ndarray:
    return camera.decoding()[picture]


def soft_edge(side: int, column: float) -> np.ndarray:
    """Dark left of a column, bright right of it; so soft that demosaicing colours nothing."""
    bright = 1 / (1 + np.exp(-(np.arange(side) + 0.5 - column) / 3))
    row = CLEAN.develop(0.05 + 0.45 * bright)
    return np.repeat(np.tile(row, (side, 1))[:, :, None], 3, axis=2)


def moved(picture: np.ndarray, channel: int) -> float:
    """Columns that a colour's edge lies right of green's, in the mean row.

    By least squares on green's slope, so that an evenly brighter colour counts for nothing.
    """
    row = light(picture).mean(axis=0, dtype=np.float64)
    slope = np.gradient(row[:, 1])
    return float(-np.polyfit(slope, row[:, channel] - row[:, 1], 1)[0])


# The tone curve


@pytest.mark.parametrize("contrast", [0.0, 0.3, 0.9])
def test_decoding_and_developing_give_every_grey_level_back(contrast: float) -> None:
    camera = ZoomCamera(contrast=contrast)
    grey = np.arange(256, dtype=np.uint8)
    assert np.array_equal(camera.develop(camera.decoding()), grey)


def test_without_contrast_the_curve_is_srgb() -> None:
    decoded = ZoomCamera(contrast=0).decoding()
    # IEC 61966-2-1: 188 is half of the light, 10 lies on the straight part.
    assert decoded[188] == pytest.approx(0.5029, abs=1e-4)
    assert decoded[10] == pytest.approx(10 / 255 / 12.92, rel=1e-4)


# The whole way


@pytest.mark.parametrize("name", PHOTOS)
def test_psnr_to_the_hr_falls_with_the_scale(name: str) -> None:
    hr = PHOTOS[name]
    before = hr.copy()
    figures = [psnr(hr, shoot(hr, s, CAMERA)) for s in SCALES]
    assert figures[0] > 33
    assert np.all(np.diff(figures) < -0.3), figures
    assert np.array_equal(hr, before)


@pytest.mark.parametrize("name", PHOTOS)
def test_psnr_falls_smoothly(name: str) -> None:
    figures = [psnr(PHOTOS[name], shoot(PHOTOS[name], s)) for s in np.arange(1.5, 3.05, 0.1)]
    steps = -np.diff(figures)
    assert np.all(steps > 0.05) and np.all(np.abs(np.diff(steps)) < 0.2), steps


@settings(max_examples=15, deadline=None)
@given(s=scales, grey=st.integers(0, 255), height=st.integers(96, 131), width=st.integers(96, 131))
def test_a_grey_wall_stays_as_it_is(s: float, grey: int, height: int, width: int) -> None:
    lr = shoot(np.full((height, width, 3), grey, np.uint8), s)
    assert lr.shape == (height, width, 3) and lr.dtype == np.uint8
    assert np.abs(lr.astype(int) - grey).max() <= 1


@settings(max_examples=10, deadline=None)
@given(s=scales, turn=st.integers(0, 3))
def test_smooth_pictures_keep_their_light(s: float, turn: int) -> None:
    y, x = np.mgrid[0:120, 0:150] / 150
    smooth = np.stack([80 + 90 * x, 60 + 100 * y, 120 + 60 * x * y], axis=2)
    hr = np.rot90(smooth.round().astype(np.uint8), turn)
    kept = light(shoot(hr, s)).mean(axis=(0, 1)) / light(hr).mean(axis=(0, 1))
    assert kept == pytest.approx(np.ones(3), abs=0.01)


@pytest.mark.parametrize("s", [1.3, 2.0, 3.7])
def test_light_is_kept_in_the_linear_sense_on_photos(s: float) -> None:
    """Not so on grey levels: those of a blurred photo are brighter, as in a real camera."""
    hr = PHOTOS["chelsea"]
    assert light(shoot(hr, s)).mean() == pytest.approx(light(hr).mean(), rel=0.01)


# Alignment


@settings(max_examples=12, deadline=None)
@given(s=st.integers(11, 30).map(lambda tenths: tenths / 10), rows=st.integers(240, 251))
@example(s=1.5, rows=245)  # red sensor pixels see every third HR pixel, always the same part of it
def test_nothing_moves(s: float, rows: int) -> None:
    hr = PHOTOS["astronaut"][:rows, : 2 * rows - 200]
    lr = shoot(hr, s, replace(CLEAN, fringe=0))
    window = np.outer(np.hanning(hr.shape[0]), np.hanning(hr.shape[1]))
    for channel in range(3):
        pair = [light(p)[:, :, channel] for p in (hr, lr)]
        # Coarse detail decides: what lies beyond the sensor's sampling comes back folded.
        pair = [cv2.GaussianBlur((p - p.mean()) * window, (0, 0), s) for p in pair]
        shift, _, _ = phase_cross_correlation(*pair, upsample_factor=100, normalization=None)
        assert np.abs(shift).max() <= 0.03 * s, (channel, shift)


@pytest.mark.parametrize("s", [1.5, 2.0, 2.7, 4.0])
@pytest.mark.parametrize("side", [160, 161])
def test_a_spot_in_the_middle_stays_in_the_middle(s: float, side: int) -> None:
    d = (np.arange(side) - (side - 1) / 2) / 12
    spot = 40 + 180 * np.exp(-(d[:, None] ** 2 + d**2) / 2)
    lr = light(shoot(np.repeat(spot[:, :, None], 3, axis=2).round().astype(np.uint8), s))
    lr = np.maximum(lr - CLEAN.decoding()[45], 0)  # above the ground, whose rounding has no place
    for channel in range(3):
        for axis in (0, 1):
            profile = lr[:, :, channel].sum(axis=1 - axis)
            middle = np.average(np.arange(side) - (side - 1) / 2, weights=profile)
            assert abs(middle) < 0.03, (channel, axis, middle)


# The lens


@given(
    s=scales,
    channel=st.integers(0, 2),
    blur=st.floats(0, 2),
    aperture=st.floats(2, 8),
)
@settings(max_examples=40, deadline=None)
def test_psf_has_sum_one_and_is_symmetric(
    s: float, channel: int, blur: float, aperture: float
) -> None:
    psf = ZoomCamera(aperture=aperture).psf(s, channel, blur)
    assert psf.sum() == pytest.approx(1, abs=1e-4)
    assert np.allclose(psf, psf[::-1, ::-1], atol=1e-6) and np.allclose(psf, psf.T, atol=1e-6)


def spread(psf: np.ndarray) -> float:
    """The share of light that is not in the middle pixel."""
    return float(1 - psf[len(psf) // 2, len(psf) // 2])


def test_psf_is_a_point_at_scale_1_and_grows_with_everything_that_blurs() -> None:
    assert spread(CAMERA.psf(1, 1, 0.5)) == pytest.approx(0, abs=1e-6)
    growing = [spread(CAMERA.psf(s, 1, 0.5)) for s in SCALES]
    assert np.all(np.diff(growing) > 0)
    assert spread(CAMERA.psf(2, 1, 0.9)) > spread(CAMERA.psf(2, 1, 0.5))
    assert spread(CAMERA.psf(2, 0, 0.5)) > spread(CAMERA.psf(2, 2, 0.5))  # red light bends more
    assert spread(ZoomCamera(aperture=8).psf(2, 1, 0.5)) > spread(CAMERA.psf(2, 1, 0.5))


def test_gaussian_blur_has_the_variance_that_is_said() -> None:
    """With next to no diffraction: blur^2 (s^2 - 1) HR pixels squared along each axis."""
    psf = ZoomCamera(aperture=0.5, pixel_pitch=50).psf(3, 1, 0.8).astype(np.float64)
    d = np.arange(len(psf)) - len(psf) // 2
    assert (psf.sum(axis=0) * d**2).sum() == pytest.approx(0.8**2 * 8, rel=0.02)


def test_corners_are_blurred_more_than_the_middle() -> None:
    grating = np.full((240, 240, 3), 60, np.uint8)
    grating[:, (np.arange(240) // 6) % 2 == 1] = 190
    lr = light(shoot(grating, 2))[:, :, 1]
    middle, corner = lr[96:144, 96:144].std(), lr[:48, :48].std()
    between = lr[36:84, 36:84].std()
    assert corner < 0.97 * between < 0.97**2 * middle
    even = light(shoot(grating, 2, replace(CLEAN, blur_corner=CLEAN.blur_centre)))[:, :, 1]
    assert even[:48, :48].std() == pytest.approx(even[96:144, 96:144].std(), rel=0.03)


def test_colour_fringes_grow_with_the_distance_and_the_scale() -> None:
    # Some noise, so that the rounding to grey levels evens out over the rows.
    camera, side = replace(CLEAN, fringe=0.6, full_well=1e5), 240
    for s in (2.0, 3.0):
        for column in (40, 80, 120, 160, 200):
            # What the docstring says: in proportion to the distance from the middle.
            expected = 0.6 * (s - 1) * (column - side / 2) / (side / np.sqrt(2))
            lr = shoot(soft_edge(side, column), s, camera)
            assert moved(lr, 0) == pytest.approx(expected, abs=0.1), (s, column)
            assert moved(lr, 2) == pytest.approx(-expected, abs=0.1), (s, column)
    near = shoot(soft_edge(side, 200), 1.0, camera)
    assert (moved(near, 0), moved(near, 2)) == pytest.approx((0, 0), abs=0.05)


# The sensor


def test_mosaic_has_red_green_green_blue() -> None:
    colours = np.zeros((4, 6, 3), np.float32) + np.float32([0.2, 0.5, 0.8])
    raw = CLEAN.expose(colours, np.random.default_rng(0))
    assert raw[0, :2] == pytest.approx([0.2, 0.5], abs=1e-3)
    assert raw[1, :2] == pytest.approx([0.5, 0.8], abs=1e-3)
    assert np.allclose(raw, np.tile(raw[:2, :2], (2, 3)), atol=1e-4)


@pytest.mark.parametrize("shape", [(40, 50), (41, 51)])
def test_demosaicing_keeps_plain_colours_to_the_edge(shape: tuple[int, int]) -> None:
    colours = np.zeros((*shape, 3), np.float32) + np.float32([0.2, 0.5, 0.8])
    photo = demosaic(CLEAN.expose(colours, np.random.default_rng(0)))
    assert np.abs(photo - colours).max() < 2e-3


@pytest.mark.parametrize("channel", range(3))
def test_noise_is_poisson_and_gaussian(channel: int) -> None:
    """Variance in electrons: the electrons themselves and read_noise squared."""
    camera = ZoomCamera(full_well=2000, read_noise=7, white_balance=(2.0, 1.0, 1.6))
    of_white = 2000 / camera.white_balance[channel]
    variances = []
    for level in (0.0, 0.1, 0.4, 0.9):
        raw = camera.expose(np.full((400, 400, 3), level, np.float32), np.random.default_rng(1))
        y, x = ((0, 0), (0, 1), (1, 1))[channel]
        electrons = raw[y::2, x::2].astype(np.float64) * of_white
        assert electrons.mean() == pytest.approx(level * of_white, abs=1)
        variances.append(electrons.var())
        assert variances[-1] == pytest.approx(level * of_white + 49, rel=0.05)
    assert np.all(np.diff(variances) > 0)


def test_noise_of_the_photo_grows_with_its_brightness() -> None:
    camera = replace(CLEAN, full_well=1000)
    variances = []
    for grey in (30, 90, 150, 210):
        lr = shoot(np.full((128, 128, 3), grey, np.uint8), 2, camera)
        variances.append(light(lr).var(axis=(0, 1)).mean())
    assert np.all(np.diff(variances) > 0)


def test_noise_is_softened_by_demosaicing_and_enlargement() -> None:
    """It came before them: neighbours share it. Noise that is added last is white."""
    lr = shoot(np.full((128, 128, 3), 128, np.uint8), 3, ZoomCamera(full_well=1000))
    noise = lr[:, :, 1] - lr[:, :, 1].mean()
    assert np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1] > 0.5


def test_seed_decides_the_noise_and_nothing_else_does() -> None:
    def digest(seed: int) -> str:
        lr = shoot(PHOTOS["chelsea"], 2.3, CAMERA, seed)
        return hashlib.sha256(lr.tobytes()).hexdigest()

    assert digest(1) == digest(1) != digest(2)
    clean = [shoot(PHOTOS["chelsea"], 2.3, CLEAN, seed) for seed in (1, 2)]
    assert np.mean(clean[0] != clean[1]) < 0.01  # a rounding here and there


def test_jpeg_quality_counts() -> None:
    good, bad = (replace(CLEAN, jpeg_quality=quality) for quality in (100, 20))
    hr = PHOTOS["chelsea"]
    assert psnr(hr, shoot(hr, 1.5, good)) > psnr(hr, shoot(hr, 1.5, bad)) + 0.5


# Wrong usage


@pytest.mark.parametrize("s", [0.9, 0.0, -1.0, 17.0, float("nan"), float("inf")])
def test_scales_that_are_none(s: float) -> None:
    with pytest.raises(UsageError, match="scale must be 1 to 16"):
        shoot(PHOTOS["chelsea"], s)


def test_pictures_too_small_for_the_scale() -> None:
    hr = np.ascontiguousarray(PHOTOS["chelsea"][:63, :200])
    with pytest.raises(UsageError, match="64 pixels on a side at least, got 200 x 63"):
        shoot(hr, 4)
    assert shoot(hr, 3.9).shape == hr.shape


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aperture", 0.1),
        ("aperture", 16.0),  # its diffraction would have blotted out what the HR shows
        ("pixel_pitch", 0.0),
        ("blur_centre", -0.1),
        ("blur_corner", float("nan")),
        ("fringe", 6.0),
        ("full_well", 0.0),
        ("read_noise", -1.0),
        ("white_balance", (2.0, 0.0, 1.0)),
        ("contrast", 1.0),
        ("jpeg_quality", 101),
    ],
)
def test_cameras_that_cannot_be(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^{name} must be"):
        ZoomCamera(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("seen", "pixels"), [(49, 22), (61, 23), (50, 22), (86, 43), (247, 85)])
def test_a_sensor_has_as_many_pixels_as_it_is_asked_for(seen: int, pixels: int) -> None:
    """However seen / (seen / pixels) is rounded: else all lies half a pixel off."""
    grey = np.full((seen, seen, 3), 128, np.uint8)
    lr = [
        on_own_pixels(
            ZoomCamera(jpeg_quality=100).shoot(grey, seen / pixels, np.random.default_rng(i)),
            (pixels, pixels),
        )
        for i in range(8)
    ]
    whole = ZoomCamera(jpeg_quality=100).shoot(
        np.full((64, 64, 3), 128, np.uint8), 2.0, np.random.default_rng(9)
    )
    noise = float(np.std(np.stack(lr).astype(float)))
    assert noise == pytest.approx(float(np.std(on_own_pixels(whole, (32, 32)))), rel=0.12)
