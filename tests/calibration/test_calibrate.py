"""calibrate: scales and noise measured on pairs whose scales and noise are known."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from degflow_pipe.calibration.calibrate import calibrate
from degflow_pipe.calibration.noise_fit import NoiseFit
from degflow_pipe.calibration.results import Calibrated
from degflow_pipe.cameras.making import Making
from degflow_pipe.checkpoint.calibration import Calibration
from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.checkpoint.folder import CheckpointInfo, read_info, write_info
from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.levels import Place, parse_grid, parse_scales
from degflow_pipe.metrics import spectrum
from degflow_pipe.noise.by_opencv import derivatives
from degflow_pipe.noise.drawing import added, noise_of
from degflow_pipe.noise.fields import NODES
from degflow_pipe.noise.model import KERNELS, KnotNoise, NoiseModel
from degflow_pipe.noise.nodes import DERIVATIVES, LENGTHS
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.stages.generate import generate
from degflow_pipe.stages.ingest import ingest
from degflow_pipe.store import Store

AXES = np.eye(3).tolist()
NONE = [[0.0] * len(NODES) ** 2] * 3

PHOTOS = {
    # Grey levels from 50 to 205, so that no noise is cut off.
    name: (photo[:384, :576] * 0.6 + 50).astype(np.uint8)
    for name, photo in (("a", data.coffee()), ("b", data.chelsea()))
}
SETTINGS = DataSettings(
    s_max=4.0,
    source="photos of scikit-image, blurred",
    licence="as theirs",
    validate="b",
    levels=[
        {"name": "HR", "t": 0.0, "files": "*_HR.png"},
        {"name": "LR", "t": 1.0, "files": "*_LR.png"},
    ],
)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blur of 2 pixels and white noise of 3 grey levels."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    for name, photo in PHOTOS.items():
        hr = np.ascontiguousarray(photo)
        lr = cv2.GaussianBlur(hr, (0, 0), 2.0) + 3 * rng.standard_normal(hr.shape)
        Image.fromarray(hr).save(folder / f"{name}_HR.png")
        Image.fromarray(np.clip(np.rint(lr), 0, 255).astype(np.uint8)).save(
            folder / f"{name}_LR.png"
        )
    return folder


@pytest.fixture(scope="module")
def checkpoint(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(tiny, tmp_path_factory.mktemp("calibrated") / "tiny"))


@pytest.fixture(scope="module")
def found(checkpoint: Path, pairs: Path) -> Calibrated:
    return calibrate(str(checkpoint), SETTINGS, pairs, "cpu")


@pytest.fixture(scope="module")
def calibrated(found: Calibrated, checkpoint: Path) -> CheckpointInfo:
    return read_info(checkpoint)


def test_it_is_kept_in_the_checkpoint(
    found: Calibrated, calibrated: CheckpointInfo, checkpoint: Path
) -> None:
    assert calibrated.calibration is not None
    assert found.scales == calibrated.calibration.scales
    assert found.noise == calibrated.calibration.noise.digest
    assert calibrated.calibration.own_noise is not None
    assert found.own_noise == calibrated.calibration.own_noise.digest
    assert (found.checkpoint, found.scenes, found.noise_t) == (str(checkpoint), 1, [1.0])
    assert DegFlow.load(str(checkpoint), "cpu").noise_model("auto") is not None


def test_the_verdict_on_the_pairs_is_kept(found: Calibrated, calibrated: CheckpointInfo) -> None:
    assert calibrated.judged is not None and calibrated.judged.held_out is None
    training = calibrated.judged.training
    assert training is not None and (training.scenes, training.unmatched) == (1, 0.0)
    assert training.shift is not None and training.shift < 0.3
    assert found.verdict == calibrated.verdict
    grades = {one.name: one.grade for one in found.verdict.findings}
    assert (grades["scenes"], grades["alignment"], grades["noise"]) == (
        "bad",
        "good",
        "not measured",
    )


def test_scales_rise_with_levels_and_end_where_the_checkpoint_does(
    calibrated: CheckpointInfo,
) -> None:
    assert calibrated.calibration is not None
    table = np.array(calibrated.calibration.scales)
    assert (np.diff(table, axis=0) > 0).all()
    assert table[0].tolist() == [1.0, 0.0]
    assert table[-1].tolist() == [4.0, 1.0]


@pytest.mark.parametrize("s", [1.0, 1.5, 2.0, 3.7, 4.0])
def test_a_scale_comes_back_from_its_level(calibrated: CheckpointInfo, s: float) -> None:
    assert calibrated.scale_of_t(calibrated.t_of_scale(s)) == pytest.approx(s, abs=1e-5)


def test_the_level_of_a_scale_has_that_scales_blur(
    calibrated: CheckpointInfo, checkpoint: Path
) -> None:
    """LR at s = 4 is blurred by 2 pixels or what the model makes of it; s² decides between."""
    assert calibrated.calibration is not None
    blur_of = dict(calibrated.calibration.noise.blurs)
    s = 3.0
    t = calibrated.t_of_scale(s)
    sigma = np.interp(t, list(blur_of), np.maximum.accumulate(list(blur_of.values())))
    assert sigma == pytest.approx(2.0 * np.sqrt((s**2 - 1) / 15), rel=0.15)


@pytest.mark.parametrize(
    ("scales", "wrong"),
    [
        ([[1.0, 0.0], [2.0, 0.0], [4.0, 1.0]], "rise in both"),
        ([[1.0, 0.1], [4.0, 1.0]], r"from \[1, 0\] to t = 1"),
        ([[1.5, 0.0], [4.0, 1.0]], r"from \[1, 0\] to t = 1"),
        ([[1.0, 0.0], [4.0, 0.9]], r"from \[1, 0\] to t = 1"),
    ],
)
def test_a_damaged_table_of_scales_is_refused(
    calibrated: CheckpointInfo, scales: list[list[float]], wrong: str
) -> None:
    assert calibrated.calibration is not None
    with pytest.raises(UsageError, match=wrong):
        Calibration.from_dict({**calibrated.calibration.to_dict(), "scales": scales})


def test_scales_outside_the_checkpoint_are_refused(calibrated: CheckpointInfo) -> None:
    with pytest.raises(UsageError, match="outside the scales of this checkpoint, 1 to 4"):
        calibrated.t_of_scale(4.1)


def test_noise_is_told_from_the_picture(calibrated: CheckpointInfo) -> None:
    """Three grey levels of white noise: power 9 where there is nothing else."""
    assert calibrated.calibration is not None
    (knot,) = calibrated.calibration.noise.knots
    fine = np.hypot(NODES[:, None], NODES).ravel() > 0.25
    assert np.array(knot.flat)[:, fine].mean() == pytest.approx(9.0, rel=0.1)


def test_noise_is_that_of_the_cameras_own_pixels(tiny: str, tmp_path: Path) -> None:
    """White noise of three grey levels on an LR that was enlarged four times: it comes back on the
    LR's own pixels, with what this checkpoint errs by, up to the highest frequencies, of which
    enlarging took three quarters."""
    rng = np.random.default_rng(0)
    for name, scene in PHOTOS.items():
        photo = np.tile(scene, (3, 3, 1))
        size = photo.shape[1] // 4, photo.shape[0] // 4
        small = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        small = np.clip(small + 3 * rng.standard_normal(small.shape), 0, 255).astype(np.float32)
        lr = cv2.resize(small, photo.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        Image.fromarray(np.ascontiguousarray(photo)).save(tmp_path / f"{name}_HR.png")
        Image.fromarray(np.clip(np.rint(lr), 0, 255).astype(np.uint8)).save(
            tmp_path / f"{name}_LR.png"
        )
    checkpoint = Path(shutil.copytree(tiny, tmp_path / "tiny"))
    calibrate(str(checkpoint), SETTINGS, tmp_path, "cpu")
    model = DegFlow.load(str(checkpoint), "cpu")
    grid = parse_grid("1", 4.0)
    # Several patches: the power of one alone in a narrow band is off by a third.
    hr = (
        np.full((8, 256, 256, 3), 128, np.uint8) + np.arange(8, dtype=np.uint8)[:, None, None, None]
    )
    places = [Place(f"{i}" * 64, 0, 0) for i in range(len(hr))]
    found = []
    for noise in ("calibrated", "none"):
        with Making.of(model, grid, noise, sr_scale=4).open() as make:
            found.append(make(hr, {}, places).values[:, 0].astype(float))
    powers = np.abs(np.fft.fft2(found[0] - found[1], axes=(1, 2))) ** 2 / 64**2
    power = powers.sum(-1).mean(0)
    radius = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64))
    for low in (0.3, 0.4, 0.5, 0.6):
        band = power[(radius > low) & (radius < low + 0.1)]
        assert 0.75 * 27 < band.mean() < 2.6 * 27, low


def test_a_reduced_hr_has_lost_its_noise_and_the_camera_adds_more() -> None:
    """Below the first knot HR's own noise is taken to be there still, but where HR was reduced."""
    flat = [[1.0] * len(NODES) ** 2] * 3
    knot = KnotNoise(1.0, AXES, AXES, flat, NONE, [1.0] * 9, [[0.0] * 9] * KERNELS)
    model = NoiseModel([knot], [[0.0, 0.0], [0.5, 0.4], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]])
    picture = np.full((128, 128, 3), 128.0, np.float32)
    for own, share in ((1.0, 0.4), (0.25, 0.85), (0.0, 1.0)):
        drawn_noise = noise_of(picture, 0.5, model, 0, own)
        assert drawn_noise.var() == pytest.approx(share, rel=0.05)


