"""proxy at any scale: the network's geometry, what each source holds, and what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from degflow_pipe.checkpoint.degflow import DegFlow
from degflow_pipe.errors import UsageError
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.pictures.arrays import shrunk, to_picture, to_tensor
from degflow_pipe.progress import Silent
from degflow_pipe.proxy.budget import Budget
from degflow_pipe.proxy.implicit import ImplicitSR, enlarged, train_implicit
from degflow_pipe.proxy.results import ScalesComparison
from degflow_pipe.proxy.scales import (
    SIDE,
    AnyScale,
    ScalesSettings,
    default_scales,
    proxy_scales,
    queries,
)

SETTINGS = DataSettings(
    s_max=4.0,
    source="photos of scikit-image, blurred",
    licence="as theirs",
    validate="c",
    levels=[
        {"name": "HR", "t": 0.0, "files": "*_HR.png"},
        {"name": "x2", "t": 1 / 3, "files": "*_LR2.png", "held_out": True},
        {"name": "x4", "t": 1.0, "files": "*_LR4.png"},
    ],
)
SMALL = Budget(steps=2, batch=2, width=8, blocks=1)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    photos = (data.coffee(), data.astronaut(), data.chelsea())
    for name, photo in zip("abc", photos, strict=True):
        hr = np.ascontiguousarray(photo[:256, :320])
        Image.fromarray(hr).save(folder / f"{name}_HR.png")
        for s in (2, 4):
            blurred = cv2.GaussianBlur(hr, (0, 0), s / 2)
            Image.fromarray(blurred).save(folder / f"{name}_LR{s}.png")
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ScalesSettings:
    return ScalesSettings(
        scales=(1.5, 2.5, 4.0),
        out=tmp_path_factory.mktemp("proxy"),
        sources=("gaussian", "ours_clean"),
        patches=6,
        budget=SMALL,
    )


@pytest.fixture(scope="module")
def result(tiny_model: DegFlow, pairs: Path, settings: ScalesSettings) -> ScalesComparison:
    return proxy_scales(tiny_model, SETTINGS, pairs, settings)


@pytest.fixture(scope="module")
def work(tiny_model: DegFlow, pairs: Path, settings: ScalesSettings) -> AnyScale:
    return AnyScale(tiny_model, SETTINGS, pairs, settings, Silent())


def test_every_level_of_the_held_out_scenes_is_tested(result: ScalesComparison) -> None:
    found = {name: (level.s, level.held_out) for name, level in result.levels.items()}
    assert found == {"x2": (2.0, True), "x4": (4.0, False)}
    for level in result.levels.values():
        names = [row.source for row in level.rows]
        assert names == ["untouched", "bicubic", "gaussian", "ours_clean", "real"]
        assert all(row.mean["psnr"] > 10 for row in level.rows)
    assert (result.network, result.scales, result.steps) == ("implicit", [1.5, 2.5, 4], 2)


def test_other_pairs_may_be_tested(
    tiny_model: DegFlow,
    pairs: Path,
    settings: ScalesSettings,
    result: ScalesComparison,
    tmp_path: Path,
) -> None:
    """Of other scenes, levels and scales than those that are trained on."""
    hr = np.ascontiguousarray(data.rocket()[:200, :240])
    for name, sigma in (("HR", 0), ("LR3", 1.5)):
        picture = cv2.GaussianBlur(hr, (0, 0), sigma) if sigma else hr
        Image.fromarray(picture).save(tmp_path / f"z_{name}.png")
    levels = [
        {"name": "HR", "t": 0.0, "files": "*_HR.png"},
        {"name": "x3", "t": 1.0, "files": "*_LR3.png"},
    ]
    other = replace(SETTINGS, s_max=3.0, validate="z", levels=levels)
    elsewhere = replace(settings, test=(other, tmp_path), sources=("bicubic",))
    found = proxy_scales(tiny_model, SETTINGS, pairs, elsewhere)
    assert found.scenes == ["z"]
    assert {name: level.s for name, level in found.levels.items()} == {"x3": 3.0}
    assert proxy_scales(tiny_model, SETTINGS, pairs, settings) == result


def test_files_lie_in_the_folder_and_nothing_is_done_again(
    tiny_model: DegFlow, pairs: Path, settings: ScalesSettings, result: ScalesComparison
) -> None:
    assert json.loads((settings.out / "figures-implicit.json").read_text()) == result.to_dict()
    assert np.asarray(Image.open(settings.out / "pictures-implicit.png")).std() > 10
    before = {
        path: path.stat().st_mtime_ns for path in settings.out.rglob("*") if "runs" in str(path)
    }
    before |= {path: path.stat().st_mtime_ns for path in settings.out.rglob("*.npy")}
    assert proxy_scales(tiny_model, SETTINGS, pairs, settings) == result
    assert {path: path.stat().st_mtime_ns for path in before} == before
    longer = replace(settings, sources=("bicubic",), budget=replace(SMALL, steps=3))
    proxy_scales(tiny_model, SETTINGS, pairs, longer)
    new = {path.name for path in (settings.out / "runs").glob("*.json")} - {p.name for p in before}
    assert sorted(name.split("-")[1] for name in new) == ["bicubic", "real"]


def test_sources_hold_lr_of_their_scales(work: AnyScale) -> None:
    for name in ("bicubic", "gaussian", "ours_clean"):
        held = work.source(name)
        assert [one.scale for one in held] == [1.5, 2.5, 4.0]
        assert [one.lr.shape[1:] for one in held] == [(128, 128, 3), (77, 77, 3), (48, 48, 3)]
    ((s, _, lr),) = work.source("real")
    assert s == 4.0 and lr.shape == (len(work.hr), 48, 48, 3), "knots alone"
    wanted = np.stack([shrunk(patch, (48, 48)) for patch in work.real[4.0][1]])
    np.testing.assert_array_equal(lr, wanted)
    np.testing.assert_array_equal(work.source("bicubic")[2].lr[0], shrunk(work.hr[0], (48, 48)))


def test_ours_is_what_the_checkpoint_makes_of_a_scale(work: AnyScale, tiny_model: DegFlow) -> None:
    t = [tiny_model.t_of_scale(s) for s in (1.5, 2.5, 4.0)]
    made = to_picture(tiny_model.degrade(to_tensor(work.hr[0]), t, "none")[0])
    for (s, _, lr), picture in zip(work.source("ours_clean"), made, strict=True):
        side = round(192 / s)
        np.testing.assert_array_equal(lr[0], shrunk(picture, (side, side)))


def test_the_gaussian_of_a_knot_is_the_one_that_was_blurred_with(work: AnyScale) -> None:
    at_knot = work.source("gaussian")[2].lr
    blurred = cv2.GaussianBlur(work.hr[0], (0, 0), 2.0)
    error = np.abs(at_knot[0].astype(int) - shrunk(blurred, (48, 48)))
    assert error.mean() < 0.5, "sigma is found to 2 %"


@pytest.mark.parametrize("side", [192, 128, 77, 48])
def test_places_and_colours_that_are_asked_for_belong_together(side: int) -> None:
    """On a picture whose colour is its place, in pixels of the HR patch."""
    rows, columns = np.mgrid[:192, :192]
    hr = np.stack([rows, columns, rows], axis=-1).astype(np.uint8)
    rng = np.random.default_rng(0)
    for y, x in ((0, 0), (side - SIDE, 3), (5, side - SIDE)):
        coord, cell, rgb = queries(hr, side, y, x, rng)
        assert np.abs(coord).max() <= 1 and np.ptp(coord[:, 0]) > 1.5
        # From units of the crop to LR pixels to HR pixels.
        middle = ((coord + 1) / 2 * SIDE + [y, x]) * 192 / side
        np.testing.assert_allclose(middle - 0.5, rgb[:, :2] * 255, atol=1e-3)
        np.testing.assert_allclose(cell, 2 / SIDE * side / 192, rtol=1e-6)


@torch.no_grad()
def test_a_network_that_adds_nothing_enlarges_by_straight_lines() -> None:
    network = ImplicitSR(8, 1).eval()
    for parameter in network.ask[-1].parameters():
        parameter.zero_()
    lr = data.astronaut()[:40, :48]
    found = enlarged(network, lr, (100, 120))
    wanted = to_picture(
        torch.nn.functional.interpolate(to_tensor(lr), (100, 120), mode="bilinear")
    )[0]
    assert np.abs(found.astype(int) - wanted).max() <= 1


@torch.no_grad()
def test_neighbouring_pixels_pass_into_each_other() -> None:
    """The colour goes on across the middle between two LR pixels, as the areas' weights do."""
    torch.manual_seed(0)
    network = ImplicitSR(8, 1).eval()
    lr = to_tensor(data.astronaut()[:8, :8].copy())
    x = torch.linspace(-0.9, 0.9, 4000)
    coord = torch.stack([torch.full_like(x, 0.13), x], dim=-1)[None]
    colours = network(lr, coord, torch.full_like(coord, 0.1))[0]
    steps = colours.diff(dim=0).abs()
    assert steps.max() < 0.02 * (colours.max() - colours.min())


