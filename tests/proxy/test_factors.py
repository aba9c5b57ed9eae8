"""proxy at a whole factor: LR smaller than HR, networks that enlarge, other pairs as sources."""

from __future__ import annotations

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
from degflow_pipe.errors import DataError, UsageError
from degflow_pipe.evaluation.degradation_steps import enlarged
from degflow_pipe.levels import parse_t
from degflow_pipe.metrics.fidelity import fidelity
from degflow_pipe.pairs.pairs import Pairs, find_scenes
from degflow_pipe.pairs.settings import DataSettings
from degflow_pipe.pictures.arrays import shrunk
from degflow_pipe.progress import Silent
from degflow_pipe.proxy.architectures import Architecture
from degflow_pipe.proxy.budget import Budget
from degflow_pipe.proxy.network import restored
from degflow_pipe.proxy.others import OtherPairs
from degflow_pipe.proxy.proxy import OneScale, ProxySettings, proxy
from degflow_pipe.proxy.recipe import ProxyRecipe
from degflow_pipe.proxy.results import ProxyComparison
from degflow_pipe.proxy.sources import Place, best_sigma, by_hand
from tests.conftest import Recorder

SETTINGS = DataSettings(
    s_max=4.0,
    source="photos of scikit-image, blurred",
    licence="as theirs",
    validate="c",
    levels=[
        {"name": "HR", "t": 0.0, "files": "*_hr.png"},
        {"name": "LR", "t": 1.0, "files": "*_lr.png"},
    ],
)
SMALL = Budget(steps=2, batch=2, crop=16, width=8, blocks=1)
PHOTOS = dict(zip("abc", (data.coffee(), data.astronaut(), data.chelsea()), strict=True))