def test_one_tile_is_enough_to_draw_its_power_again() -> None:
    """One tile tells no slope against contrast, and the power of the kernels, which are drawn on it
    once, to a fifth."""
    clean = cv2.GaussianBlur(data.coffee()[100:164, 100:164], (0, 0), 2.0).astype(np.float32)
    real = clean + 3 * np.random.default_rng(0).standard_normal(clean.shape)
    fit = NoiseFit()
    fit.add(clean, np.clip(np.rint(real), 0, 255).astype(np.uint8))
    model = NoiseModel([fit.fitted(1.0)], [[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]])
    assert noise_of(clean, 1.0, model, 1).std() == pytest.approx(3, rel=0.3)


def test_kernels_are_drawn_no_stronger_than_what_they_stand_for() -> None:
    """Shifts that a strong edge shows less of than a weak one: in proportion to its derivative a
    kernel that is told by the weak ones would draw a fifth too much."""
    clean = cv2.GaussianBlur(data.coffee(), (0, 0), 1.0).astype(np.float32)
    coarse = 2 * np.random.default_rng(0).standard_normal((50, 75)).astype(np.float32)
    weights = cv2.resize(coarse, clean.shape[1::-1])[..., None]
    shifted = 2 * np.tanh(weights * next(derivatives(clean)) / 2)
    real = np.clip(np.rint(clean + shifted), 0, 255).astype(np.uint8)
    fit = NoiseFit()
    fit.add(clean, real)
    model = NoiseModel([fit.fitted(1.0)], [[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.5]])
    drawn_noise = noise_of(clean, 1.0, model, 1)
    assert drawn_noise.std() == pytest.approx((real - clean).std(), rel=0.1)