def test_training_learns_from_its_source() -> None:
    """Flat LR with a bright HR: after some steps the network brightens."""

    def draw(step: int) -> Any:
        lr = np.full((4, SIDE, SIDE, 3), 60, np.uint8)
        coord = torch.rand(4, 64, 2) * 2 - 1
        return lr, coord, torch.full_like(coord, 0.8 / SIDE), torch.full((4, 64, 3), 200 / 255)

    task = Silent().task("", 1)
    with task as entered:
        network = train_implicit(
            draw, Budget(steps=150, width=8, blocks=1), 0, torch.device("cpu"), entered
        )
    made = enlarged(network, np.full((10, 10, 3), 60, np.uint8), (25, 25))
    assert abs(made.mean() - 200) < 10


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sources": ("ours_grid",)}, "'ours_grid' is not one of bicubic, gaussian"),
        ({"scales": ()}, "`scales` must be SR scales from 1 to 8"),
        ({"scales": (0.5,)}, "`scales` must be SR scales from 1 to 8"),
        ({"scales": (9.0,)}, "`scales` must be SR scales from 1 to 8"),
        ({"added_noise": (float("nan"),)}, "`added_noise` must be"),
        ({"seeds": 0}, "`seeds` must be 1 at least"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        ScalesSettings(**{"scales": (2.0,), "out": tmp_path, **changes})


def test_scales_of_the_checkpoint_alone(tiny_model: DegFlow, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="scale 5 is outside the scales of this checkpoint"):
        proxy_scales(tiny_model, SETTINGS, pairs, ScalesSettings(scales=(2.0, 5.0), out=tmp_path))


def test_scales_by_default_end_with_that_of_the_last_level() -> None:
    assert default_scales(4.0) == (1.5, 2.0, 2.5, 3.0, 3.5, 4.0)
    assert default_scales(2.9) == (1.5, 2.0, 2.5, 2.9)