def small_lr(hr: np.ndarray, scale: int, sigma: float = 2.0) -> np.ndarray:
    """LR of H / scale, as a camera with a wide lens would give it."""
    height, width = hr.shape[:2]
    return shrunk(cv2.GaussianBlur(hr, (0, 0), sigma), (height // scale, width // scale))


def write(folder: Path, scale: int, side: int = 240) -> Path:
    folder.mkdir(exist_ok=True)
    for name, photo in PHOTOS.items():
        hr = np.ascontiguousarray(photo[:side, : side + 48])
        Image.fromarray(hr).save(folder / f"{name}_hr.png")
        lr = small_lr(hr, scale) if scale > 1 else cv2.GaussianBlur(hr, (0, 0), 2.0)
        Image.fromarray(lr).save(folder / f"{name}_lr.png")
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LR of a quarter of the HR's sides."""
    return write(tmp_path_factory.mktemp("pairs"), 4)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> ProxySettings:
    return ProxySettings(
        grid=parse_t("0.5,1"),
        out=tmp_path_factory.mktemp("proxy"),
        sources=("gaussian", "esrgan_style", "bsrgan_style", "ours_clean", "ours_grid_clean"),
        added_noise=(0.0,),
        patches=6,
        budget=SMALL,
    )


@pytest.fixture(scope="module")
def result(tiny_model: DegFlow, pairs: Path, settings: ProxySettings) -> ProxyComparison:
    found = proxy(tiny_model, SETTINGS, pairs, settings)
    assert found is not None
    return found


def test_the_factor_is_that_of_the_pairs(result: ProxyComparison, pairs: Path) -> None:
    assert (result.sr_scale, result.network) == (4, "small, pixel shuffle x4")
    assert [row.source for row in result.rows] == [
        *("untouched", "bicubic", "gaussian", "esrgan_style", "bsrgan_style"),
        *("ours_clean", "ours_grid_clean", "real"),
    ]
    hr, lr = (np.asarray(Image.open(pairs / f"c_{side}.png")) for side in ("hr", "lr"))
    assert result.rows[0].mean == fidelity(enlarged(lr, hr), hr)


def test_the_same_again_gives_the_same_figures(
    tiny_model: DegFlow,
    pairs: Path,
    settings: ProxySettings,
    result: ProxyComparison,
    tmp_path: Path,
) -> None:
    said = replace(settings, out=tmp_path, sr_scale=4)
    assert proxy(tiny_model, SETTINGS, pairs, said) == result
    page = np.asarray(Image.open(tmp_path / "pictures.png"))
    assert page.shape[0] > 100 and page.std() > 10


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
def test_every_source_has_lr_of_that_size_in_place(
    tiny_model: DegFlow, tmp_path: Path, settings: ProxySettings, scale: int
) -> None:
    folder = write(tmp_path / "pairs", scale)
    asked = replace(settings, out=tmp_path / "out", patches=3)
    work = OneScale(tiny_model, SETTINGS, folder, asked, Silent())
    side = 192 // scale
    assert work.sr_scale == scale
    assert work.hr.shape[1:] == (side * scale, side * scale, 3)
    assert work.real.shape[1:] == (side, side, 3)
    for name in work.names:
        for patch, hr in enumerate(work.hr):
            lr = work.source(name)(Place(patch, 0, 0, side), np.random.default_rng(0))
            wanted = shrunk(hr, (side, side)).astype(float)
            assert lr.shape == (side, side, 3) and lr.dtype == np.uint8
            assert np.corrcoef(lr.ravel(), wanted.ravel())[0, 1] > 0.85, name
    lr, hr = work._draw(work.source("real"), work.hr, 0.0, 0, 0)
    assert hr.shape[1] == scale * lr.shape[1] == scale * min(16, side)
    for small, large in zip(lr, hr, strict=True):
        like = shrunk(large, small.shape[:2]).astype(float)
        assert np.corrcoef(small.ravel(), like.ravel())[0, 1] > 0.9


def test_lr_as_large_as_hr_are_shrunk_where_a_factor_is_asked_for(
    tiny_model: DegFlow, tmp_path: Path, settings: ProxySettings
) -> None:
    folder = write(tmp_path / "pairs", 1)
    fewer = replace(settings, out=tmp_path / "out", sources=("bicubic",), sr_scale=2)
    found = proxy(tiny_model, SETTINGS, folder, fewer)
    assert found is not None and found.sr_scale == 2
    same = proxy(tiny_model, SETTINGS, folder, replace(fewer, sr_scale=0, out=tmp_path / "same"))
    assert same is not None and (same.sr_scale, same.network) == (1, "same-size")


def test_pairs_that_a_recipe_enlarges_stay_of_one_size(
    tiny_model: DegFlow, pairs: Path, settings: ProxySettings, tmp_path: Path
) -> None:
    fewer = replace(settings, out=tmp_path, sources=("bicubic",))
    found = proxy(tiny_model, replace(SETTINGS, enlarge="bicubic"), pairs, fewer)
    assert found is not None and found.sr_scale == 1
    found = proxy(
        tiny_model, replace(SETTINGS, enlarge="bicubic"), pairs, replace(fewer, sr_scale=4)
    )
    assert found is not None and found.sr_scale == 4


def test_pairs_of_another_factor_are_refused(
    tiny_model: DegFlow, pairs: Path, settings: ProxySettings, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"_lr.png is 72 x 60, its HR .* 288 x 240: not 1/3 of it"):
        proxy(tiny_model, SETTINGS, pairs, replace(settings, out=tmp_path, sr_scale=3))
    for wrong in (-1, 13):
        with pytest.raises(UsageError, match="`sr_scale` must be a whole number from 1 to 12"):
            replace(settings, sr_scale=wrong)


def test_a_pair_is_read_as_it_is_stored(pairs: Path) -> None:
    _, held_out = find_scenes(SETTINGS, pairs)
    hr, lr = Pairs(held_out, SETTINGS).pair_at(held_out[0], 1, 4)
    assert np.array_equal(lr, np.asarray(Image.open(pairs / "c_lr.png")))
    assert np.array_equal(hr, np.asarray(Image.open(pairs / "c_hr.png")))


@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_the_best_sigma_is_that_of_small_lr(sigma: float) -> None:
    hr = np.stack([photo[:192, :192] for photo in PHOTOS.values()])
    real = np.stack([small_lr(one, 3, sigma) for one in hr])
    assert best_sigma(hr, real) == pytest.approx(sigma, rel=0.05)
    # Of all patches, not of the first ones.
    many = np.concatenate([np.repeat(hr[:1], 90, 0), hr])
    blurred = np.stack([small_lr(hr[0], 3, 0.5)] * 3 + [real[0]] * 87 + list(real))
    assert best_sigma(many, blurred) == pytest.approx(sigma, rel=0.1)
    held = by_hand("gaussian", hr, best_sigma(hr, real), 3.0, 3)
    lr = held(Place(1, 4, 8, 32), np.random.default_rng(0))
    assert np.abs(lr.astype(int) - real[1, 4:36, 8:40]).mean() < 1


# Networks

SMALLEST: dict[str, dict[str, Any]] = {
    "RCAN": {"n_resgroups": 1, "n_resblocks": 1, "n_feats": 16},
    "SwinIR": {"embed_dim": 12, "depths": [2], "num_heads": [2]},
    "NAFNet": {"width": 8, "enc_blk_nums": [1], "dec_blk_nums": [1]},
}


@pytest.mark.parametrize(
    ("name", "scale", "told"),
    [
        ("same-size", 3, "small, pixel shuffle x3"),
        ("same-size", 8, "small, pixel shuffle x8"),
        ("RCAN", 4, "RCAN, its own x4"),
        ("RCAN", 5, "RCAN, pixel shuffle x5"),
        ("SwinIR", 2, "SwinIR, its own x2"),
        ("SwinIR", 7, "SwinIR, pixel shuffle x7"),
        ("NAFNet", 2, "NAFNet, pixel shuffle x2"),
    ],
)
def test_a_network_enlarges_by_the_factor_and_learns(name: str, scale: int, told: str) -> None:
    if name != "same-size":
        pytest.importorskip("spandrel", reason="spandrel is not installed")
    architecture = Architecture(name, SMALLEST.get(name, {}))
    torch.manual_seed(0)
    network = architecture.build(SMALL, scale)
    assert network.training and architecture.told(network, scale) == told
    lr = torch.rand(2, 3, 20, 36)
    sr = network(lr)
    assert sr.shape == (2, 3, 20 * scale, 36 * scale)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    sr.sub(0.5).square().mean().backward()
    torch.optim.SGD(network.parameters(), 0.1).step()
    changed = [k for k, v in network.state_dict().items() if not torch.equal(v, before[k])]
    # NAFNet begins with its blocks switched off.
    assert len(changed) > len(before) / (4 if name == "NAFNet" else 2)
    picture = (np.random.default_rng(0).random((21, 33, 3)) * 255).astype(np.uint8)
    assert restored(network.eval(), picture, 1, scale).shape == (21 * scale, 33 * scale, 3)


def test_wrong_settings_are_named_at_any_factor() -> None:
    pytest.importorskip("spandrel", reason="spandrel is not installed")
    for name, wrong, why in (
        ("RCAN", {"feats": 8}, "unexpected keyword argument 'feats'"),
        ("large", {}, "`network` must be same-size, implicit or one of"),
    ):
        with pytest.raises(UsageError, match=why):
            Architecture(name, wrong).build(SMALL, 4)


def test_a_network_of_spandrel_is_trained_kept_and_shown(
    tiny_model: DegFlow, pairs: Path, settings: ProxySettings, tmp_path: Path
) -> None:
    """It holds whole numbers beside its weights: tables of positions."""
    pytest.importorskip("spandrel", reason="spandrel is not installed")
    swinir = Architecture("SwinIR", SMALLEST["SwinIR"])
    asked = replace(settings, out=tmp_path / "out", sources=("bicubic",), network=swinir)
    found = proxy(tiny_model, SETTINGS, pairs, asked)
    assert found is not None and found.network == "SwinIR, its own x4"
    assert (tmp_path / "out" / "pictures.png").exists()
    assert proxy(tiny_model, SETTINGS, pairs, asked) == found


@pytest.mark.parametrize(
    ("network", "wrong", "budget", "why"),
    [
        ("SwinIR", {"upscale": 2}, SMALL, "`network_settings` cannot hold upscale"),
        ("SwinIR", {"upsampler": "nearest+conv"}, SMALL, "3 times as large as LR|nearest"),
        ("DAT", {}, replace(SMALL, batch=1), "cannot be trained with batch 1 and crop 16"),
    ],
)
def test_what_cannot_be_trained_is_told_before(
    network: str, wrong: dict[str, Any], budget: Budget, why: str
) -> None:
    pytest.importorskip("spandrel", reason="spandrel is not installed")
    with pytest.raises(UsageError, match=why):
        Architecture(network, {**SMALLEST.get(network, {}), **wrong}).tried(budget, 3)


# Other pairs


@pytest.mark.parametrize("scale", [1, 4])
def test_other_pairs_are_a_row_of_their_own(
    tiny_model: DegFlow, tmp_path: Path, settings: ProxySettings, scale: int
) -> None:
    folder = write(tmp_path / "pairs", scale)
    other = write(tmp_path / "other", scale, side=200)
    fewer = replace(settings, out=tmp_path / "out", sources=("bicubic",))
    with_other = replace(fewer, also={"theirs": OtherPairs(other), "same": OtherPairs(folder)})
    found = proxy(tiny_model, SETTINGS, folder, with_other)
    assert found is not None
    assert [row.source for row in found.rows] == ["untouched", "bicubic", "theirs", "same", "real"]
    alone = proxy(tiny_model, SETTINGS, folder, fewer)
    assert alone is not None
    of = {row.source: row.mean for row in found.rows}
    assert of["bicubic"] == next(row.mean for row in alone.rows if row.source == "bicubic")
    assert of["theirs"] != of["real"]


def test_held_out_scenes_are_left_out_of_other_pairs_and_photos(
    pairs: Path, tmp_path: Path, settings: ProxySettings, recorder: Recorder
) -> None:
    """By their pixels, whatever they are called; and what the other pairs hold out themselves."""
    other, more = write(tmp_path / "other", 4), tmp_path / "more"
    for side in ("hr", "lr"):
        (other / f"c_{side}.png").rename(other / f"x_{side}.png")
    more.mkdir()
    for name in "ac":
        Image.open(pairs / f"{name}_hr.png").save(more / f"{name}.webp", lossless=True)
    own = replace(SETTINGS, validate="a")
    also = {"theirs": OtherPairs(other), "own": OtherPairs(other, own)}
    asked = replace(settings, out=tmp_path / "out", also=also, more=more)
    model = DegFlow.load("city100-compact", "cpu")
    work = OneScale(model, SETTINGS, pairs, asked, recorder)
    # Whatever `sources` names, as it is asked for by its photos.
    assert "ours_more" in work.names
    held_out = np.asarray(Image.open(pairs / "c_hr.png"))
    for hr in (work.others["theirs"].hr, work.others["own"].hr, work.more):
        assert not [patch for patch in hr if is_part_of(patch, held_out)]
    first = np.asarray(Image.open(pairs / "a_hr.png"))
    assert not [patch for patch in work.others["own"].hr if is_part_of(patch, first)]
    assert [patch for patch in work.others["theirs"].hr if is_part_of(patch, first)]
    assert [note for note in recorder.notes if note.startswith("more HR")] == [
        "more HR: 1 photo left out: held out here, and SR is tested on it"
    ]
    (more / "a.webp").unlink()
    with pytest.raises(DataError, match="more HR: every photo is a held-out scene"):
        OneScale(model, SETTINGS, pairs, asked, Silent())


def test_other_photos_that_are_too_small_are_left_out(
    pairs: Path, tmp_path: Path, settings: ProxySettings, recorder: Recorder
) -> None:
    model = DegFlow.load("city100-compact", "cpu")
    Image.fromarray(data.coffee()[:100, :300]).save(tmp_path / "small.png")
    asked = replace(settings, out=tmp_path / "out", more=tmp_path)
    with pytest.raises(DataError, match="more HR: no photo has 192 pixels on both sides"):
        OneScale(model, SETTINGS, pairs, asked, Silent())
    Image.fromarray(data.coffee()[:200, :300]).save(tmp_path / "large.png")
    work = OneScale(model, SETTINGS, pairs, asked, recorder)
    assert len(work.more) == len(work.hr)
    assert "more HR: 1 photo left out: smaller than the patch of 192 pixels" in recorder.notes


def test_no_more_patches_are_made_than_a_small_budget_draws(tiny_model: DegFlow) -> None:
    for steps, patches in ((5, 40), (2500, 480)):
        recipe = ProxyRecipe(budget=Budget(steps=steps, batch=8))
        assert ProxySettings.of(recipe, tiny_model.info, Path("out")).patches == patches


def test_other_pairs_may_be_named_in_capitals(tmp_path: Path) -> None:
    for name in ("a_HR.png", "a_LR.webp", "b_HR.png", "b_LR.webp"):
        (tmp_path / name).touch()
    found = OtherPairs(tmp_path).layout(2.0).levels
    assert [level["files"] for level in found] == ["*_HR.png", "*_LR.webp"]


def is_part_of(patch: np.ndarray, picture: np.ndarray) -> bool:
    rows = np.lib.stride_tricks.sliding_window_view(picture, patch[:1, :8].shape)
    return bool((rows == patch[:1, :8]).all((-1, -2, -3)).any())


def test_other_pairs_are_cut_of_their_own_hr(
    tiny_model: DegFlow, pairs: Path, tmp_path: Path, settings: ProxySettings
) -> None:
    other = write(tmp_path / "other", 4, side=200)
    asked = replace(settings, out=tmp_path / "out", also={"theirs": OtherPairs(other)})
    work = OneScale(tiny_model, SETTINGS, pairs, asked, Silent())
    mine = work.others["theirs"]
    assert mine.hr.shape == (6, 192, 192, 3) and mine.lr.shape == (6, 1, 48, 48, 3)
    assert not np.array_equal(mine.hr, work.hr)


def test_other_pairs_lie_as_a_recipe_says(
    tiny_model: DegFlow, tmp_path: Path, settings: ProxySettings
) -> None:
    """A tree of scales, of which a crop draws one."""
    folder = write(tmp_path / "pairs", 1)
    for scale in (1.0, 2.0, 3.0):
        place = tmp_path / "tree" / f"scale_{scale:.1f}"
        place.mkdir(parents=True)
        for name, photo in PHOTOS.items():
            blurred = cv2.GaussianBlur(photo[:200, :240], (0, 0), scale)
            picture = photo[:200, :240] if scale == 1 else blurred
            Image.fromarray(picture).save(place / f"{name}_HR.png")
    layout = DataSettings(
        s_max=3.0, source="", licence="", set="interflow", scales=[2, 3], validate="a"
    )
    also = {"theirs": OtherPairs(tmp_path / "tree", layout)}
    asked = replace(settings, out=tmp_path / "out", sources=("bicubic",), also=also)
    work = OneScale(tiny_model, SETTINGS, folder, asked, Silent())
    assert work.others["theirs"].lr.shape == (6, 2, 192, 192, 3)
    assert proxy(tiny_model, SETTINGS, folder, asked) is not None


@pytest.mark.parametrize("name", ["real", "ours", "a/b", "", "x" * 41])
def test_names_of_other_pairs(settings: ProxySettings, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"`also`: .* must be 1 to 40 letters"):
        replace(settings, also={name: OtherPairs(tmp_path)})


def test_other_pairs_that_are_not_there(
    tiny_model: DegFlow, pairs: Path, tmp_path: Path, settings: ProxySettings
) -> None:
    asked = replace(settings, out=tmp_path / "out", also={"theirs": OtherPairs(tmp_path / "no")})
    with pytest.raises(DataError, match=r"no: no such folder"):
        proxy(tiny_model, SETTINGS, pairs, asked)
    (tmp_path / "no").mkdir()
    with pytest.raises(DataError, match=r"no file matches \*_hr.\* in .*no"):
        proxy(tiny_model, SETTINGS, pairs, asked)
    other = write(tmp_path / "other", 4)
    (other / "d_hr.webp").write_bytes(b"")
    asked = replace(asked, also={"theirs": OtherPairs(other)})
    with pytest.raises(DataError, match=r"files of 2 formats match \*_hr"):
        proxy(tiny_model, SETTINGS, pairs, asked)
    assert not (tmp_path / "out").exists()