def test_noise_that_was_not_measured_on_its_own_pixels_is_not_drawn_there(
    checkpoint: Path, calibrated: CheckpointInfo, tmp_path: Path
) -> None:
    assert calibrated.calibration is not None
    folder = Path(shutil.copytree(checkpoint, tmp_path / "tiny"))
    without = replace(calibrated.calibration, own_noise=None)
    write_info(folder, replace(calibrated, calibration=without))
    model = DegFlow.load(str(folder), "cpu")
    for noise in ("auto", "calibrated"):
        with pytest.raises(UsageError, match=r"not measured on the camera's own pixels"):
            Making.of(model, parse_grid("1", 4.0), noise, sr_scale=4)
        assert Making.of(model, parse_grid("1", 4.0), noise).grid.noise.startswith("calibrated")
    assert Making.of(model, parse_grid("1", 4.0), "none", sr_scale=4).grid.noise == "none"


def test_a_fit_finds_the_noise_that_was_added() -> None:
    """The noise of a known model, refitted: spectrum, colours and dependence on contrast."""
    clean = cv2.GaussianBlur(np.tile(data.coffee(), (2, 2, 1)), (0, 0), 1.5)
    axes = (np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])).tolist()
    # Falling faster along the rows than along the columns.
    flat = (4.0 / (1 + 8 * NODES[:, None] + 2 * NODES)).ravel()
    true = NoiseModel.from_dict(
        {
            "knots": [
                {
                    "t": 1.0,
                    "flat_axes": axes,
                    "edge_axes": axes,
                    "flat": [(2 * flat).tolist(), flat.tolist(), [0.5] * len(flat)],
                    "edge": [[0.4] * len(flat), [0.2] * len(flat), [0.0] * len(flat)],
                    "gain": [1.0] * 9,
                    "kernels": [[0.0] * 9] * KERNELS,
                }
            ],
            "onset": [[0.0, 0.0], [1.0, 1.0]],
            "blurs": [[0.0, 0.0], [1.0, 1.5]],
        }
    )
    fit = NoiseFit()
    fit.add(clean.astype(np.float32), added(clean, 1.0, true, 0))
    found = NoiseModel([fit.fitted(1.0)], true.onset, true.blurs)
    again = added(clean, 1.0, found, 1).astype(np.float32) - clean
    wanted = added(clean, 1.0, true, 2).astype(np.float32) - clean
    np.testing.assert_allclose(
        np.cov(again.reshape(-1, 3).T), np.cov(wanted.reshape(-1, 3).T), rtol=0.15, atol=0.2
    )

    def shown(noise: np.ndarray) -> np.ndarray:
        return spectrum.power(np.clip(np.rint(noise + 128), 0, 255).astype(np.uint8), 10)

    np.testing.assert_allclose(shown(again)[1:], shown(wanted)[1:], rtol=0.2)
    steps = [[np.diff(noise, axis=axis).var() for axis in (0, 1)] for noise in (again, wanted)]
    np.testing.assert_allclose(steps[0], steps[1], rtol=0.1)
    assert steps[1][1] > 1.1 * steps[1][0], "the directions differ"


