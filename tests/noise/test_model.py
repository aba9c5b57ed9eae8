"""The noise model: its powers, colours, dependence on brightness and contrast, and its seeds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from degflow_pipe.errors import UsageError
from degflow_pipe.metrics import spectrum
from degflow_pipe.noise import by_opencv, by_torch, drawing, kernels, stock
from degflow_pipe.noise.fields import NODES
from degflow_pipe.noise.kernels import DERIVATIVES, LENGTHS, correlation
from degflow_pipe.noise.knot import KERNELS_SIDE, Share, made_of
from degflow_pipe.noise.model import KERNELS, KnotNoise, NoiseModel
from degflow_pipe.noise.nodes import BRIGHTNESS
from degflow_pipe.noise.numbers import digest_of_hr, noise_key
from degflow_pipe.pictures.arrays import planes, side_by_side

AXES = np.eye(3).tolist()
SURFACE = len(NODES) ** 2


def knot(t: float = 1.0, power: float = 9.0, edge: float = 0.0) -> KnotNoise:
    """Grey levels squared, white in every channel."""
    return KnotNoise(
        t=t,
        flat_axes=AXES,
        edge_axes=AXES,
        flat=[[power] * SURFACE] * 3,
        edge=[[edge] * SURFACE] * 3,
        gain=[1.0] * len(BRIGHTNESS),
        kernels=[[0.0] * 9] * KERNELS,
    )


def model_of(knots: list[KnotNoise], onset: list[list[float]]) -> NoiseModel:
    """The blur grows evenly to two pixels."""
    return NoiseModel(knots, onset, [[0.0, 0.0], [1.0, 2.0]])


def added(model: NoiseModel, picture: np.ndarray, t: float = 1.0, seed: int = 0) -> np.ndarray:
    return drawing.added(picture, t, model, seed).astype(np.float64) - picture


GREY = np.full((256, 256, 3), 128, np.uint8)


def test_white_noise_has_the_variance_it_says_in_every_channel() -> None:
    noise = added(model_of([knot()], [[0.0, 0.0], [1.0, 1.0]]), GREY)
    np.testing.assert_allclose(noise.var((0, 1)), 9.0 + 1 / 12, rtol=0.03)
    assert abs(noise.mean()) < 0.05


def test_the_spectrum_is_the_one_asked_for() -> None:
    falling = 16.0 / (1 + 64 * np.hypot(NODES[:, None], NODES))
    flat = [falling.ravel().tolist()] * 3
    model = model_of([replace(knot(), flat=flat)], [[0.0, 0.0], [1.0, 1.0]])
    large = np.full((1024, 1024, 3), 128, np.uint8)
    found = spectrum.power(drawing.added(large, 1.0, model, 0), 32)
    wanted = 16.0 / (1 + 64 * spectrum.centres(32)) + 1 / 12
    np.testing.assert_allclose(found[1:], wanted[1:], rtol=0.12)


@pytest.mark.parametrize("turned", [False, True])
def test_rows_and_columns_have_spectra_of_their_own(turned: bool) -> None:
    """Noise that changes from column to column alone, or from row to row."""
    surface = np.zeros((len(NODES), len(NODES)))
    surface[0] = 16.0
    flat = [(surface.T if turned else surface).ravel().tolist()] * 3
    noise = added(model_of([replace(knot(), flat=flat)], [[0.0, 0.0], [1.0, 1.0]]), GREY)
    # Of 256 rows those of frequency below 1/64 count: 1 + 2 (3/4 + 1/2 + 1/4).
    assert noise.var() == pytest.approx(16.0 * 4 / 256 + 1 / 12, rel=0.2)
    down, across = np.diff(noise, axis=0).var(), np.diff(noise, axis=1).var()
    assert (down if turned else across) > 20 * (across if turned else down)


def test_colours_follow_the_axes() -> None:
    axes = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
    flat = [[12.0] * SURFACE, [0.0] * SURFACE, [0.0] * SURFACE]
    coloured = replace(knot(), flat_axes=axes.tolist(), flat=flat)
    model = model_of([coloured], [[0.0, 0.0], [1.0, 1.0]])
    noise = added(model, GREY).reshape(-1, 3)
    assert np.corrcoef(noise.T).min() > 0.9
    np.testing.assert_allclose(noise.var(0), 4.0, rtol=0.1)


def of_kernels(derivative: str, covariance: np.ndarray) -> NoiseModel:
    """Nothing but one derivative times a weight that is nearly the same everywhere."""
    rows = np.zeros((len(DERIVATIVES), len(LENGTHS), 9))
    rows[DERIVATIVES.index(derivative), 0] = covariance.ravel()
    moved = replace(knot(power=0.0), kernels=rows.reshape(KERNELS, 9).tolist())
    return model_of([moved], [[0.0, 0.0], [1.0, 1.0]])


def mixed(t: float) -> KnotNoise:
    """All that a knot can have, another one at each t."""
    rng = np.random.default_rng(round(t * 100))
    roots = rng.normal(0, 0.3, (KERNELS, 3, 3))
    return replace(
        knot(t, 9.0, 1.0),
        flat=rng.uniform(0, 9, (3, SURFACE)).tolist(),
        flat_axes=np.linalg.qr(rng.normal(size=(3, 3)))[0].tolist(),
        gain=rng.uniform(0.5, 2, len(BRIGHTNESS)).tolist(),
        kernels=(roots @ roots.swapaxes(1, 2)).reshape(KERNELS, 9).tolist(),
    )


CPU = torch.device("cpu")
MADE = [made_of(mixed(t), stock.LEAST) for t in (0.5, 1.0)]
RAMP = np.repeat(np.linspace(30, 220, 256, dtype=np.float32)[None, :, None], 256, 0).repeat(3, 2)


def test_a_random_shift_moves_slopes_and_leaves_flat_ground() -> None:
    """190 grey levels over 255 pixels: a shift by N(0, 2 pixels) has 1.49 grey levels."""
    model = of_kernels("dx", np.full((3, 3), 4.0))
    drawn = [drawing.noise_of(RAMP, 1.0, model, seed) for seed in range(200)]
    inside = np.stack(drawn)[:, 1:-1, 1:-1]
    assert inside.std() == pytest.approx(2 * 190 / 255, rel=0.1)
    # One shift of all colours, which hardly changes over a few pixels, and nothing along the slope.
    np.testing.assert_allclose(inside[..., 0], inside[..., 2], atol=1e-4)
    assert np.diff(inside, axis=1).std() < 0.05 * inside.std()
    assert np.abs(drawing.noise_of(GREY, 1.0, model, 0)).max() == 0
    turned = np.ascontiguousarray(RAMP.transpose(1, 0, 2))
    assert np.abs(drawing.noise_of(turned, 1.0, model, 0)[1:-1, 1:-1]).max() < 1e-4


def test_colours_may_shift_apart() -> None:
    model = of_kernels("dx", np.diag([4.0, 0.0, 1.0]))
    drawn = np.stack([drawing.noise_of(RAMP, 1.0, model, seed)[1:-1, 1:-1] for seed in range(200)])
    red, green, blue = (drawn[..., i] for i in range(3))
    assert np.abs(green).max() == 0
    assert red.std() / blue.std() == pytest.approx(2, rel=0.15)
    assert abs(np.corrcoef(red.ravel(), blue.ravel())[0, 1]) < 0.2


@pytest.mark.parametrize("length", range(len(LENGTHS)))
def test_a_kernels_weight_has_the_variance_and_length_it_says(length: int) -> None:
    variances = np.zeros((len(DERIVATIVES), len(LENGTHS), 3, 3))
    variances[0, length] = np.eye(3)
    slope = np.repeat(np.arange(256, dtype=np.float32)[None, :, None], 256, 0).repeat(3, 2)
    stocks = np.moveaxis(kernels.stock_of("test", variances, KERNELS_SIDE), -3, -1)
    nodes, drawn = stocks.shape[2], np.zeros((150, 256, 256, 3), np.float32)
    (cuts,) = stock.cuts_of(list(range(150)), [nodes])
    for out, cut in zip(drawn, cuts, strict=True):
        own = by_opencv.weights_of(stocks, nodes, (256, 256), cut)
        by_opencv.add_kernels(out, own, slope)
    weights = drawn[:, :, 1:-1]
    distance = LENGTHS[length]
    together = (weights[:, distance:] * weights[:, :-distance]).mean() / np.square(weights).mean()
    assert np.square(weights).mean() == pytest.approx(1, rel=0.1)
    assert together == pytest.approx(correlation(distance, distance), abs=0.06)


@pytest.mark.parametrize(("derivative", "order"), [("dx", 1), ("dxx", 2)])
@pytest.mark.parametrize("t", [0.25, 0.5, 1.0])
def test_kernels_differ_in_proportion_to_their_size(derivative: str, order: int, t: float) -> None:
    """On a picture of a constant derivative the noise goes as the blur to its order."""
    weights = np.zeros((len(DERIVATIVES), len(LENGTHS), 9))
    weights[DERIVATIVES.index(derivative), 2] = np.eye(3).ravel() / 100
    model = model_of(
        [replace(knot(power=0.0), kernels=weights.reshape(KERNELS, 9).tolist())],
        [[0.0, 1.0], [1.0, 1.0]],
    )
    x = np.arange(256, dtype=np.float32) - 128
    row = 10 * x if order == 1 else 5 * x**2
    picture = np.repeat(row[None, :, None], 256, 0).repeat(3, 2)
    noise = drawing.noise_of(picture, t, model, 0)[:, 4:-4]
    assert noise.std() == pytest.approx(t**order, rel=0.15)


def test_the_flat_field_follows_brightness() -> None:
    gain = np.where(BRIGHTNESS < 128, 0.25, 4.0).tolist()
    model = model_of([replace(knot(), gain=gain)], [[0.0, 0.0], [1.0, 1.0]])
    dark, bright = (
        added(model, np.full((128, 128, 3), level, np.uint8)).var() for level in (40, 220)
    )
    assert bright / dark == pytest.approx(16, rel=0.15)


def test_the_edge_field_follows_contrast_and_is_nothing_on_flat_ground() -> None:
    model = model_of([knot(power=0.0, edge=1.0)], [[0.0, 0.0], [1.0, 1.0]])
    checked = GREY.copy()
    checked[:, 128:] += (np.indices((256, 128)).sum(0) % 2 * 20).astype(np.uint8)[..., None]
    noise = added(model, checked)
    assert np.abs(noise[:, :100]).max() == 0
    # Alternating by 20, the standard deviation is 10, so the variance is 10 times the edge power.
    assert noise[:, 160:].var() == pytest.approx(10.0, rel=0.1)


@given(weight=st.floats(0, 1))
@settings(deadline=None, max_examples=15)
def test_between_knots_powers_lie_on_a_straight_line(weight: float) -> None:
    model = model_of([knot(0.5, 4.0), knot(1.0, 16.0)], [[0.0, 0.0], [0.5, 1.0]])
    variance = added(model, GREY, 0.5 + weight / 2).var()
    assert variance == pytest.approx(4 + 12 * weight + 1 / 12, rel=0.05)


@pytest.mark.parametrize(("t", "share"), [(0.0, 0.0), (0.1, 0.5), (0.25, 0.75), (0.5, 1.0)])
def test_below_the_first_knot_the_onset_says_the_share(t: float, share: float) -> None:
    model = model_of([knot(0.5), knot(1.0)], [[0.0, 0.0], [0.1, 0.5], [0.4, 1.0], [0.5, 1.0]])
    assert added(model, GREY, t).var() == pytest.approx(9 * share + bool(share) / 12, rel=0.05)


def test_equal_seeds_give_equal_bytes_and_others_do_not() -> None:
    model = model_of([knot()], [[0.0, 0.0], [1.0, 1.0]])

    def bytes_of(seed: int, hr: np.ndarray, t: float) -> bytes:
        return drawing.added(GREY, 1.0, model, noise_key(seed, digest_of_hr(hr), t)).tobytes()

    other = GREY.copy()
    other[0, 0, 0] += 1
    first = bytes_of(0, GREY, 0.5)
    assert first == bytes_of(0, GREY.copy(), 0.5)
    assert (
        len({first, bytes_of(1, GREY, 0.5), bytes_of(0, other, 0.5), bytes_of(0, GREY, 0.6)}) == 4
    )


def test_cameras_have_nothing_in_common_in_the_same_photo() -> None:
    """Of the same seed, and of powers that differ by a thousandth."""
    drawn = [
        added(model_of([knot(power=power)], [[0.0, 0.0], [1.0, 1.0]]), GREY, seed=3)
        for power in (9.0, 9.009)
    ]
    assert abs(np.corrcoef(*(noise.ravel() for noise in drawn))[0, 1]) < 0.02


def test_threads_share_what_is_drawn_once() -> None:
    of, start = knot(), Barrier(4)

    def stocks(_: int) -> object:
        start.wait()
        return of.stocks(stock.LEAST, CPU)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(map(id, pool.map(stocks, range(4))))) == 1


@given(
    sizes=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    seed=st.integers(0, 2**32),
    t=st.floats(0.1, 1),
)
@settings(deadline=None, max_examples=20)
def test_torch_draws_what_opencv_does(sizes: tuple[int, int], seed: int, t: float) -> None:
    """Of knots with fields, colours and kernels, on pictures of any size."""
    rng = np.random.default_rng(seed)
    pictures = torch.from_numpy(rng.uniform(0, 255, (2, 3, *sizes)).astype(np.float32))
    rough = planes(cv2.GaussianBlur(side_by_side(pictures)[0], (5, 5), 1.0))
    pictures[0] = rough[0]
    shares = [
        [
            Share(
                stocks, stock.cuts_of([seed, seed + 1], stocks.sides), [1.0, 0.5, 0.2, 1.0, 2.0], t
            )
            for stocks in (make(made) for made in MADE)
        ]
        for make in (by_opencv.stocks_of, lambda made: by_torch.stocks_of(made, CPU))
    ]
    ours, theirs = by_opencv.noise_of(pictures, shares[0]), by_torch.noise_of(pictures, shares[1])
    assert ours.abs().max() > 0.1  # of a picture of one pixel, too
    # Brightness is looked up at whole grey levels: next to a half, the two may take another one.
    torch.testing.assert_close(ours, theirs, atol=0.1, rtol=1e-3)
    assert (ours - theirs).abs().median() < 1e-3


def test_a_model_survives_being_written() -> None:
    model = model_of([knot(0.5), knot(1.0)], [[0.0, 0.0], [0.5, 1.0]])
    assert NoiseModel.from_dict(model.to_dict()) == model
    assert NoiseModel.from_dict(model.to_dict()).digest == model.digest


def test_a_damaged_model_is_refused_by_name() -> None:
    data = model_of([knot()], [[0.0, 0.0], [1.0, 1.0]]).to_dict()
    del data["knots"][0]["gain"]
    with pytest.raises(UsageError, match=r"`noise.knots:` lacks gain"):
        NoiseModel.from_dict(data)


def test_a_model_of_an_older_version_is_to_be_measured_again() -> None:
    data = model_of([knot()], [[0.0, 0.0], [1.0, 1.0]]).to_dict()
    data["knots"][0]["axes"] = data["knots"][0].pop("flat_axes")
    with pytest.raises(UsageError, match=r"`noise.knots:` has no key 'axes'.*calibrate\(\)` again"):
        NoiseModel.from_dict(data)
    data = model_of([knot()], [[0.0, 0.0], [1.0, 1.0]]).to_dict()
    del data["blurs"]
    with pytest.raises(UsageError, match=r"`noise:` lacks blurs.*calibrate\(\)` again"):
        NoiseModel.from_dict(data)


@pytest.mark.parametrize("name", ["flat_axes", "edge_axes", "flat", "edge", "gain", "kernels"])
def test_a_model_of_another_size_is_refused_by_name(name: str) -> None:
    data = model_of([knot()], [[0.0, 0.0], [1.0, 1.0]]).to_dict()
    rows = data["knots"][0][name]
    data["knots"][0][name] = rows[:-1] if name == "gain" else [row[:-1] for row in rows]
    with pytest.raises(UsageError, match=rf"`noise.knots.{name}` must hold .*calibrate\(\)` again"):
        NoiseModel.from_dict(data)


@pytest.mark.parametrize("wrong", [-1.5, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["flat_axes", "edge_axes", "flat", "edge", "gain"])
def test_numbers_that_no_noise_has_are_refused_by_name(name: str, wrong: float) -> None:
    data = model_of([knot()], [[0.0, 0.0], [1.0, 1.0]]).to_dict()
    rows = data["knots"][0][name]
    (rows if name == "gain" else rows[1])[2] = wrong
    with pytest.raises(UsageError, match=rf"`noise.knots.{name}` must (hold|be a number)"):
        NoiseModel.from_dict(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("knots", []),
        ("onset", []),
        ("onset", [[0.0, 0.0], [1.0]]),
        ("onset", [[0.0, -0.1], [1.0, 1.0]]),
        ("onset", [[0.5, 0.0], [0.2, 1.0]]),
        ("onset", [[0.1, 0.0], [1.0, 1.0]]),
        ("onset", [[0.0, 0.0], [0.5, 1.0]]),
        ("blurs", [[0.0, 0.0]]),
        ("blurs", [[0.0, 0.0], [0.5, 1.0]]),
        ("blurs", [[0.0, 0.0], [1.0, 0.0]]),
        ("blurs", [[0.0, 0.0], [1.0, 1e-320]]),
        ("blurs", [[0.0, 0.0], [1.0, 1e5]]),
        ("blurs", [[0.0, 2.0], [1.0, 1.0]]),
        ("blurs", [[0.0, 0.0], [1.0, float("nan")]]),
        ("blurs", [[0.0, 0.0], [0.5, float("nan")], [1.0, 1.0]]),
        ("blurs", [[0.0, 0.0], [float("nan"), 0.5], [1.0, 1.0]]),
    ],
)
def test_a_model_without_knots_or_with_a_wrong_onset_is_refused(key: str, value: list) -> None:
    data = model_of([knot()], [[0.0, 0.0], [1.0, 1.0]]).to_dict()
    with pytest.raises(UsageError, match=f"`noise.{key}`"):
        NoiseModel.from_dict({**data, key: value})
