"""The shipped checkpoints: small, cheap to integrate, and better than a blur on real pairs."""

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from degflow_pipe import DegFlow, parse_t_grid, shipped
from degflow_pipe.checkpoint.folder import WEIGHTS
from degflow_pipe.metrics.blur import best_gaussian
from degflow_pipe.metrics.fidelity import psnr
from degflow_pipe.pictures.arrays import to_picture, to_tensor
from degflow_pipe.pictures.photos import read_photo

CITY100 = Path(__file__).resolve().parents[2] / "shared" / "city100"
SHIPPED = {
    "city100-compact": (2.9, "nikon_d5500", 2.5),
    "city100-iphone-compact": (2.4, "iphone_x", 4.0),
}
"""s_max, camera, and dB by which two scenes come nearer than by the best blur."""


@pytest.fixture(scope="module", params=list(SHIPPED))
def model(request: pytest.FixtureRequest) -> DegFlow:
    return DegFlow.load(request.param, "cpu")


def test_small_and_described(model: DegFlow) -> None:
    folder = shipped.find("checkpoints", model.info.name)
    assert folder is not None
    assert (folder / WEIGHTS).stat().st_size < 20e6
    info = model.info
    assert [level["t"] for level in info.levels] == [0.0, 1.0]
    assert info.s_max == SHIPPED[info.name][0]
    assert "MIT" in info.data["licence"] and "City100" in info.data["source"]
    assert info.training["lfm"]["settings"]["perceptual"] == "none"


def test_at_most_16_evaluations(model: DegFlow) -> None:
    hr = to_tensor(data.astronaut()[:64, :64])
    z, skips = model.encode(hr)
    assert 1 < model.solve(z, parse_t_grid("0.1:1.0:0.05").t, skips).evaluations <= 16


def test_calibrated(model: DegFlow) -> None:
    """Its levels stand for scales nearly evenly, and its LR has noise by default."""
    s_max = model.info.s_max
    for s in (1.3, 1.7, s_max - 0.3):
        assert model.t_of_scale(s) == pytest.approx((s - 1) / (s_max - 1), abs=0.1)
    hr = to_tensor(data.astronaut()[:64, :64])
    noise = model.degrade(hr, [1.0]) - model.degrade(hr, [1.0], "none")
    assert 1 < float(noise.std()) * 255 < 8


def test_default_solver_is_near_the_converged_one(model: DegFlow) -> None:
    """Within one grey level in 99.9% of pixels of a solve at 1e-6, at every level."""
    from degflow_pipe.model.config import SolverConfig

    hr = to_tensor(data.chelsea()[50:178, 100:228])
    z, skips = model.encode(hr)
    t = parse_t_grid("0.05:1.0:0.05").t
    converged = model.trajectory(z, t, skips, SolverConfig("dopri5", rtol=1e-6, atol=1e-6))
    wanted = to_picture(model.decode(converged, skips))[0].astype(int)
    for level, lr, y in zip(t, model.levels(z, t, skips).pictures, wanted, strict=True):
        assert (np.abs(to_picture(lr)[0] - y).max(-1) <= 1).mean() >= 0.999, f"t = {level}"


def test_fewer_levels_are_decoded_than_are_asked_for(model: DegFlow) -> None:
    solver = model.config.solver
    ends = {end for t in parse_t_grid("0.1:1.0:0.05").t for end in solver.decoded(t)[:2]}
    assert len(ends) < 19 / 2


@pytest.mark.skipif(not CITY100.is_dir(), reason=f"no City100 pairs at {CITY100}")
def test_better_than_the_best_gaussian_on_held_out_pairs(model: DegFlow) -> None:
    _, camera, margin = SHIPPED[model.info.name]
    gains, falls = [], []
    t = parse_t_grid("0.1:1.0:0.1").t
    for scene in ("062", "067"):
        crop = slice(300, 556), slice(480, 736)
        hr = read_photo(CITY100 / camera / f"{scene}_hr.webp").pixels[crop]
        lr = read_photo(CITY100 / camera / f"{scene}_lr.webp").pixels[crop]
        levels = to_picture(model.degrade(to_tensor(hr), t, "none"))[0]
        gains.append(psnr(levels[-1], lr) - best_gaussian(hr, lr)[1])
        falls.append([psnr(level, hr) for level in levels])
    assert min(gains) > margin
    steps = -np.diff(np.mean(falls, axis=0))
    assert (steps > 0).all()
    # Of a path the first step is the largest in dB; a switch between knots is somewhere between.
    assert (np.diff(steps) < 0.5).all()