def test_white_noise_is_found_white_down_to_the_lowest_frequency() -> None:
    clean = cv2.GaussianBlur(np.tile(data.coffee(), (4, 4, 1)), (0, 0), 1.5)[:, ::-1].copy()
    noisy = clean + 2 * np.random.default_rng(0).standard_normal(clean.shape)
    fit = NoiseFit()
    fit.add(clean.astype(np.float32), np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    power = np.array(fit.fitted(1.0).flat).mean(0).reshape(len(NODES), -1)
    np.testing.assert_allclose(power[:4, :4], 4.0, rtol=0.2)


def test_a_fit_finds_the_kernels_that_were_drawn() -> None:
    """Shifts of 0.3 pixels and sharpening that the colours share, and white noise over it."""
    true = np.zeros((len(DERIVATIVES), len(LENGTHS), 3, 3))
    true[:2, 1] = 0.09
    true[2:4, 1] = 0.16
    rng = np.random.default_rng(0)
    moving = NoiseModel(
        [KnotNoise(1.0, AXES, AXES, NONE, NONE, [1.0] * 9, true.reshape(-1, 9).tolist())],
        [[0.0, 0.0], [1.0, 1.0]],
        [[0.0, 0.0], [1.0, 1.5]],
    )
    fit = NoiseFit()
    for i, photo in enumerate((data.coffee(), data.astronaut(), data.chelsea())):
        photo = (photo * 0.6 + 50).astype(np.uint8)
        clean = cv2.GaussianBlur(np.tile(photo, (2, 2, 1)), (0, 0), 1.5)
        moved = noise_of(clean.astype(np.float32), 1.0, moving, 20 + i)
        real = clean + moved + rng.normal(0, 2, clean.shape)
        fit.add(clean.astype(np.float32), np.clip(np.rint(real), 0, 255).astype(np.uint8))
    knot = fit.fitted(1.0)
    found = np.reshape(knot.kernels, true.shape).sum(1).mean((1, 2))
    np.testing.assert_allclose(found[:4], [0.09, 0.09, 0.16, 0.16], atol=0.04)
    assert found[4] < 0.08  # by chance, of three pictures
    # What the kernels draw is no noise of the fields: together they have the power that was added.
    model = NoiseModel([knot], [[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.5]])
    again = noise_of(clean, 1.0, model, 9)
    np.testing.assert_allclose(again.var((0, 1)), (real - clean).var((0, 1)), rtol=0.25)


def test_noise_that_ends_at_a_frequency_is_not_smeared_beyond_it() -> None:
    """At edges, with power below 0.3 cycles a pixel and almost none above: a steep fall."""
    clean = cv2.GaussianBlur(np.tile(data.coffee(), (2, 2, 1)), (0, 0), 1.5)
    steep = 8 * np.clip((0.3 - np.hypot(NODES[:, None], NODES)) / 0.05, 0, 1).ravel()
    knot = KnotNoise(
        t=1.0,
        flat_axes=np.eye(3).tolist(),
        edge_axes=np.eye(3).tolist(),
        flat=[[0.3] * len(steep)] * 3,
        edge=[steep.tolist()] * 3,
        gain=[1.0] * 9,
        kernels=[[0.0] * 9] * KERNELS,
    )
    true = NoiseModel([knot], [[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.5]])
    fit = NoiseFit()
    fit.add(clean.astype(np.float32), added(clean, 1.0, true, 0))
    found = NoiseModel([fit.fitted(1.0)], true.onset, true.blurs)

    def power_of(model: NoiseModel, seed: int) -> np.ndarray:
        noise = added(clean, 1.0, model, seed).astype(np.float32) - clean
        return spectrum.power(np.clip(np.rint(noise + 128), 0, 255).astype(np.uint8), 10)

    again, wanted = power_of(found, 1), power_of(true, 2)
    assert wanted[6] < wanted[4] / 20, "it falls"
    np.testing.assert_allclose(again[1:], wanted[1:], rtol=0.25)


def test_degrade_adds_the_noise_that_is_asked_for(
    calibrated: CheckpointInfo, checkpoint: Path
) -> None:
    model = DegFlow.load(str(checkpoint), "cpu")
    hr = to_tensor(np.ascontiguousarray(PHOTOS["a"][:64, :64]))
    plain, noisy, again, other = (
        model.degrade(hr, [1.0], *how)
        for how in (("none",), ("calibrated",), ("auto",), ("calibrated", 1))
    )
    assert torch.equal(noisy, again)
    assert not torch.equal(noisy, other)
    assert float((noisy - plain).std()) * 255 == pytest.approx(3.0, rel=0.25)


def test_noise_belongs_to_the_patch_not_to_its_place_in_a_batch(
    calibrated: CheckpointInfo, checkpoint: Path
) -> None:
    model = DegFlow.load(str(checkpoint), "cpu")
    hr = to_tensor(np.stack([photo[:64, :64] for photo in PHOTOS.values()]))
    together = model.degrade(hr, [0.5, 1.0])
    assert torch.equal(together[1:], model.degrade(hr[1:], [0.5, 1.0]))
    assert torch.equal(together[:, 1:], model.degrade(hr, [1.0]))


def test_a_store_keeps_clean_and_noisy_levels_apart(
    calibrated: CheckpointInfo, checkpoint: Path, photo_folder: Path, tmp_path: Path
) -> None:
    model = DegFlow.load(str(checkpoint), "cpu")
    store = tmp_path / "degflow.zarr"
    ingest([str(photo_folder)], store, model, patch=64)
    grid = parse_scales("2,4", 4.0, calibrated.t_of_scale)
    clean = generate(store, model, grid, noise="none")
    noisy = generate(store, model, grid)
    assert clean.grid != noisy.grid
    assert (clean.noise, noisy.noise.split("-")[:2]) == ("none", ["calibrated", "0"])
    found = Store.open(store)
    assert found.grid(noisy.grid).scales == pytest.approx((2.0, 4.0), abs=1e-5)
    hr = found.hr(0)[0]
    lr = found.levels(found.grid(noisy.grid)).read(0, found.units[0])[0]
    alone = to_picture(model.degrade(to_tensor(hr), found.grid(noisy.grid).t)[0])
    assert np.array_equal(lr, alone)


def test_a_checkpoint_without_calibration_has_no_calibrated_noise(tiny_model: DegFlow) -> None:
    hr = torch.zeros(1, 3, 64, 64)
    assert torch.equal(tiny_model.degrade(hr, [1.0]), tiny_model.degrade(hr, [1.0], "none"))
    with pytest.raises(UsageError, match=r"measure it with `calibrate\(\)`"):
        tiny_model.degrade(hr, [1.0], "calibrated")
    with pytest.raises(UsageError, match="`noise` must be auto, calibrated or none"):
        tiny_model.degrade(hr, [1.0], "some")


def test_pairs_without_blur_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    for name, photo in PHOTOS.items():
        for level in ("HR", "LR"):
            Image.fromarray(np.ascontiguousarray(photo)).save(tmp_path / f"{name}_{level}.png")
    with pytest.raises(DataError, match="does not grow with the scale"):
        calibrate(str(checkpoint), SETTINGS, tmp_path, "cpu")
